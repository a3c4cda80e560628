"""Measure what scripts and flow runs cost on this machine, beside references and peers of the same run.

Prints one table at the end, and keeps it for machines and for the page in .make/bench/figures.json. Times depend on
the machine and on what else it does: let it be idle, and trust the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from executor import telemetry
from tests.bench import mix, page
from tests.bench.dispatch import dispatch
from tests.bench.figures import Figures, read, this_host
from tests.bench.flows import iterations, parked
from tests.bench.peers import peers
from tests.bench.scripts import scripts

KEPT = Path(".make/bench/figures.json")


@dataclass(frozen=True)
class Part:
    """Something to measure; what has containers is measured on each engine that is asked for."""

    about: str
    measure: Callable[[Figures, str, argparse.Namespace], None]
    has_containers: bool = True


PARTS = {
    "scripts": Part(
        "single scripts, flows of 40 to 400 steps, rates, a burst, big arguments, CPU",
        lambda figures, engine, asked: scripts(figures, engine, quick=asked.quick),
    ),
    "peers": Part(
        "llm-sandbox and Prefect, each in a virtual environment of its own, in turn with us",
        lambda figures, engine, asked: peers(figures, engine, quick=asked.quick),
    ),
    "mix": Part(
        "16 clients that post jobs of every kind for five minutes; what is left afterwards",
        lambda figures, engine, asked: mix.mix(figures, engine, asked.seconds or mix.seconds(asked.quick)),
    ),
    "iterations": Part(
        "a long loop, without containers",
        lambda figures, _, asked: asyncio.run(iterations(figures, asked.iterations)),
        has_containers=False,
    ),
    "parked": Part(
        "runs that wait for an approval, without containers",
        lambda figures, _, asked: asyncio.run(parked(figures, asked.parked)),
        has_containers=False,
    ),
    "dispatch": Part(
        "how flow runs are handed to who walks them, beside DBOS, without containers",
        lambda figures, _, __: asyncio.run(dispatch(figures)),
        has_containers=False,
    ),
}


def main() -> None:
    """Measure and print, or write the page."""
    asked = arguments().parse_args()
    telemetry.configure("error")
    if asked.page:
        if not KEPT.exists():
            raise SystemExit(
                f"{KEPT} is missing; run `make bench` first, which measures and keeps the figures"
            )
        for path in page.write(read(KEPT)):
            print(f"wrote {path}")
        return
    figures = Figures(this_host())
    names = asked.only or list(PARTS)
    figures.host["parts"] = " ".join(names) + (", quick" if asked.quick else "")
    for name in names:
        part = PARTS[name]
        for engine in (asked.engine or ["auto"]) if part.has_containers else [""]:
            print(f"{name}: {part.about}", flush=True)
            part.measure(figures, engine, asked)
            figures.write(KEPT)  # whatever happens to the next part
    figures.table()
    print(f"kept in {KEPT}; `python -m tests.bench --page` writes docs/benchmarks.md of it")


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parts = "\n".join(f"  {name:12} {part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog=f"parts, all of them by default (some 20 minutes):\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="PART", help="this part; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="fewer of each, for a first look")
    parser.add_argument(
        "--engine",
        action="append",
        choices=["auto", "oci", "docker"],
        help="what makes the containers (default: auto); repeated, each part is measured on each",
    )
    parser.add_argument("--seconds", type=float, help="length of the mix (default: 300, quick: 30)")
    parser.add_argument(
        "--iterations", type=int, default=10_000, help="of the longer loop (default: %(default)s)"
    )
    parser.add_argument("--parked", type=int, default=10_000, help="runs that wait (default: %(default)s)")
    parser.add_argument(
        "--page",
        action="store_true",
        help="measure nothing, write docs/benchmarks.md and its plot from the kept figures",
    )
    return parser


if __name__ == "__main__":
    main()
