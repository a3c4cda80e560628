"""Figures as a drawing in SVG: each goal with what was reached, then each figure beside its reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from tests.bench.figures import Row, quantity, shown

WIDTH, LEFT, RIGHT = 1000, 440, 170
"""The bars are between the names on the left and the figures on the right."""
SPAN = WIDTH - LEFT - RIGHT
LINE, BAR, HEAD = 22, 12, 34
OURS = "ours"
"""The reference of a peer's row."""
TIMES = 8.0
"""The goals' scale reaches from an eighth of the goal to eight times the goal, and clips what is beyond."""
REACHED, MISSED, OWN, OTHER, INK, PALE = "#2f855a", "#c53030", "#2b6cb0", "#a0aec0", "#1a202c", "#4a5568"


def plot(rows: Sequence[Row]) -> str:
    """The whole drawing."""
    marks = [*against_goals(rows), *against_references(rows)]
    height, drawn = 12.0, []
    for space, mark in marks:
        drawn.append(f'<g transform="translate(0 {height:g})">{mark}</g>')
        height += space
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 8:g}" width="{WIDTH}" '
        f'height="{height + 8:g}" font-family="sans-serif" font-size="12" fill="{INK}">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def against_goals(rows: Sequence[Row]) -> Iterator[tuple[float, str]]:
    """A bar for each goal, from the best to where we are; the line in the middle is the goal."""
    held = [row for row in rows if row.value is not None and row.bound]
    if not held:
        return
    yield HEAD, heading("How far from the goal", "a bar that ends left of the line has reached it")
    yield LINE, grid() + "".join(map(scale_mark, ((1 / TIMES, "1/8"), (1.0, "goal"), (TIMES, "8 x"))))
    for row in held:
        assert row.bound is not None
        length, color = on_scale(times_goal(row)), REACHED if row.reached else MISSED
        told = f"{quantity(row.value, row.unit)}, goal {shown(row.bound)}"
        yield (
            LINE,
            grid() + label(f"{row.name} ({row.group})", 4) + bar(4, length, color) + value(length, 4, told),
        )
    yield 8, ""


def against_references(rows: Sequence[Row]) -> Iterator[tuple[float, str]]:
    """Two bars for each figure that has a reference, each pair on a scale of its own."""
    group = ""
    for row in rows:
        if row.value is None or not row.reference_value:
            continue
        if row.group != group:
            group = row.group
            yield HEAD, heading(f"{group[0].upper()}{group[1:]}", "each pair on a scale of its own")
        colors = (OTHER, OWN) if row.reference == OURS else (OWN, OTHER)
        scale = SPAN / max(row.value, row.reference_value)
        own, other = scale * max(0.0, row.value), scale * row.reference_value
        ratio = f"{shown(row.value)} {row.unit}, {row.ratio:.2f} x"
        first = label(row.name, 0) + bar(0, own, colors[0]) + value(own, 0, ratio)
        below = f"{shown(row.reference_value)} {row.unit}"
        second = label(row.reference, 14, PALE) + bar(14, other, colors[1]) + value(other, 14, below)
        yield 2 * LINE - 8, first + second


def times_goal(row: Row) -> float:
    """How many times the goal it takes, or is short of it; at most 1 if it is reached."""
    assert row.value is not None
    assert row.bound is not None
    if not row.at_least:
        return row.value / row.bound
    return row.bound / row.value if row.value > 0 else math.inf


def on_scale(times: float) -> float:
    """Where so many times the goal is on the goals' scale."""
    clipped = min(TIMES, max(1 / TIMES, times))
    return SPAN * (math.log2(clipped) + math.log2(TIMES)) / (2 * math.log2(TIMES))


def heading(text: str, about: str) -> str:
    """A line above a part."""
    return (
        f'<text x="16" y="20" font-size="15" font-weight="bold">{escape(text)}'
        f'<tspan dx="10" font-size="11" font-weight="normal" fill="{PALE}">{escape(about)}</tspan></text>'
    )


def label(text: str, y: int, color: str = INK) -> str:
    """A name left of its bar; where there is no room for it, its end is left out."""
    short = text if len(text) <= 74 else f"{text[:73]}…"
    return f'<text x="{LEFT - 8}" y="{y + 10}" text-anchor="end" font-size="11" fill="{color}">{escape(short)}</text>'


def bar(y: int, length: float, color: str) -> str:
    """Never quite invisible."""
    return f'<rect x="{LEFT}" y="{y}" width="{max(1.0, length):.1f}" height="{BAR}" fill="{color}"/>'


def value(length: float, y: int, text: str) -> str:
    """A figure right of its bar, readable where a line of the scale crosses it."""
    return (
        f'<text x="{LEFT + length + 6:.1f}" y="{y + 10}" font-size="11" stroke="white" stroke-width="3" '
        f'paint-order="stroke">{escape(text)}</text>'
    )


def grid() -> str:
    """The lines of the goals' scale through one line of the drawing; the goal's is dark."""
    return "".join(
        f'<path d="M{LEFT + on_scale(2.0**power):.1f} 0V{LINE}" '
        f'stroke="{INK if power == 0 else "#e2e8f0"}" stroke-width="{1.5 if power == 0 else 1}"/>'
        for power in range(-3, 4)
    )


def scale_mark(mark: tuple[float, str]) -> str:
    """What a line of the goals' scale means, above it."""
    times, text = mark
    return (
        f'<text x="{LEFT + on_scale(times):.1f}" y="-2" text-anchor="middle" font-size="11" fill="{PALE}">'
        f"{escape(text)}</text>"
    )
