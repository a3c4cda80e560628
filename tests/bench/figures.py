"""What was measured: rows with a figure and what it is held against, as a table and as JSON (page.py: a page)."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COLUMNS = ("scenario", "median", "p95", "p95/median", "ratio", "of", "goal", "reached")
TEXT_COLUMNS = ("scenario", "of", "goal", "reached")


@dataclass(frozen=True)
class Row:
    """One figure: what, how much of which unit, the reference of the same run that it is held against, its goal.

    A value of None says that it could not be measured, `note` why. `goal` is for people; `bound`, in the row's
    unit, decides: the value may be that at most, or with `at_least` must be.
    """

    group: str
    name: str
    value: float | None
    unit: str
    p95: float | None = None
    reference: str = ""
    reference_value: float | None = None
    goal: str = ""
    bound: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of its reference."""
        return None if self.value is None or not self.reference_value else self.value / self.reference_value

    @property
    def spread(self) -> float | None:
        """The 95th percentile as a multiple of the median."""
        return None if not self.value or self.p95 is None else self.p95 / self.value

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None without one, or without a figure."""
        if self.value is None or self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass
class Figures:
    """All rows of a run, and where it ran."""

    host: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> Row:
        """Keep a row, and tell of it at once."""
        self.rows.append(row)
        ratio = f"  {row.ratio:.2f} x {row.reference}" if row.ratio is not None else ""
        note = f"  ({row.note})" if row.note else ""
        print(f"  {row.group}: {row.name}  {quantity(row.value, row.unit)}{ratio}{note}", flush=True)
        return row

    def find(self, group: str, name: str) -> Row | None:
        """The last row of that name."""
        found = [row for row in self.rows if (row.group, row.name) == (group, name)]
        return found[-1] if found else None

    def table(self) -> None:
        """Print everything as one table."""
        table = Table(
            title=escape("; ".join(f"{name} {value}" for name, value in self.host.items())),
            caption="ratio: the median as a multiple of the reference in the next column, measured in the same run",
        )
        for name in COLUMNS:
            table.add_column(name, justify="left" if name in TEXT_COLUMNS else "right")
        group = ""
        for row in self.rows:
            if row.group != group:
                table.add_section()
                group = row.group
                table.add_row(f"[bold]{escape(group)}")
            table.add_row(f"  {escape(named(row))}", *map(escape, cells(row)))
        Console(width=180).print(table)

    def write(self, path: Path) -> None:
        """The same for machines."""
        derived = [{"ratio": row.ratio, "reached": row.reached} for row in self.rows]
        rows = [{**asdict(row), **more} for row, more in zip(self.rows, derived, strict=True)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"host": self.host, "rows": rows}, indent=1) + "\n", "utf-8")


def read(path: Path) -> Figures:
    """The figures of an earlier run."""
    whole = json.loads(path.read_text("utf-8"))
    given = Row.__dataclass_fields__
    rows = [Row(**{name: value for name, value in row.items() if name in given}) for row in whole["rows"]]
    return Figures(whole["host"], rows)


def cells(row: Row) -> list[str]:
    """A row's cells behind its name."""
    return [
        quantity(row.value, row.unit),
        "" if row.p95 is None else shown(row.p95),
        "" if row.spread is None else f"{row.spread:.2f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.reference,
        row.goal,
        verdict(row),
    ]


def named(row: Row) -> str:
    """A row's name, with what must be said of it."""
    return f"{row.name} ({row.note})" if row.note else row.name


def quantity(value: float | None, unit: str) -> str:
    """A figure with its unit."""
    return "not measured" if value is None else f"{shown(value)} {unit}".strip()


def verdict(row: Row) -> str:
    """Whether the goal is reached, in a word."""
    return {None: "", True: "yes", False: "no"}[row.reached]


def shown(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def summary(times: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    ordered = sorted(times)
    return median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def this_host() -> dict[str, str]:
    """Where and when figures come from, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        **{name: said for name in ("crun", "runc") if (said := version(name))},
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model as the kernel names it, or the architecture."""
    found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text("utf-8"), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def version(program: str) -> str:
    """The version that a program tells first; nothing if there is no such program."""
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+\S*", said)
    return found[0] if found else ""
