"""Who we are among the processes of this host, so that another `executor run` sees whether we live."""

from __future__ import annotations

import os
from pathlib import Path


def own_worker_id() -> str:
    """This process: its id and when it started, which together no other process ever has."""
    return f"{os.getpid()}-{_started(os.getpid())}"


async def worker_is_alive(worker: str) -> bool:
    """Whether the process that `own_worker_id` named still lives; true when it cannot be told."""
    pid, _, started = worker.partition("-")
    if not pid.isdecimal() or not started:
        return True
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """The process's start in clock ticks since boot (proc(5), field 22 of stat); "" if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
