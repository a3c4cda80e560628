"""What it costs to have a run walked: by our leased rows, and by DBOS queues, in the same minutes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.jobs.job import now_us
from tests.bench.driven import NotHereError, installed
from tests.bench.figures import Figures, Row
from tests.bench.flows import service
from tests.flows.lives import new_run
from tests.flows.running import ident
from tests.service import LocalService

COUNT = 300
IDLE_S = 10.0
DELAY_S = 1.0
DBOS = "dbos>=3.4,<4"
HERE = Path(__file__).parent
FLOW = {"modules": [ident("a")]}
GROUP = "having runs walked, our leased rows"
ROWS = (
    ("begin", "one run handed in, to its end (DBOS: to its begin)", "ms", 1000.0),
    ("late", "a delayed run is late by", "ms", 1000.0),
    ("rate", f"{COUNT} runs handed in at once", "runs/s", 1.0),
    ("idle", "CPU while nothing happens", "% of a core", 1.0),
)


async def dispatch(figures: Figures) -> None:
    """Measure both. A figure of ours counts the whole run to its end, one of DBOS its begin only."""
    peer, why = await asyncio.to_thread(dbos)
    async with service(queue_max=10 * COUNT) as local:
        own = await ours(local)
    for name, label, unit, scale in ROWS:
        held: dict[str, Any] = {"reference": "DBOS", "reference_value": scale * peer[name]} if peer else {}
        figures.add(Row(GROUP, label, scale * own[name], unit, note=why, **held))


async def ours(local: LocalService) -> dict[str, float]:
    """The same figures as peer_dbos.py gives."""
    for _ in range(3):
        await lived(local, 0)
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(IDLE_S)
    idle = 100 * (time.process_time() - cpu) / (time.perf_counter() - began)
    queued = sorted([await lived(local, 0) for _ in range(COUNT // 10)])
    delayed = sorted([await lived(local, DELAY_S) - DELAY_S for _ in range(5)])
    desk = local.context.desk
    began = time.perf_counter()
    runs = [new_run(FLOW, {}) for _ in range(COUNT)]
    for run in runs:
        await desk.submit(run)
    await asyncio.gather(*(desk.wait("main", run.id) for run in runs))
    rate = COUNT / (time.perf_counter() - began)
    return {"begin": queued[len(queued) // 2], "late": delayed[2], "rate": rate, "idle": idle}


async def lived(local: LocalService, delay_s: float) -> float:
    """Seconds from handing a run in, due after `delay_s`, to its end."""
    desk = local.context.desk
    run = replace(new_run(FLOW, {}), scheduled_for=now_us() + int(delay_s * 1e6))
    began = time.perf_counter()
    await desk.submit(run)
    await desk.wait("main", run.id)
    return time.perf_counter() - began


def dbos() -> tuple[dict[str, float], str]:
    """Its figures, measured in a process of its own; none, and why, if it cannot be installed."""
    try:
        python = installed("dbos", [DBOS])
    except NotHereError as error:
        return {}, f"DBOS {error}"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), str(HERE / "peer_dbos.py"), folder, str(COUNT), str(IDLE_S)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=sys.stderr, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found, ""
