"""The world of one walk: its journal in the database, its scripts at the worker.

Decisions and completed engine jobs are gathered and stored many at a time, but always before
anything outside can see a consequence of them: before a script starts, before the run is put down,
before its end. What was not stored was seen by nobody, and is decided anew after a crash.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

from executor.errors import Reason, Unavailable
from executor.flows.activity import Activity
from executor.flows.document import Flow, FlowLimits
from executor.flows.expressions.places import Place as ExpressionPlace
from executor.flows.expressions.pool import Expressions
from executor.flows.expressions.scope import ExpressionCallFailed, Scope
from executor.flows.status import FlowStatus
from executor.flows.values import NULL, Args, End, Value
from executor.flows.world import Event, Place, ScriptCall, StoredFlow, StoredScript
from executor.jobs import cache, runs, store
from executor.jobs.desk import Desk, Early
from executor.jobs.ending import Ending, labels_of
from executor.jobs.environment import iso
from executor.jobs.job import Job, NewJob, Status, new_id, now_us
from executor.jobs.runs import BIG_BYTES, Batch, Known, Record
from executor.script import compact_json
from executor.settings import LimitBounds
from executor.storage.database import STORE_RETRY_S, insist
from executor.walker.documents import document
from executor.walker.gathered import Gathered
from executor.walker.steps import step_job
from executor.workspace.library import Library, NotStored

T = TypeVar("T")

UNENDED: dict[str, Any] = dict.fromkeys(
    (
        "status",
        "completed_at",
        "worker_id",
        "reason",
        "canceled_by",
        "canceled_reason",
        "labels",
        "memory_peak_bytes",
        "cpu_ms",
        "flow_status",
    )
)
"""What the row of a job says before its end; rows stored together have the same columns."""


@dataclass(frozen=True)
class Surroundings:
    """What all walks of this process share."""

    desk: Desk
    library: Library
    expressions: Expressions
    bounds: Callable[[str], LimitBounds]
    """A workspace's limits."""
    limits: FlowLimits
    run_ended: Callable[[str], None] = lambda _: None
    """Told of each run that has ended: nobody needs its shared directory any more."""
    expect: Callable[[str, str, int], None] = lambda *_: None
    """Told of a workspace, a language, and how many of its scripts will soon run."""


