"""Who starts next in this process: queued jobs of one role, as slots for them come free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from executor import telemetry
from executor.jobs import queue, store
from executor.jobs.job import Job, Role, now_us
from executor.jobs.slots import Slots
from executor.storage.database import STORE_RETRY_S, Database

IDLE_S = 60.0
LOOK_US_MIN = 10_000
"""What is due in less than this is waited for so long, so that a crowd of jobs takes few looks."""


class Dispatched:
    """Whoever starts the jobs of a dispatch: what `executor.jobs.runners.Starter` and the service's end ask of it."""

    _dispatch: Dispatch

    def reserve(self, workspace_id: str) -> bool:
        """A slot for a new job, unless older ones wait for it."""
        return self._dispatch.reserve(workspace_id)

    def unreserve(self, workspace_id: str) -> None:
        """A slot is free again."""
        self._dispatch.unreserve(workspace_id)

    def queued(self, workspace_id: str, due: int = 0) -> None:
        """A job of the workspace waits in the database, until then (microseconds since 1970)."""
        self._dispatch.queued(workspace_id, due)

    async def work(self) -> None:
        """Take due jobs from the queue whenever a slot is free; runs until cancelled or drained."""
        await self._dispatch.work()

    def stop_starting(self) -> None:
        """Start nothing more from now on; safe in a signal handler."""
        self._dispatch.stop()


class Dispatch:
    """Leases jobs of a role to `worker_id` and has them `begun`: each in a slot, workspaces in turn.

    A job that is handed in may have its slot at once (`reserve`); others wait in the database until
    `work` takes them.
    """

    def __init__(
        self,
        role: Role,
        worker_id: str,
        database: Database,
        slots: Slots,
        begun: Callable[[Job, bytes], None],
    ) -> None:
        self._role: Role = role
        self._worker_id = worker_id
        self._database = database
        self._slots = slots
        self._begun = begun
        self._is_asked = False
        """Whether the database was asked who waits; until then jobs may be older than those that come."""
        self._claiming = False
        self._woken = asyncio.Event()
        self.stopping = False

    def reserve(self, workspace_id: str) -> bool:
        """A slot for a new job, unless older ones wait for it."""
        is_idle = self._is_asked and not (self.stopping or self._claiming)
        if not is_idle or not self._slots.has(workspace_id) or self._slots.turn(now_us()) is not None:
            return False
        self._slots.take(workspace_id)
        return True

    def unreserve(self, workspace_id: str) -> None:
        """A slot is free again."""
        self._slots.give_back(workspace_id)
        if self._slots.someone_waits:
            self._woken.set()

    def queued(self, workspace_id: str, due: int = 0) -> None:
        """A job of the workspace waits in the database, until then (microseconds since 1970)."""
        self._slots.queued(workspace_id, due)
        self._woken.set()

    def stop(self) -> None:
        """Start nothing more from now on; safe in a signal handler."""
        self.stopping = True
        self._woken.set()

    async def work(self) -> None:
        """Take due jobs from the queue whenever a slot is free; runs until cancelled or stopped."""
        while not self.stopping:
            self._woken.clear()
            try:
                pause = await self._take_all()
            except Exception as error:  # noqa: BLE001 - the loop must outlive any trouble of the database
                telemetry.log.error("the queue could not be read", role=self._role, error=str(error))
                pause = STORE_RETRY_S
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                self._is_asked = self._is_asked and pause < IDLE_S  # now and then, whatever we were told

    async def _take_all(self) -> float:
        """Start every job that may start now; give the seconds until the next look is due."""
        if not self._is_asked:
            for waits in await self._database.read(queue.workspaces, self._role):
                self._slots.queued(waits)
            self._is_asked = True
        while not self.stopping and (workspace_id := self._slots.turn(now_us())) is not None:
            if (claimed := await self._claim(workspace_id)) is None:
                continue
            job, args = claimed
            if self.stopping:
                await self._database.write(partial(store.release, ran=False), job, job.scheduled_for)
                break
            self._slots.take(workspace_id)
            self._begun(job, args)
        due = self._slots.due()
        return IDLE_S if due is None else min(IDLE_S, max(LOOK_US_MIN, due - now_us()) / 1e6)

    async def _claim(self, workspace_id: str) -> tuple[Job, bytes] | None:
        """The workspace's next due job; while we ask, nobody may reserve the slot that is meant for it."""
        self._slots.looked_after(workspace_id)  # who is queued from here on is not overlooked
        self._claiming = True
        due: int | None = 0  # there may be more of it, or nobody answers
        try:
            claim = partial(queue.claim, role=self._role)
            found = await self._database.write(claim, self._worker_id, now_us(), workspace_id)
            if found is None:
                due = await self._database.read(queue.next_due, now_us(), workspace_id, self._role)
                due = None if due is None else max(due, now_us() + LOOK_US_MIN)
            return found
        finally:
            self._claiming = False
            if due is not None:
                self._slots.queued(workspace_id, due)
