"""One life of a service that walks a flow, in a process of its own that may be killed at a write.

Started from a fork server, so that a life costs a fork and not an import of everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from executor import telemetry
from executor.errors import Conflict
from executor.jobs import store
from executor.jobs.desk import Desk
from executor.jobs.job import now_us
from executor.storage.database import Database
from executor.storage.tables import jobs
from executor.workspace.flows import NewFlow
from tests.flows.lives import new_run
from tests.service import local_service

T = TypeVar("T")
INNER = "f/kill/inner"
RUN = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Order:
    """What a life is for; all of it can be sent to another process."""

    folder: Path
    flow: dict[str, Any]
    inner: dict[str, Any]
    """The flow that is stored at INNER."""
    database_url: str | None = None
    """Of a database of its own; None: SQLite in the folder."""
    kill_at: int | None = None
    """The number of the write at which the process dies; None: it lives to the end of the run."""
    after: bool = False
    """It dies when that write is committed, not before."""

    @property
    def record(self) -> Path:
        """Where scripts note their runs; no database of ours."""
        return self.folder / "ran"

    @property
    def report(self) -> Path:
        """What the run came to."""
        return self.folder / "report.json"


def live(order: Order) -> None:
    """A process's whole life."""
    os.setsid()
    telemetry.configure("critical")
    asyncio.run(_live(order))


async def _live(order: Order) -> None:
    async with local_service(order.folder, concurrency=3, database_url=order.database_url) as service:
        service.engine.functions = scripts(order.record)
        desk = service.context.desk
        with suppress(Conflict):  # an earlier life has stored it
            await service.context.library.create_flow(
                "main", NewFlow(INNER, json.dumps(order.inner)), "test", now_us()
            )
        writes = Writes(desk.database, order.kill_at, order.after)
        new = replace(new_run(order.flow, {"list": [1, 2, 3]}), id=RUN, run_id=RUN)
        approving = asyncio.create_task(approve(desk))
        await desk.submit(new)
        done = await desk.wait("main", RUN)
        approving.cancel()
        rows = await desk.database.read(steps)
        living = len(service.engine.living)
    report = {
        "status": done.job.status,
        "result": json.loads(done.result),
        "jobs": rows,
        "writes": writes.number,
        "living": living,
    }
    order.report.write_text(json.dumps(report))


class Writes:
    """Counts a database's writes, and is the end of us at one of them."""

    def __init__(self, database: Database, kill_at: int | None, after: bool) -> None:
        self.number = 0
        write = database.write_in_turn

        async def counted(whose: str, act: Callable[..., T], *args: Any, rows: int = 1) -> T:
            self.number += 1
            ours = self.number == kill_at
            if ours and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            value = await write(whose, act, *args, rows=rows)
            if ours:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        database.write_in_turn = counted  # type: ignore[method-assign]


def scripts(record: Path) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Scripts that note that they ran, under their argument `k`."""

    def note(args: dict[str, Any]) -> None:
        with record.open("a") as file:
            file.write(f"{args['k']}\n")

    def gives(args: dict[str, Any]) -> Any:
        note(args)
        return args.get("x", args["k"])

    def breaks(args: dict[str, Any]) -> Any:
        note(args)
        raise ValueError(f"{args['k']} is broken")

    return {"gives": gives, "breaks": breaks}


async def approve(desk: Desk) -> None:
    """Approve whatever waits for it, as somebody outside would; until cancelled."""
    while True:
        await asyncio.sleep(0.05)
        status = desk.flow_statuses.get(RUN)
        stored: str | None = await desk.database.read(store.flow_status, RUN)
        found = json.loads((stored or "{}") if status is None else status.text)
        for module in found.get("modules", []):
            if module["type"] == "WaitingForEvents":
                with suppress(Conflict):
                    await desk.add_event(module["job"], 1, True, "ada", b'{"ok":true}')


def steps(connection: Connection) -> list[list[Any]]:
    """The jobs inside the run by place: place, state, times it was leased."""
    rows = connection.execute(
        select(jobs.c.run_path, jobs.c.state, jobs.c.attempt, jobs.c.role)
        .where(jobs.c.run_id == RUN, jobs.c.id != RUN)
        .order_by(jobs.c.run_path)
    )
    return [list(row) for row in rows]
