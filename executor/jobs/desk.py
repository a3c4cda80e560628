"""Where jobs are handed in and asked after.

The desk knows what is stored and what is live in this process. It does not know how a script runs:
`Starter` and `Walks` (`executor.jobs.runners`) take jobs over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from executor import telemetry
from executor.errors import NotFound, TooManyJobs, Unavailable
from executor.jobs import events, gates, lists, runs, store
from executor.jobs.ending import canceled
from executor.jobs.job import Job, NewJob, OutputKind, leased, now_us
from executor.jobs.live import LiveJob
from executor.jobs.runners import ShowsStatus, Starter, Walks
from executor.jobs.runs import Batch
from executor.script import json_object
from executor.storage.database import Database, insist


@dataclass(frozen=True)
class Completed:
    """A completed job with its result or error object."""

    job: Job
    result: bytes

    @property
    def ok(self) -> bool:
        """Whether it has ended well."""
        return self.job.status is not None and self.job.status.is_success


@dataclass(frozen=True)
class Early:
    """The result of a run's `early_return` step, which waiting clients get before the run ends."""

    ok: bool
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
        self.walks: Walks | None = None
        self.flow_statuses: dict[str, ShowsStatus] = {}
        self.early_results: dict[str, Early] = {}
        self.cancel_asked: dict[str, tuple[str, str]] = {}
        """Runs that somebody wants to end: who, and why."""
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
        created = await self._submitted(new, self.walks if new.role == "run" else self.starter)
        if created:
            telemetry.jobs_submitted.labels(new.language or "flow").inc()
        return created

    async def _submitted(self, new: NewJob, starter: Starter | None) -> bool:
        at_once = new.scheduled_for <= now_us() and new.concurrency_key is None
        if starter is not None and at_once and starter.reserve(new.workspace_id):
            return await self._start(new, starter)
        created = await self._enqueue(new)
        if created and starter is not None:
            starter.queued(new.workspace_id, new.scheduled_for)
        return created

    async def add_step(self, run: Job, batch: Batch, new: NewJob) -> None:
        """Store a walk's batch and the next script of its run, and start that when a slot is free.

        Raises LeaseLost, and then nothing is stored.
        """
        starter = self.starter
        is_free = new.concurrency_key is None
        reserved = starter is not None and is_free and starter.reserve(new.workspace_id)
        worker_id = starter.worker_id if starter is not None and reserved else None
        job: Job | None = None
        try:
            write = partial(self.database.write_in_turn, new.workspace_id, rows=batch.rows + 2)
            job = await insist(partial(write, runs.write_and_add, run, batch, new, worker_id))
        finally:
            if reserved and job is None and starter is not None:
                starter.unreserve(new.workspace_id)
        if starter is None:
            return
        if job is None:
            starter.queued(new.workspace_id, new.scheduled_for)
        else:
            starter.start(job, new.args, len(new.log))

    async def add_event(
        self, job_id: str, resume_id: int, approved: bool, approver: str | None, payload: bytes
    ) -> None:
        """Store an approval or disapproval of a step's job and tell its run.

        `payload` is a JSON text. Raises Conflict for a second event of the same id, and when the run
        has ended.
        """
        found = await self.database.write(
            events.add, job_id, resume_id, approved, approver, payload, now_us()
        )
        if found is not None and self.walks is not None:
            await self.walks.take_up(*found)

    async def set_progress(self, job: Job, percent: int) -> None:
        """Store how far a job's script says it is, in percent, and show it in its flow's status."""
        await self.database.write(gates.set_progress, job.id, percent)
        # Of a job that is no step its client chose the parent, which may be anybody's.
        flow = self.flow_statuses.get(job.parent_job or "") if job.run_id else None
        if flow is not None:
            flow.note_progress(job.id, percent)
            self.changed(job.parent_job or "")
        self.changed(job.id)

    async def _enqueue(self, new: NewJob) -> bool:
        try:
            write = self.database.write_in_turn
            return await write(new.workspace_id, store.add, new, None, self.queue_max)
        except TooManyJobs:
            telemetry.jobs_refused.inc()
            raise

    async def _start(self, new: NewJob, starter: Starter) -> bool:
        """The direct path: stored as running, with its lease, and started without a queue hop."""
        job: Job | None = None
        try:
            write = self.database.write_in_turn
            job = await write(new.workspace_id, _add_leased, new, starter.worker_id, self.queue_max)
        finally:
            if job is None:
                starter.unreserve(new.workspace_id)
        if job is not None:
            starter.start(job, new.args, len(new.log))
        return job is not None

    async def get(self, workspace_id: str, job_id: str) -> Job:
        """A job by its id; raises NotFound."""
        job = await self.database.read(store.get, workspace_id, job_id)
        if job is None:
            raise _unknown(workspace_id, job_id)
        return job

    async def flow_status(self, job: Job) -> bytes:
        """A flow job's status as JSON: of the walk, if it is being walked; null for other jobs.

        The jobs that it names can be read.
        """
        live = self.flow_statuses.get(job.id)
        if live is None or job.state == "completed":
            text = (job.flow_status or "null").encode()
        else:
            text = live.text.encode()
            if self.walks is not None:
                await self.walks.store(job.run_id or job.id)
        kept = await self.database.read(gates.states, job.id) if job.is_flow else {}
        return (
            text
            if not kept or text == b"null"
            else text[:-1] + b',"user_states":' + json_object({}, kept) + b"}"
        )

    async def result(self, workspace_id: str, job_id: str) -> Completed | None:
        """A job's end, None while it has none; raises NotFound."""
        found = await self.database.read(store.with_result, workspace_id, job_id)
        if found is None:
            raise _unknown(workspace_id, job_id)
        job, body = found
        return Completed(job, b"null" if body is None else body) if job.state == "completed" else None

    @contextmanager
    def watching(self, *what: str) -> Iterator[asyncio.Event]:
        """An event that every change of a job sets, or of a `log_of_run`; clear it, look, then wait for it."""
        event = asyncio.Event()
        for one in what:
            self._watchers[one].add(event)
        try:
            yield event
        finally:
            for one in what:
                self._watchers[one].discard(event)
                if not self._watchers[one]:
                    del self._watchers[one]

    def changed(self, what: str) -> None:
        """Tell everyone who watches the job, or the log of a run, that there is news."""
        for event in self._watchers.get(what, ()):
            event.set()

    async def wait_early(self, workspace_id: str, job_id: str) -> Completed | Early:
        """As `wait`, but a run with `early_return` answers as soon as that step has a result."""
        with self.watching(job_id) as event:
            waiting = asyncio.create_task(self.wait(workspace_id, job_id))
            try:
                while True:
                    event.clear()
                    if (early := self.early_results.get(job_id)) is not None:
                        return early
                    news = asyncio.create_task(event.wait())
                    await asyncio.wait({waiting, news}, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()
                    if waiting.done():
                        return waiting.result()
            finally:
                waiting.cancel()

    async def wait(
        self, workspace_id: str, job_id: str, begun: Callable[[], None] | None = None
    ) -> Completed:
        """Return when the job is completed; call `begun` when it is found running in this process.

        Raises NotFound, and Unavailable if the service stops first.
        """
        live: LiveJob | None = None
        is_known = False
        with self.watching(job_id) as event:
            while True:
                event.clear()
                live = self.live.get(job_id, live)
                if live is not None and live.workspace_id != workspace_id:
                    raise _unknown(workspace_id, job_id)
                if live is not None and live.ended is not None:
                    return Completed(*live.ended)
                is_known = is_known or live is not None
                if not (is_known and self._goes_on(job_id)):
                    done = await self.result(workspace_id, job_id)
                    if done is not None:
                        return done
                    is_known = True
                if begun is not None and job_id in self.live:
                    begun()
                    begun = None
                if self._closed and job_id not in self.live:
                    raise Unavailable(f"the service is stopping; job {job_id} will run after its restart")
                await event.wait()

    def _goes_on(self, job_id: str) -> bool:
        """Whether a job is under way in this process: when its end is stored, `changed` says so."""
        if (live := self.live.get(job_id)) is not None:
            return not live.cancel_asked.is_set()
        return job_id in self.flow_statuses and job_id not in self.cancel_asked

    async def cancel(self, workspace_id: str, job_id: str, by: str, why: str) -> None:
        """End a job: a queued one at once, a running one soon; a completed one stays as it is."""
        job = await self.get(workspace_id, job_id)
        if job.state == "completed":
            return
        if job.role != "script":
            await self._cancel_run(job, by, why)
            return
        ending = canceled(by, why)
        if await self.database.write(store.cancel, job_id, ending, now_us()):
            self.changed(job_id)
            telemetry.jobs_ended.labels(job.language, ending.status.value, ending.reason).inc()
        elif (live := self.live.get(job_id)) is not None:
            live.cancel_asked.set()

    async def _cancel_run(self, job: Job, by: str, why: str) -> None:
        """End a run and everything in it; a branch or an iteration cannot end alone."""
        run_id = job.run_id or job.id
        await self.database.write(runs.note_cancellation, run_id, by, why, now_us())
        self.cancel_asked[run_id] = (by, why)
        if self.walks is not None:
            await self.walks.take_up(run_id, job.workspace_id)

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

    async def listed(
        self, where: list[Any], completed: bool | None, newest_first: bool, offset: int, limit: int
    ) -> list[Job]:
        """Jobs that meet all conditions; `completed` is one more, None for any."""
        act = partial(lists.listed, where=where, completed=completed, newest_first=newest_first)
        return await self.database.read(partial(act, offset=offset, limit=limit))

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


def log_of_run(run_id: str) -> str:
    """What is watched by those who follow the logs of a run's steps."""
    return f"log of {run_id}"


def _add_leased(connection: Connection, new: NewJob, worker_id: str, queue_max: int) -> Job | None:
    """Store the job with its lease; None if this very request is stored already."""
    if not store.add(connection, new, worker_id, queue_max):
        return None
    return leased(new, worker_id)


def _unknown(workspace_id: str, job_id: str) -> NotFound:
    return NotFound(f"no job {job_id} in workspace {workspace_id}", field="id")
