"""Measure what scripts and flow runs cost on this machine, beside references and peers in the same run."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from executor import telemetry
from tests.bench import mix, page
from tests.bench.dispatch import dispatch
from tests.bench.figures import Figures, read, this_host
from tests.bench.flows import iterations, parked
from tests.bench.peers import peers
from tests.bench.scripts import scripts

KEPT = Path(".make/bench/figures.json")


def measure_scripts(figures: Figures, asked: argparse.Namespace) -> None:
    """On each engine asked for, in real containers."""
    for engine in asked.engine:
        scripts(figures, engine, quick=asked.quick)


def measure_peers(figures: Figures, asked: argparse.Namespace) -> None:
    """On each engine asked for, in real containers."""
    for engine in asked.engine:
        peers(figures, engine, quick=asked.quick)


def measure_mix(figures: Figures, asked: argparse.Namespace) -> None:
    """On each engine asked for, in real containers."""
    for engine in asked.engine:
        mix.mix(figures, engine, asked.seconds or (mix.QUICK_SECONDS if asked.quick else mix.SECONDS))


PARTS: dict[str, Callable[[Figures, argparse.Namespace], None]] = {
    "scripts": measure_scripts,
    "peers": measure_peers,
    "mix": measure_mix,
    "iterations": lambda _, asked: asyncio.run(iterations(asked.iterations)),
    "parked": lambda _, asked: asyncio.run(parked(asked.parked)),
    "dispatch": lambda _, __: asyncio.run(dispatch()),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--engine", action="append", help="of the scripts' part; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer of each, for a first look")
    parser.add_argument("--seconds", type=float, help="of the mix")
    parser.add_argument("--iterations", type=int, default=10_000, help="of the longer loop")
    parser.add_argument("--parked", type=int, default=10_000, help="runs that wait for an approval")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md from the kept figures")
    asked = parser.parse_args()
    asked.engine = asked.engine or ["auto"]
    telemetry.configure("error")
    if asked.page:
        page.write(read(KEPT))
        return
    figures = Figures(this_host())
    for part in asked.only or PARTS:
        PARTS[part](figures, asked)
        figures.write(KEPT)
    figures.table()
    print(f"kept in {KEPT}")


if __name__ == "__main__":
    main()
