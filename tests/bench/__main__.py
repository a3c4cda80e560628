"""`make bench`: what flow runs cost, on this machine, with the fake engine."""

from __future__ import annotations

import argparse
import asyncio

from executor import telemetry
from tests.bench.flows import iterations, parked


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--iterations", type=int, default=10_000, help="of the longer loop")
    parser.add_argument("--parked", type=int, default=10_000, help="runs that wait for an approval")
    asked = parser.parse_args()
    telemetry.configure("error")
    asyncio.run(iterations(asked.iterations))
    asyncio.run(parked(asked.parked))


if __name__ == "__main__":
    main()
