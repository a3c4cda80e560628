"""What a service holds at a moment: memory, descriptors, containers, mounts, groups, rows."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.service import RealService
from tests.bench.leftovers import WAITING, mounts, strays
from tests.faults.settling import volumes

MEMORY_GROWTH = 1.25
MEMORY_SLACK_MB = 24.0
DESCRIPTORS_SLACK = 40
"""Connections that are kept alive, and what is open only for a moment."""
PER_WAITING = 4
"""Descriptors of a container that waits: three pipes, and a socket where Docker made it."""
DRIFT_MAX = 1.5
MOMENT_S = 0.05
"""What a job that takes less than this takes longer is noise."""


@dataclass(frozen=True)
class Reading:
    """One look."""

    at_s: float
    ended: int
    rss_mb: float
    descriptors: int
    threads: int
    containers: int
    waiting: int
    mounts: int
    volumes: int
    strays: int
    unended: int


@dataclass(frozen=True)
class Verdict:
    """One check: what was seen, what was allowed."""

    name: str
    ok: bool
    seen: str


def read(service: RealService, at_s: float, ended: int, before: Collection[str]) -> Reading:
    """Look now; `before` are strays that were there before the service was."""
    assert service.process is not None
    process = Path(f"/proc/{service.process.pid}")
    status = dict(
        line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
    )
    waiting = sum(float(number) for number in WAITING.findall(service.http.get("/metrics").text))
    return Reading(
        at_s=round(at_s),
        ended=ended,
        rss_mb=round(int(status["VmRSS"].split()[0]) / 1024, 1),
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
        containers=len(service.containers()),
        waiting=round(waiting),
        mounts=len([mount for mount in mounts(service) if "/slots" not in mount]),
        volumes=len(volumes(service)),
        strays=len(strays() - set(before)),
        unended=rows(service)["jobs without an end"],
    )


def rows(service: RealService) -> dict[str, int]:
    """What the database has of which there should be none, once nothing runs."""
    questions = {
        "jobs without an end": "SELECT count(*) FROM jobs WHERE state != 'completed'",
        "ended jobs without a result": "SELECT count(*) FROM jobs j WHERE state = 'completed' AND NOT EXISTS "
        "(SELECT 1 FROM job_results r WHERE r.job_id = j.id)",
        "leases of ended jobs": "SELECT count(*) FROM jobs WHERE state = 'completed' AND worker_id IS NOT NULL",
        "ended jobs that wait for events": "SELECT count(*) FROM jobs WHERE state = 'completed' AND suspend != 0",
    }
    with closing(sqlite3.connect(f"file:{service.folder / 'executor.db'}?mode=ro", uri=True)) as database:
        return {name: int(database.execute(sql).fetchone()[0]) for name, sql in questions.items()}


def stored(service: RealService) -> dict[str, tuple[str, str | None]]:
    """Status and reason of every job that a client handed in."""
    asked = "SELECT id, status, reason FROM jobs WHERE run_id IS NULL OR run_id = id"
    with closing(sqlite3.connect(f"file:{service.folder / 'executor.db'}?mode=ro", uri=True)) as database:
        return {id: (status, reason) for id, status, reason in database.execute(asked)}


def drift(times: Mapping[str, Sequence[tuple[float, float]]], length_s: float) -> float:
    """The 95th percentile of the last third over that of the first, each time as a multiple of its kind's median."""
    thirds: tuple[list[float], list[float]] = ([], [])
    for samples in times.values():
        median = max(MOMENT_S, statistics.median(seconds for _, seconds in samples))
        for at_s, seconds in samples:
            if at_s < length_s / 3:
                thirds[0].append(seconds / median)
            elif at_s > 2 * length_s / 3:
                thirds[1].append(seconds / median)
    first, last = (statistics.quantiles(third, n=20)[-1] if len(third) > 1 else 1.0 for third in thirds)
    return last / first


def growth(readings: Sequence[Reading]) -> Verdict:
    """Memory, after the first third, in which caches and the pool fill."""
    warm = readings[len(readings) // 3].rss_mb
    last = readings[-1].rss_mb
    allowed = MEMORY_GROWTH * warm + MEMORY_SLACK_MB
    return Verdict(
        "memory", last <= allowed, f"{warm} MB when warm, {last} at the end (at most {allowed:.0f})"
    )


def descriptors(first: Reading, last: Reading) -> Verdict:
    """Open files once nothing runs, beside those of containers that wait."""
    allowed = first.descriptors + DESCRIPTORS_SLACK + PER_WAITING * max(0, last.waiting - first.waiting)
    return Verdict(
        "descriptors",
        last.descriptors <= allowed,
        f"{first.descriptors} before, {last.descriptors} after (at most {allowed})",
    )


def none(name: str, count: int) -> Verdict:
    """Something of which there must be none."""
    return Verdict(name, count == 0, str(count))


def shown(reading: Reading) -> dict[str, Any]:
    """As a row."""
    return asdict(reading)
