"""The page in docs with the figures of a run, and a plot of them."""

from __future__ import annotations

from html import escape
from pathlib import Path

from tests.bench.figures import Figures, Row, cells, shown

FOLDER = Path("docs")
HEAD = """# Benchmarks

`make bench ARGS="--only scripts"` measures this, beside references of the same run, and keeps the figures in
`.make/bench/figures.json`; `python -m tests.bench --page` writes this page of them. Every job runs in a container of
its own, which is never used again. Trust the ratios: times depend on the machine and on what else it does.

"""
WIDTH, LEFT, LINE = 860, 300, 22
OWN, OTHER = "#2b6cb0", "#a0aec0"


def write(figures: Figures) -> None:
    """Both files."""
    (FOLDER / "benchmarks.svg").write_text(
        plot([row for row in figures.rows if row.reference_value]), "utf-8"
    )
    (FOLDER / "benchmarks.md").write_text(text(figures), "utf-8")


def text(figures: Figures) -> str:
    """The page."""
    lines = [
        HEAD + "Measured on: " + ", ".join(f"{name} {value}" for name, value in figures.host.items()) + ".\n"
    ]
    lines.append("![Figures with a reference, and their references](benchmarks.svg)\n")
    group = ""
    for row in figures.rows:
        if row.group != group:
            group = row.group
            lines += [
                f"\n## {group[0].upper()}{group[1:]}\n",
                "| scenario | median | p95 | ratio | of | goal |",
            ]
            lines.append("|---|---:|---:|---:|---|---|")
        lines.append(f"| {row.name} | " + " | ".join(cells(row)) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: list[Row]) -> str:
    """Two bars for each figure that has a reference, each pair on a scale of its own."""
    height = LINE * 2 * len(rows) + 10
    bars = []
    for number, row in enumerate(rows):
        reference = row.reference_value or 0.0
        scale = (WIDTH - LEFT - 120) / max(row.value, reference)
        top = 2 * LINE * number + 8
        for name, value, y, color in (
            (f"{row.name} ({row.group})", row.value, top, OWN),
            (row.reference, reference, top + LINE - 6, OTHER),
        ):
            bars.append(
                f'<text x="{LEFT - 8}" y="{y + 10}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{LEFT}" y="{y}" width="{max(1.0, value * scale):.1f}" height="12" fill="{color}"/>'
                f'<text x="{LEFT + value * scale + 6:.1f}" y="{y + 10}">{shown(value)} {escape(row.unit)}</text>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        + "".join(bars)
        + "</svg>\n"
    )
