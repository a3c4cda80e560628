"""A service's walker, worker and desk without HTTP, which can be made to die at a write.

Dying is what a kill leaves behind: nothing reaches the database any more, and every task is gone.
The next life begins on the same database, as the next process would.
"""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event

from executor.containers import Parts, make_sandbox
from executor.flows.document import FlowLimits, with_ids
from executor.flows.expressions.pool import Expressions
from executor.jobs.desk import Completed, Desk
from executor.jobs.job import NewJob, new_id, now_us
from executor.runtimes import Runtimes, scan
from executor.sandbox.fake import FakeEngine
from executor.script import compact_json, resolve_limits
from executor.settings import LimitBounds, Settings
from executor.storage.database import Database, migrate
from executor.walker import Walker
from executor.walker.keys import KeyQueues
from executor.walker.room import Room
from executor.walker.world import Surroundings
from executor.wiring import requeue_orphans
from executor.worker import Worker
from executor.workspace.library import Library
from executor.workspace.workspaces import Workspaces

T = TypeVar("T")
PATIENCE_S = 50
"""Longer than a machine stands still, shorter than the queues' `IDLE_S`, which would mend a lost wake-up."""
LIMITS = FlowLimits(depth=50, modules=5000, iterations=10_000)


class Dead(BaseException):
    """The process is gone; nothing that runs on may have an effect."""


class MortalDatabase(Database):
    """Dies at a write; the write itself does not happen."""

    def __init__(self, url: str, dies_at: int | None) -> None:
        super().__init__(url)
        self.died = asyncio.Event()
        self.writes = 0
        self._dies_at = dies_at
        for engine in (self.engine, self._writing):  # nobody pulls the plug of the machine here
            event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))

    async def write_in_turn(self, whose: str, act: Callable[..., T], *args: Any, rows: int = 1) -> T:
        """As ever, until it is time; whatever is written comes through here."""
        self.writes += 1
        if self.writes == self._dies_at:
            self.died.set()
        self._check()
        return await super().write_in_turn(whose, act, *args, rows=rows)

    async def read(self, act: Callable[..., T], *args: Any) -> T:
        """As ever, until it is time."""
        self._check()
        return await super().read(act, *args)

    def _check(self) -> None:
        if self.died.is_set():
            raise Dead


class Lives:
    """One database and its lives, one after the other."""

    def __init__(
        self, folder: Path, template: Path, expressions: Expressions, functions: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.functions = functions
        self._runtimes = scan(Settings(data_dir=folder).runtimes)
        self._expressions = expressions
        self.room = Room(1000)
        shutil.copyfile(template, folder / "db")

    @property
    def url(self) -> str:
        """The database's."""
        return f"sqlite:///{self.folder / 'db'}"

    async def live(self, new: NewJob, dies_at: int | None = None) -> Completed | None:
        """A life in which the run is handed in, if it was not before; its end, None if we died first."""
        before = asyncio.all_tasks()
        database = MortalDatabase(self.url, dies_at)
        try:
            living = asyncio.create_task(self._live(database, new))
            dying = asyncio.create_task(database.died.wait())
            await asyncio.wait({living, dying}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            assert living.done() or dying.done(), f"neither ended nor died: {stacks(before)}"
            return living.result() if living.done() and not database.died.is_set() else None
        finally:
            database.died.set()
            gone = asyncio.all_tasks() - before - self._expressions._ending
            for task in gone:
                task.cancel()
            staying = (await asyncio.wait(gone, timeout=5))[1] if gone else set()
            await asyncio.to_thread(database.close)
            assert not staying, f"tasks outlive their process: {staying}"

    async def _live(self, database: MortalDatabase, new: NewJob) -> Completed:
        workspaces = Workspaces(database, LimitBounds())
        await workspaces.load(now_us())
        desk = Desk(database, 1000)
        library = await Library.open(database, Settings(data_dir=self.folder))
        worker = self._worker(desk, workspaces, library)
        await database.write(requeue_orphans, worker.worker_id)
        around = Surroundings(
            desk,
            library,
            self._expressions,
            workspaces.bounds,
            LIMITS,
            KeyQueues(desk.database),
            room=self.room,
        )
        walker = Walker(worker.worker_id, around)
        desk.starter, desk.walks = worker, walker
        working = [asyncio.create_task(worker.work()), asyncio.create_task(walker.work())]
        await desk.submit(new)
        try:
            return await desk.wait("main", new.id)
        finally:
            for task in working:
                task.cancel()

    def _worker(self, desk: Desk, workspaces: Workspaces, library: Library) -> Worker:
        engine = FakeEngine()
        engine.functions = self.functions

        def parts(_: Runtimes) -> Parts:
            return Parts(engine, lambda runtime: runtime.name)

        sandbox = make_sandbox(parts(self._runtimes), self.folder, "test", new_id())
        return Worker(
            sandbox.worker,
            desk,
            sandbox,
            self._runtimes,
            concurrency=3,
            cancel_grace_s=0.05,
            engine_wait_s=600,
            base_url="http://test",
            workspace_share=workspaces.share,
            workspace_reach=workspaces.reach,
            workspace_egress=workspaces.egress_limits,
            workspace_images=workspaces.images,
            runtime_class=workspaces.runtime_class,
            default_timeout_s=lambda workspace_id: workspaces.bounds(workspace_id).timeout_s.default,
            resolve=library.resolved,
            tell_secrets=library.tell_secrets,
            token_of=lambda _: "",
        )


def stacks(others: set[asyncio.Task[Any]]) -> str:
    """Where every task but these stands."""
    text = io.StringIO()
    for task in asyncio.all_tasks() - others:
        task.print_stack(file=text)
    return text.getvalue()


def new_run(value: Any, args: dict[str, Any]) -> NewJob:
    """A run of a flow document, to be handed in."""
    run_id, now = new_id(), now_us()
    return NewJob(
        id=run_id,
        workspace_id="main",
        kind="flowpreview",
        language="",
        content=compact_json(with_ids(value)).decode(),
        args=compact_json(args),
        limits=resolve_limits({}, LimitBounds()),
        request_hash="",
        created_by="admin",
        created_at=now,
        scheduled_for=now,
        tag="flow",
        role="run",
        run_id=run_id,
        run_path="",
    )


def template(path: Path) -> Path:
    """An empty database in `path`, to be copied."""
    database = Database(f"sqlite:///{path}")
    migrate(database.engine)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path
