"""Dispatch by DBOS queues, measured in a process of its own: `peer_dbos.py FOLDER COUNT IDLE_S`, prints JSON.

A workflow here does nothing: what is measured is what it costs to have one started. Its database is
set as ours is (WAL, every commit flushed), its serializer is JSON, its queue is asked each 100 ms.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

POLL_S = 0.1
DELAY_S = 1.0
begun: dict[str, float] = {}


@DBOS.workflow()  # type: ignore[untyped-decorator]  # it is no dependency of ours
async def activation(run_id: str) -> None:
    """Note when it began."""
    begun[run_id] = time.perf_counter()


def engine(path: str) -> sa.Engine:
    """SQLite with the settings of executor.storage.engines."""
    made = sa.create_engine(f"sqlite:///{path}")

    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(made, "connect", prepare)
    return made


async def until_begun(ids: list[str]) -> None:
    """Return when all of them have begun."""
    while not all(one in begun for one in ids):
        await asyncio.sleep(0.001)


async def one_by_one(count: int, delay_s: float | None) -> list[float]:
    """Seconds from handing in until begun; with a delay: from when it was due."""
    took = []
    for number in range(count):
        run_id = f"{delay_s}-{number}"
        asked = time.perf_counter()
        with SetWorkflowID(run_id), SetEnqueueOptions(delay_seconds=delay_s):
            await DBOS.enqueue_workflow_async("runs", activation, run_id)
        await until_begun([run_id])
        took.append(begun[run_id] - asked - (delay_s or 0))
    return took


async def measure(folder: str, count: int, idle_s: float) -> dict[str, float]:
    """All figures, in seconds, per second, and per cent of a core."""
    DBOS(
        config={
            "name": "bench",
            "system_database_engine": engine(f"{folder}/dbos.db"),
            "serializer": DBOSPortableJSONSerializer(),
            "application_version": "1",
            "log_level": "ERROR",
            "use_listen_notify": False,
        }
    )
    DBOS.launch()
    await DBOS.register_queue_async("runs", worker_concurrency=8, polling_interval_sec=POLL_S)
    await one_by_one(3, None)
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(idle_s)
    idle = 100 * (time.process_time() - cpu) / (time.perf_counter() - began)
    queued = await one_by_one(max(5, count // 10), None)
    delayed = await one_by_one(5, DELAY_S)
    ids = [f"many-{number}" for number in range(count)]
    began = time.perf_counter()
    for run_id in ids:
        with SetWorkflowID(run_id):
            await DBOS.enqueue_workflow_async("runs", activation, run_id)
    await until_begun(ids)
    rate = count / (time.perf_counter() - began)
    DBOS.destroy()
    return {"begin": sorted(queued)[len(queued) // 2], "late": sorted(delayed)[2], "rate": rate, "idle": idle}


if __name__ == "__main__":
    folder, count, idle_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(asyncio.run(measure(folder, count, idle_s))))
