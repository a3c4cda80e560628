"""Where jobs are handed in and asked after.

The desk knows what is stored and what is live in this process. It does not know how a script runs:
a `Starter` (the worker) takes jobs over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from executor import telemetry
from executor.errors import NotFound, TooManyJobs, Unavailable
from executor.jobs import store
from executor.jobs.ending import canceled
from executor.jobs.job import Job, NewJob, OutputKind, now_us
from executor.jobs.live import LiveJob
from executor.storage.database import Database


class Starter(Protocol):
    """Whoever runs jobs in this process."""

    worker_id: str

    def reserve(self, workspace_id: str) -> bool:
        """Take a free slot for a job of the workspace, if there is one."""

    def unreserve(self, workspace_id: str) -> None:
        """Give the slot back; no job came of it."""

    def start(self, job: Job, args: bytes) -> None:
        """Run a job whose slot was reserved and whose lease is committed."""

    def wake(self) -> None:
        """Say that a job has been queued."""


@dataclass(frozen=True)
class Completed:
    """A completed job with its result or error object."""

    job: Job
    result: bytes


@dataclass(frozen=True)
class Output:
    """A piece of a job's log or stream, and the offset to ask for next."""

    text: str
    offset: int


class Desk:
    """Takes jobs in, cancels them, waits for them, reads them."""

    def __init__(self, database: Database, queue_max: int) -> None:
        self.database = database
        self.queue_max = queue_max
        self.starter: Starter | None = None
        self.live: dict[str, LiveJob] = {}
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the service stops and takes no more jobs."""
        return self._closed

    async def submit(self, new: NewJob) -> bool:
        """Store the job, and start it at once when a slot is free; False if it was stored before.

        Raises Unavailable while the service stops, Conflict and TooManyJobs as `store.add` does.
        """
        if self._closed:
            raise Unavailable("the service is stopping; submit again in a moment")
        starter = self.starter
        if starter is not None and new.scheduled_for <= now_us() and starter.reserve(new.workspace_id):
            created = await self._start(new, starter)
        else:
            created = await self._enqueue(new)
            if created and starter is not None:
                starter.wake()
        if created:
            telemetry.jobs_submitted.labels(new.language).inc()
        return created

    async def _enqueue(self, new: NewJob) -> bool:
        try:
            return await self.database.write(store.add, new, None, self.queue_max)
        except TooManyJobs:
            telemetry.jobs_refused.inc()
            raise

    async def _start(self, new: NewJob, starter: Starter) -> bool:
        """The direct path: stored as running, with its lease, and started without a queue hop."""
        job: Job | None = None
        try:
            job = await self.database.write(_add_leased, new, starter.worker_id, self.queue_max)
        finally:
            if job is None:
                starter.unreserve(new.workspace_id)
        if job is not None:
            starter.start(job, new.args)
        return job is not None

    async def get(self, workspace_id: str, job_id: str) -> Job:
        """A job by its id; raises NotFound."""
        job = await self.database.read(store.get, workspace_id, job_id)
        if job is None:
            raise NotFound(f"no job {job_id} in workspace {workspace_id}", field="id")
        return job

    async def result(self, workspace_id: str, job_id: str) -> Completed | None:
        """A job's end, None while it has none; raises NotFound."""
        job = await self.get(workspace_id, job_id)
        if job.state != "completed":
            return None
        body = await self.database.read(store.result, job_id)
        return Completed(job, body if body is not None else b"null")

    @contextmanager
    def watching(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that every change of the job sets; clear it, look, then wait for it."""
        event = asyncio.Event()
        self._watchers[job_id].add(event)
        try:
            yield event
        finally:
            self._watchers[job_id].discard(event)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    def changed(self, job_id: str) -> None:
        """Tell everyone who watches the job that there is news."""
        for event in self._watchers.get(job_id, ()):
            event.set()

    async def wait(self, workspace_id: str, job_id: str) -> Completed:
        """Return when the job is completed; raises NotFound, and Unavailable if the service stops first."""
        with self.watching(job_id) as event:
            while True:
                event.clear()
                done = await self.result(workspace_id, job_id)
                if done is not None:
                    return done
                if self._closed and job_id not in self.live:
                    raise Unavailable(f"the service is stopping; job {job_id} will run after its restart")
                await event.wait()

    async def cancel(self, workspace_id: str, job_id: str, by: str, why: str) -> None:
        """End a job: a queued one at once, a running one soon; a completed one stays as it is."""
        job = await self.get(workspace_id, job_id)
        if job.state == "completed":
            return
        ending = canceled(by, why)
        if await self.database.write(store.finish_queued, job_id, ending, now_us()):
            self.changed(job_id)
            telemetry.jobs_ended.labels(job.language, ending.status.value, ending.reason).inc()
            return
        await self.database.write(store.note_cancellation, job_id, by, why)
        if (live := self.live.get(job_id)) is not None:
            live.cancel_asked.set()

    async def output(self, job_id: str, kind: OutputKind, offset: int = 0) -> Output:
        """A job's log or stream from character `offset` on, up to this moment."""
        while True:
            live = self.live.get(job_id)
            text, length = await self.stored_output(job_id, kind, offset)
            if live is None:
                return Output(text, max(length, offset))
            rest = live.after(kind, length, offset)
            if rest is not None:
                return Output(text + rest, max(live.texts[kind].length, length, offset))

    async def stored_output(self, job_id: str, kind: OutputKind, offset: int = 0) -> tuple[str, int]:
        """What is stored of a job's log or stream from `offset` on, and its stored length."""
        return await self.database.read(store.output, job_id, kind, offset)

    async def waiting(self) -> int:
        """How many jobs of the instance wait."""
        return await self.database.read(store.waiting)

    async def counts(self, workspace_id: str) -> tuple[int, int]:
        """How many jobs of the workspace wait, and how many run."""
        return await self.database.read(store.counts, workspace_id)

    async def listed(self, where: list[Any], newest_first: bool, offset: int, limit: int) -> list[Job]:
        """Jobs that meet all conditions."""

        def act(connection: Connection) -> list[Job]:
            return store.listed(connection, where, newest_first=newest_first, offset=offset, limit=limit)

        return await self.database.read(act)

    async def scrub(self, workspace_id: str, job_id: str) -> bool:
        """Forget a completed job's values; False if it is not completed."""
        job = await self.get(workspace_id, job_id)
        if job.state != "completed":
            return False
        await self.database.write(store.scrub, job_id)
        return True

    def close(self) -> None:
        """Take no more jobs, and send away those who wait for one that will not run any more."""
        self._closed = True
        for job_id in list(self._watchers):
            self.changed(job_id)


def _add_leased(connection: Connection, new: NewJob, worker_id: str, queue_max: int) -> Job | None:
    """Store the job with its lease; None if this very request is stored already."""
    if not store.add(connection, new, worker_id, queue_max):
        return None
    return store.get(connection, new.workspace_id, new.id)
