"""Who waits for room under a concurrency key: in order, and by one reading for all of a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, update

from executor.jobs.concurrency import Share
from executor.storage.database import Database
from executor.storage.tables import jobs, workspaces
from executor.walker import keys
from executor.walker.keys import KeyQueues
from tests.storage.rows import job_row
from tests.waiting import until

pytestmark = pytest.mark.anyio
SHARE, OTHER = Share("k", 2, None), Share("x", 2, None)


class Counting(Database):
    """Counts its readings."""

    readings = 0

    async def read(self, act: Callable[..., Any], *args: Any) -> Any:
        self.readings += 1
        return await super().read(act, *args)


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counting]:
    monkeypatch.setattr(keys, "LOOK_AGAIN_US", 20_000)
    made = Counting(f"sqlite:///{tmp_path / 'x.db'}")
    await made.migrate()

    def prepare(connection: Connection) -> None:
        for name in ("main", "other"):
            connection.execute(insert(workspaces).values(id=name, name=name, policy="{}", created_at=0))

    await made.write(prepare)
    yield made
    made.close()


async def begun(database: Database, *job_ids: str) -> None:
    """These run, under the key."""
    for job_id in job_ids:
        row = job_row(job_id) | {"state": "running", "worker_id": "w", "started_at": 1}
        limits = {"concurrency_key": SHARE.key, "concurrency_limit": SHARE.limit}
        await database.write(lambda db, row=row | limits: db.execute(insert(jobs).values(**row)))


async def ended(database: Database, job_id: str) -> None:
    end = {"state": "completed", "status": "success", "completed_at": 2, "worker_id": None}
    await database.write(lambda db: db.execute(update(jobs).where(jobs.c.id == job_id).values(**end)))


class Crowd:
    """Waits under the key, and notes who was let try, in order."""

    def __init__(self, queues: KeyQueues) -> None:
        self.queues = queues
        self.tried: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(
        self, name: str, share: Share = SHARE, workspace: str = "main", again: bool = False
    ) -> None:
        async def wait() -> None:
            await self.queues.wait(workspace, share, again=again)
            self.tried.append(name)

        self.tasks[name] = asyncio.create_task(wait())
        await asyncio.sleep(0)

    async def leaves(self) -> None:
        """Nobody waits any more, and nobody looks."""
        for task in self.tasks.values():
            task.cancel()
        await until(lambda: not self.queues._watching and not self.queues._waiting)


@pytest.fixture
async def crowd(database: Counting) -> AsyncIterator[Crowd]:
    made = Crowd(KeyQueues(database))
    yield made
    await made.leaves()


async def looks(database: Counting, count: int = 3) -> None:
    """So many looks go by."""
    seen = database.readings
    await until(lambda: database.readings >= seen + count)


async def test_as_many_try_as_there_is_room_for_and_who_has_waited_longest_first(
    crowd: Crowd, database: Counting
) -> None:
    await begun(database, "1", "2")
    for name in "abcd":
        await crowd.comes(name)
    assert crowd.queues.is_waited_for("main", SHARE)
    await looks(database)
    assert crowd.tried == []
    await ended(database, "1")
    await until(lambda: bool(crowd.tried))
    assert crowd.tried == ["a"]
    await begun(database, "3")  # it has begun
    await crowd.comes("late but again", again=True)
    await looks(database)
    assert crowd.tried == ["a"]
    await ended(database, "2")
    await ended(database, "3")
    await until(lambda: len(crowd.tried) >= 3)
    assert crowd.tried[:3] == ["a", "late but again", "b"]


async def test_other_keys_and_other_workspaces_are_not_held_up(crowd: Crowd, database: Counting) -> None:
    await begun(database, "1", "2")
    await crowd.comes("held")
    await crowd.comes("other key", OTHER)
    await crowd.comes("other workspace", workspace="other")
    await until(lambda: len(crowd.tried) == 2)
    assert set(crowd.tried) == {"other key", "other workspace"}
    assert not crowd.queues.is_waited_for("main", OTHER)
    assert crowd.queues.is_waited_for("main", SHARE)


async def test_a_crowd_takes_one_reading_a_look(crowd: Crowd, database: Counting) -> None:
    await begun(database, "1", "2")
    for n in range(300):
        await crowd.comes(str(n))
    seen = database.readings
    await asyncio.sleep(0.3)
    assert 1 <= database.readings - seen <= 0.3 / 0.02 + 1


async def test_who_is_cancelled_takes_no_turn(crowd: Crowd, database: Counting) -> None:
    """Its run has ended; the room is the next one's."""
    await begun(database, "1", "2")
    for name in "abc":
        await crowd.comes(name)
    crowd.tasks["a"].cancel()
    await ended(database, "1")
    await until(lambda: bool(crowd.tried))
    assert crowd.tried == ["b"]