class RunWorld:
    """`executor.flows.world.World` of one activation of one run."""

    def __init__(self, run: Job, record: Record, around: Surroundings, flow: Flow) -> None:
        self.run = run
        self.early_return = flow.early_return
        self._shared = flow.same_worker
        self.activity = Activity()
        self.iterations_max = around.limits.iterations
        self.depth_max = around.limits.depth
        self.started_at = run.started_at or now_us()
        self.scheduled_for = iso(run.scheduled_for if run.attempt == 1 else run.created_at)
        self.seen: Counter[str] = Counter()
        self.statuses: dict[str, FlowStatus] = {}
        self._around = around
        self._desk = around.desk
        self._record = record
        self._ended_before = {known.id for known in record.jobs.values() if known.status is not None}
        self.gathered = Gathered(run, around.desk)
        self._limits_text = json.dumps(asdict(run.limits))

    @property
    def is_new(self) -> bool:
        """Whether nothing of the run has happened yet."""
        return not self._record.jobs and not self._record.journal

    # ------------------------------------------------------------ values and decisions

    async def once(self, path: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
        """What `act` gave when this run came to `path` first."""
        known = self._record.journal.get(path)
        if known is not None:
            return known
        value = await act()
        self._record.journal[path] = value
        self.gathered.note(path, value)
        await self.gathered.store_if_many()
        return value

    async def text(self, value: Value) -> bytes:
        """A value's JSON text."""
        if value.text is not None:
            return value.text
        if value.job is None:
            raise AssertionError("BUG: a value without text and without job")
        if value.job in self.gathered.unstored:
            await self.store()
        found = await self._read(store.result, value.job)
        if found is None:
            raise AssertionError(f"BUG: job {value.job} has no result")
        return found

    async def evaluate(
        self, expr: str, scope: Scope, place: ExpressionPlace, *, as_boolean: bool = False
    ) -> bytes:
        """The value of an expression as JSON."""
        return await self._around.expressions.evaluate(expr, scope, place, as_boolean=as_boolean)

    async def script_at(self, path: str, hash: str | None) -> StoredScript | None:
        """A script of the run's workspace."""
        found = await self._around.library.script(self.run.workspace_id, path, hash)
        return None if found is None else StoredScript(**vars(found))

    async def flow_at(self, path: str, place: str) -> StoredFlow | None:
        """A flow of the run's workspace, as it was when the run first came to this place."""

        async def act() -> bytes:
            found = await self._around.library.flow(self.run.workspace_id, path)
            return b"" if found is None else found.encode()

        text = (await self.once(f"{place}/flow", act)).decode()
        return StoredFlow(document(text, self._around.limits), text) if text else None

    async def variable(self, path: str) -> bytes:
        """A variable of the run's workspace."""
        try:
            return compact_json(await self._around.library.variable(self.run.workspace_id, path))
        except NotStored as error:
            raise ExpressionCallFailed(f"Variable {path} not found: {error}") from None

    async def resource(self, path: str) -> bytes:
        """A resource of the run's workspace."""
        try:
            return await self._around.library.resource(self.run.workspace_id, path)
        except NotStored as error:
            raise ExpressionCallFailed(f"Resource {path} not found: {error}") from None

    async def events(self, job: str) -> list[Event]:
        """The events of a gated step so far."""
        await self.store()  # the job whose events are asked for has to be there
        rows = await self._read(runs.events, job)
        self.seen[job] = len(rows)
        return [Event(row.resume_id, row.approved, row.approver, row.payload) for row in rows]

    def now(self) -> int:
        """The time, in microseconds since 1970."""
        return now_us()

    def random(self) -> float:
        """A number from 0 to 1."""
        return random.random()

    # ------------------------------------------------------------ jobs that need no container

    async def engine_job(
        self, place: Place, args: Args, end: Callable[[], Awaitable[End]], kind: str = "identity"
    ) -> End:
        """A job that is completed as soon as its end is known."""
        if (known := self._record.jobs.get(place.path)) is not None:
            return _recalled(known)
        ended = await end()
        job_id = new_id()
        now = now_us()
        row = self._row(job_id, place, kind, "part", now)
        self.gathered.batch.jobs[job_id] = row
        if args.values:
            self.gathered.batch.args.append({"job_id": job_id, "body": args.text, "base": None})
        value = await self._end_row(job_id, ended, None, now)
        return replace(ended, value=value, job=job_id)

    async def begin_flow(self, place: Place, kind: str, args: Args, content: str = "") -> str:
        """A flow job of this run begins, or is recalled."""
        if (known := self._record.jobs.get(place.path)) is not None:
            return known.id
        job_id = new_id()
        self.gathered.batch.jobs[job_id] = {
            **self._row(job_id, place, kind, "part", now_us()),
            "content": content,
        }
        own = dict(args.own)
        if own or args.base is not None:
            body = Args.of(own).text
            self.gathered.batch.args.append({"job_id": job_id, "body": body, "base": args.base})
        await self.gathered.store_if_many()
        return job_id

    async def end_flow(self, job: str, end: End, status: FlowStatus) -> None:
        """A flow job has ended so."""
        del self.statuses[job]
        if job in self._ended_before:
            del self._desk.flow_statuses[job]
            return
        await self._end_row(job, end, status, now_us())
        self.gathered.has_ended(job)
        self._desk.changed(job)
        await self.gathered.store_if_many()

    async def _end_row(self, job_id: str, end: End, status: FlowStatus | None, now: int) -> Value:
        """Put a job's end into the batch; its value, by reference where it is big."""
        is_stored = end.value.text is None
        ending = await self.ending(replace(end, value=NULL) if is_stored else end)
        values = {**store.ended(ending, now), "flow_status": None if status is None else status.text}
        if (row := self.gathered.batch.jobs.get(job_id)) is not None:
            row.update(values)
        else:
            self.gathered.batch.ends.append({"id": job_id, **values})
        if is_stored:
            self.gathered.batch.results.append({"job_id": job_id, "body": None, "same_as": end.value.job})
            return end.value
        self.gathered.batch.results.append({"job_id": job_id, "body": ending.result, "same_as": None})
        if len(ending.result) <= BIG_BYTES:
            return Value(ending.result, job_id)
        self.gathered.unstored.add(job_id)
        return Value(None, job_id)

    async def ending(self, end: End) -> Ending:
        """A step's or a flow's end as its job records it."""
        text = await self.text(end.value)
        if not end.ok:
            reason = reason_of(text)
            is_cancelled = end.final and reason == Reason.CANCELLED.value
            return Ending(Status.CANCELED if is_cancelled else Status.FAILURE, text, reason=reason)
        skipped = end.stop is not None and end.stop.is_skip
        return Ending(Status.SKIPPED if skipped else Status.SUCCESS, text, labels=labels_of(text))

    def _row(self, job_id: str, place: Place, kind: str, role: str, now: int) -> dict[str, Any]:
        """A job inside the run that begins now."""
        run = self.run
        return {
            "id": job_id,
            "workspace_id": run.workspace_id,
            "state": "running",
            "kind": kind,
            "language": "",
            "content": "",
            "path": place.job_path,
            "tag": run.tag,
            "limits": self._limits_text,
            "request_hash": "",
            "parent_job": place.parent,
            "root_job": run.id,
            "created_by": run.created_by,
            "created_at": now,
            "scheduled_for": now,
            "started_at": now,
            "role": role,
            "run_id": run.id,
            "run_path": place.path,
            "step_id": place.step_id,
            "flow_path": run.path,
            "attempt": 1,
            **UNENDED,
        }

    # ------------------------------------------------------------ scripts

    def expect(self, languages: Mapping[str, int]) -> None:
        """Scripts that will soon be run as jobs of this run."""
        if self._shared:
            return  # their containers are made with the run's directory
        for language, count in languages.items():
            self._around.expect(self.run.workspace_id, language, count)

    async def script(self, call: ScriptCall, shown: Callable[[str, bool], None]) -> End:
        """Run a script as a job of its own, or recall how it ended."""
        path = call.place.path
        known = self._record.jobs.get(path)
        if known is not None and known.status is not None:
            return _recalled(known)
        if known is not None:  # it was on its way when the last walk was lost
            return await self._awaited(known.id, shown)
        bounds = self._around.bounds(self.run.workspace_id)
        new = step_job(self.run, call, bounds, now_us(), shared=self._shared)
        if (hit := await self._cached(new)) is not None:
            return await self.engine_job(call.place, call.args, hit, call.kind)
        await self.gathered.store_and_add(new)
        return await self._awaited(new.id, shown)

    async def _cached(self, new: NewJob) -> Callable[[], Awaitable[End]] | None:
        """How a call ends whose result is kept from an earlier one."""
        if new.cache_key is None:
            return None
        text = await self._read(cache.find, new.workspace_id, new.cache_key, now_us())
        if text is None:
            return None

        async def end() -> End:
            return End(Value(text))

        return end

    async def _awaited(self, job_id: str, shown: Callable[[str, bool], None]) -> End:
        """How a script job of this run ends."""
        shown(job_id, False)
        begun = partial(shown, job_id, True)
        done = None
        while done is None:
            try:
                done = await self._desk.wait(self.run.workspace_id, job_id, begun)
            except Unavailable:  # the database is away; or we are stopping, and about to be put down
                await asyncio.sleep(STORE_RETRY_S)
        status = done.job.status
        return _ended(job_id, status, done.job.reason, Value(done.result, job_id))

    # ------------------------------------------------------------ status and storing

    def show_status(self, job: str, status: FlowStatus) -> None:
        """Readers are served from this object from now on."""
        self.statuses[job] = status
        self._desk.flow_statuses[job] = status
        self._desk.changed(job)

    async def step_ended(self, job: str, step_id: str, end: End) -> None:
        """Whoever waits for the result of this step of the run itself may have it now."""
        if job == self.run.id and step_id == self.early_return:
            await self.store()
            self._desk.early_results[job] = Early(end.ok, await self.text(end.value))
            self._desk.changed(job)

    def status_changed(self, job: str) -> None:
        """Readers who follow the flow job have news."""
        self._desk.changed(job)

    async def replace_args(self, job: str, args: Args) -> None:
        """The run's arguments are what its preprocessor made of them."""
        if self.run.preprocessed:
            return  # an earlier walk has said so
        await self.store()
        await insist(partial(self._desk.database.write, runs.replace_args, self.run, args.text))

    async def store(self) -> None:
        """Store what has been gathered; raises LeaseLost."""
        await self.gathered.store()

    async def _read(self, act: Callable[..., T], *args: Any) -> T:
        return await insist(partial(self._desk.database.read, act, *args))

    def keep_statuses(self, batch: Batch) -> None:
        """Put the status of every flow job inside the run that has not ended into a batch."""
        for job, status in self.statuses.items():
            if job != self.run.id:
                batch.ends.append({"id": job, "flow_status": status.text})

    def missing_events(self) -> int:
        """How many events the run waits for, at all its gates."""
        return sum(module.count or 0 for status in self.statuses.values() for module in status.waiting())

    def close(self) -> None:
        """Readers are served from the database again."""
        for job in (*self.statuses, *self.gathered.take_ends()):
            self._desk.flow_statuses.pop(job, None)


def _recalled(known: Known) -> End:
    return _ended(known.id, known.status, known.reason, Value(known.result, known.origin))


def _ended(job_id: str, status: Status | None, reason: str | None, value: Value) -> End:
    """How a step ended whose job has this status."""
    if value.text is not None and len(value.text) > BIG_BYTES:
        value = Value(None, value.job)
    ok = status is not None and status.is_success
    final = status is Status.CANCELED or reason == Reason.INFRASTRUCTURE.value
    return End(value, ok=ok, job=job_id, final=not ok and final)


def reason_of(text: bytes) -> str | None:
    """The reason in an error object; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    reason = error.get("reason") if isinstance(error, dict) else None
    return reason if isinstance(reason, str) else None
