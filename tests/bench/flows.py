"""What a flow run costs: per iteration of an identity, and while it only waits."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from executor.storage.tables import jobs
from tests.bench.figures import Figures, Row, summary
from tests.flows.lives import new_run
from tests.flows.running import Flows, forloop, ident
from tests.service import LocalService, local_service

MIB = 1024 * 1024
TRIES = 200
"""Parked runs that are resumed, one after the other."""


@asynccontextmanager
async def service(**settings: Any) -> AsyncIterator[LocalService]:
    """A service on the fake engine and a new SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        async with local_service(Path(folder), **settings) as local:
            yield local


def memory_mib() -> float:
    """What this process holds in memory, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


async def iterations(figures: Figures, most: int) -> None:
    """A loop of identities, and one of a tenth as many: time should go with their number."""
    loop = forloop("l", "Array.from({length: flow_input.n}, (_, i) => i)", ident("i"))
    group, few = "loop of identities, no containers", 0.0
    async with service() as local:
        flows = Flows(local)
        await flows.run(loop, args={"n": 100})
        for number in (most // 10, most):
            before, began = memory_mib(), time.perf_counter()
            job = await flows.run(loop, args={"n": number}, timeout_s=600)
            each = 1000 * (time.perf_counter() - began) / number
            assert len(job["result"]) == number
            held: dict[str, Any] = {"reference": f"with {most // 10}", "reference_value": few} if few else {}
            figures.add(Row(group, f"{number} iterations, each", each, "ms", **held))
            figures.add(Row(group, f"{number} iterations, memory", memory_mib() - before, "MiB"))
            few = each


async def parked(figures: Figures, number: int) -> None:
    """Runs that wait for an approval hold nothing; any of them goes on at once."""
    flow = {"modules": [ident("a", suspend={"required_events": 1, "timeout": 3600}), ident("b")]}
    async with service(queue_max=number + 1) as local:
        desk, before, tasks = local.context.desk, memory_mib(), len(asyncio.all_tasks())
        began = time.perf_counter()
        for _ in range(number):
            await desk.submit(new_run(flow, {}))
        while len(gates := await desk.database.read(waiting)) < number:
            await asyncio.sleep(0.1)
        spent = time.perf_counter() - began
        group = f"{number} runs that wait for an approval"
        figures.add(Row(group, "parking one", 1000 * spent / number, "ms"))
        kib = 1024 * (memory_mib() - before) / number
        figures.add(
            Row(group, "memory of each", kib, "KiB", note=f"{threading.active_count()} threads in all")
        )
        tasks = max(0, len(asyncio.all_tasks()) - tasks)  # one that was there before may have ended
        figures.add(Row(group, "tasks that they hold together", tasks, ""))
        figures.add(Row(group, "containers that they hold together", len(local.engine.living), ""))
        times = [await resumed(local, *gate) for gate in random.sample(gates, min(TRIES, number))]
        middle, p95 = summary(times)
        figures.add(Row(group, "approved, until the run has ended", 1000 * middle, "ms", p95=1000 * p95))


def waiting(connection: Connection) -> list[tuple[str, str]]:
    """Each parked run, and the job of the step whose approval it waits for."""
    run = jobs.alias()
    rows = connection.execute(
        select(run.c.id, jobs.c.id.label("step"))
        .select_from(run.join(jobs, jobs.c.run_id == run.c.id))
        .where(run.c.role == "run", run.c.state == "queued", run.c.suspend > 0, jobs.c.step_id == "a")
    )
    return [(row.id, row.step) for row in rows]


async def resumed(local: LocalService, run_id: str, step: str) -> float:
    """Approve; the seconds until the run has ended."""
    began = time.perf_counter()
    await local.context.desk.add_event(step, 1, True, "ada", b"{}")
    await local.context.desk.wait("main", run_id)
    return time.perf_counter() - began
