"""What a service leaves on its host: containers, control groups, runtime states, mounts, jobs without an end."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from executor.sandbox.oci.cgroups import FOLDER, Cgroups
from executor.sandbox.oci.engine import CONTAINERS, RUN, STATES
from tests.acceptance.service import RealService
from tests.shared.bench import loops_below, mounts_below

SETTLE_S = 30.0
"""How long removals in the background, and refills of the pool, may take after the last answer."""
WAITING = re.compile(r"^executor_pool_waiting\{.*\} (\S+)$", re.MULTILINE)


def strays() -> set[str]:
    """Control groups and runtime states that belong to no container that this host knows of."""
    known = {path.name for path in (RUN / CONTAINERS).glob("*")}
    groups = {path for tree in Cgroups.of().trees for path in (tree / FOLDER).glob("*") if path.is_dir()}
    states = set((RUN / STATES).glob("*/*"))
    return {str(path) for path in groups | states if path.name not in known}


def busy(service: RealService) -> list[str]:
    """The containers of a service without a job, beyond those of its pool that wait."""
    waiting = sum(float(number) for number in WAITING.findall(service.http.get("/metrics").text))
    found = service.containers()
    return [] if len(found) == waiting else [f"{len(found)} containers of which {waiting:.0f} wait"]


def unended(service: RealService) -> list[str]:
    """The ids of jobs, flow runs and jobs inside of them that have not ended."""
    with closing(sqlite3.connect(f"file:{service.folder / 'executor.db'}?mode=ro", uri=True)) as database:
        return [id for (id,) in database.execute("SELECT id FROM jobs WHERE state != 'completed'")]


def mounts(service: RealService) -> list[str]:
    """Mounts and loop devices of the service's data directory, for the shared directories of runs."""
    return mounts_below(service.folder) + loops_below(service.folder)


def settled(look: Callable[[], list[str]], within_s: float = SETTLE_S) -> list[str]:
    """What is still seen when nothing more goes away: empty, as soon as it is."""
    deadline = time.monotonic() + within_s
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left
