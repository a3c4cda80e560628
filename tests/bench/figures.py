"""What was measured: rows with a figure and what it is held against, as a table, JSON, and a page with a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure: what, how much of which unit, and the reference of the same run that it is held against."""

    group: str
    name: str
    value: float
    unit: str
    p95: float | None = None
    reference: str = ""
    reference_value: float | None = None
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of its reference."""
        return None if not self.reference_value else self.value / self.reference_value


@dataclass
class Figures:
    """All rows of a run, and where it ran."""

    host: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> Row:
        """Keep a row, and tell of it at once."""
        self.rows.append(row)
        ratio = f"  {row.ratio:.2f} x {row.reference}" if row.ratio is not None else ""
        print(f"  {row.group}: {row.name}  {shown(row.value)} {row.unit}{ratio}", flush=True)
        return row

    def table(self) -> None:
        """Print everything as one table."""
        table = Table(title=", ".join(f"{name} {value}" for name, value in self.host.items()))
        for name in ("scenario", "median", "p95", "ratio", "of", "goal"):
            table.add_column(name, justify="left" if name in ("scenario", "of", "goal") else "right")
        group = ""
        for row in self.rows:
            if row.group != group:
                table.add_section()
                group = row.group
                table.add_row(f"[bold]{group}")
            table.add_row(f"  {row.name}", *cells(row))
        Console(width=150).print(table)

    def write(self, path: Path) -> None:
        """The same for machines."""
        whole = {"host": self.host, "rows": [{**asdict(row), "ratio": row.ratio} for row in self.rows]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


def read(path: Path) -> Figures:
    """The figures of an earlier run."""
    whole = json.loads(path.read_text("utf-8"))
    rows = [Row(**{name: value for name, value in row.items() if name != "ratio"}) for row in whole["rows"]]
    return Figures(whole["host"], rows)


def cells(row: Row) -> list[str]:
    """A row's cells behind its name."""
    return [
        f"{shown(row.value)} {row.unit}",
        "" if row.p95 is None else shown(row.p95),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.reference,
        row.goal,
    ]


def shown(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def summary(times: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    ordered = sorted(times)
    return median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def this_host() -> dict[str, str]:
    """Where figures come from, in a few words."""
    return {
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
