"""Who did what: a row for each change that was asked for over HTTP, whether it was granted or not.

What was run is not here but on the jobs, with who created them. A row is written after the answer, so
it costs nobody time; the last ones may be missing after the service was killed.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from executor import telemetry
from executor.errors import ExecutorError
from executor.storage.database import Database
from executor.storage.tables import audit

WAITING_MAX = 10_000
"""Rows that wait to be written; more are told of in the log only."""
SWEEP_S = 3600.0
DAY_US = 24 * 3600 * 1_000_000
CHARS_MAX = 500


@dataclass(frozen=True)
class Act:
    """What somebody asked for; `at` in microseconds since 1970, UTC."""

    at: int
    user: str
    token_prefix: str
    workspace_id: str | None
    operation: str
    """What it is called here, such as `variables.create`."""
    subject: str
    """The path of the request."""
    status: int
    client: str


class Audit:
    """Notes acts; `days` is how long they are kept."""

    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._days = days
        self._waiting: asyncio.Queue[Act | None] = asyncio.Queue(WAITING_MAX)
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write what is noted, from now until `close`."""
        self._keeping = asyncio.create_task(self._keep())

    def note(self, act: Act) -> None:
        """Have it written soon."""
        try:
            self._waiting.put_nowait(act)
        except asyncio.QueueFull:
            telemetry.log.warning("an act was not noted", **asdict(act))

    async def close(self) -> None:
        """Write what still waits, and stop."""
        if self._keeping is not None:
            # told, not cancelled: whether a write that is cancelled was made nobody knows
            await self._waiting.put(None)
            await self._keeping

    async def _keep(self) -> None:
        is_open = True
        while is_open:
            found = [await self._waiting.get()]
            while not self._waiting.empty():
                found.append(self._waiting.get_nowait())
            is_open = None not in found
            await self._write([act for act in found if act is not None])

    async def _write(self, acts: list[Act]) -> None:
        if not acts:
            return
        try:
            await self._database.write(_insert, acts)
        except ExecutorError as error:
            for act in acts:
                telemetry.log.error("an act was not noted", error=str(error), **asdict(act))

    async def sweep(self, now: int) -> None:
        """Forget what is too old."""
        await self._database.write(_forget, now - self._days * DAY_US)

    async def list(
        self, workspace_id: str | None, user: str | None, before: int | None, after: int | None, limit: int
    ) -> list[Act]:
        """Acts, the latest first; of one workspace, or of all."""
        return await self._database.read(_listed, workspace_id, user, before, after, limit)


def _insert(connection: Connection, acts: list[Act]) -> None:
    connection.execute(insert(audit), [asdict(act) for act in acts])


def _forget(connection: Connection, before: int) -> None:
    connection.execute(delete(audit).where(audit.c.at < before))


def _listed(
    connection: Connection,
    workspace_id: str | None,
    user: str | None,
    before: int | None,
    after: int | None,
    limit: int,
) -> list[Act]:
    asked = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    for column, value in ((audit.c.workspace_id, workspace_id), (audit.c.user, user)):
        if value is not None:
            asked = asked.where(column == value)
    if before is not None:
        asked = asked.where(audit.c.at < before)
    if after is not None:
        asked = asked.where(audit.c.at > after)
    return [
        Act(**{name: row[name] for name in Act.__dataclass_fields__})
        for row in connection.execute(asked).mappings()
    ]
