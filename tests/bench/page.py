"""The page in docs with the figures of a run, and what they are held against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tests.bench import published
from tests.bench.figures import COLUMNS, TEXT_COLUMNS, Figures, Row, cells, named, quantity, verdict
from tests.bench.plot import plot

FOLDER = Path("docs")
HEAD = """# Benchmarks

Every job runs in a container of its own, which is made for it and never used again. References and peers are measured
in the same run as ours, on the same machine, in turn with us. Trust the ratios: times depend on the machine and on what
else it does.

To get the figures again, on a machine that does nothing else:

    make bench                            # measures; keeps the figures in .make/bench/figures.json
    make bench ARGS="--only scripts --quick"    # a first look; `ARGS=--help` lists the parts
    make bench ARGS=--page                # writes this page and its plot from the kept figures
"""
MEANING = """
*median* is over single jobs or runs where there are several; *ratio* is that as a multiple of the next column's
reference. In the mix each client posts its next job as soon as the last is answered, so that times are those of a full
machine. Flows take several times as long as scripts, so each time there is a multiple of its own kind's median before
the 95th percentile of all is taken.
"""


def write(figures: Figures, folder: Path = FOLDER) -> list[Path]:
    """The page and its plot; gives their paths."""
    page, drawing = folder / "benchmarks.md", folder / "benchmarks.svg"
    page.write_text(text(figures), "utf-8")
    drawing.write_text(plot(figures.rows), "utf-8")
    return [page, drawing]


def text(figures: Figures) -> str:
    """The page."""
    parts = [
        HEAD,
        *table(("measured", "on"), "ll", figures.host.items()),
        "\n![Each goal and what was reached; each figure and its reference](benchmarks.svg)\n",
        "## Goals\n",
        *table(("scenario", "goal", "measured", "reached"), "llrl", goals(figures.rows)),
        MEANING,
    ]
    aligned = "".join("l" if name in TEXT_COLUMNS else "r" for name in COLUMNS)
    for group, rows in groupby(figures.rows, key=lambda row: row.group):
        parts.append(f"\n## {group[0].upper()}{group[1:]}\n")
        parts += table(COLUMNS, aligned, ([named(row), *cells(row)] for row in rows))
    parts += ["\n## Published by others, not measured here\n", f"{published.SOURCE}.\n"]
    parts += table(published.HEADS, "lrr", published.ROWS)
    return "\n".join(parts) + "\n"


def goals(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """What was to be reached, and whether it is."""
    for row in rows:
        if row.goal:
            measured = quantity(row.value, row.unit)
            if row.ratio is not None:
                measured += f" = {row.ratio:.2f} x {row.reference}"
            yield f"{row.group}: {named(row)}", row.goal, measured, verdict(row)


def table(heads: Sequence[str], aligned: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table in Markdown; `aligned` has an l or r for each column."""
    yield line(heads)
    yield "|" + "|".join("---:" if side == "r" else "---" for side in aligned) + "|"
    for row in rows:
        yield line(row)


def line(texts: Sequence[str]) -> str:
    """One line of a table, whatever is in its cells."""
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
