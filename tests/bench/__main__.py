"""`make bench [ARGS="--only scripts --quick"]`: what scripts and flow runs cost on this machine."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from executor import telemetry
from tests.bench import page
from tests.bench.dispatch import dispatch
from tests.bench.figures import Figures, read, this_host
from tests.bench.flows import iterations, parked
from tests.bench.scripts import scripts

KEPT = Path(".make/bench/figures.json")


def measure_scripts(asked: argparse.Namespace) -> None:
    """On each engine asked for, in real containers; kept for machines and for the page."""
    figures = Figures(this_host())
    for engine in asked.engine or ["auto"]:
        scripts(figures, engine, quick=asked.quick)
    figures.table()
    figures.write(KEPT)
    print(f"kept in {KEPT}")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "scripts": measure_scripts,
    "iterations": lambda asked: asyncio.run(iterations(asked.iterations)),
    "parked": lambda asked: asyncio.run(parked(asked.parked)),
    "dispatch": lambda _: asyncio.run(dispatch()),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--engine", action="append", help="of the scripts' part; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer of each, for a first look")
    parser.add_argument("--iterations", type=int, default=10_000, help="of the longer loop")
    parser.add_argument("--parked", type=int, default=10_000, help="runs that wait for an approval")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md from the kept figures")
    asked = parser.parse_args()
    telemetry.configure("error")
    if asked.page:
        page.write(read(KEPT))
        return
    for part in asked.only or PARTS:
        PARTS[part](asked)


if __name__ == "__main__":
    main()
