"""`make bench [ARGS="--only dispatch"]`: what flow runs cost, on this machine, with the fake engine."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from executor import telemetry
from tests.bench.dispatch import dispatch
from tests.bench.flows import iterations, parked

PARTS: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, None]]] = {
    "iterations": lambda asked: iterations(asked.iterations),
    "parked": lambda asked: parked(asked.parked),
    "dispatch": lambda _: dispatch(),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--iterations", type=int, default=10_000, help="of the longer loop")
    parser.add_argument("--parked", type=int, default=10_000, help="runs that wait for an approval")
    asked = parser.parse_args()
    telemetry.configure("error")
    for part in asked.only or PARTS:
        asyncio.run(PARTS[part](asked))


if __name__ == "__main__":
    main()
