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
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from executor.errors import Reason, Unavailable
from executor.flows.activity import Activity
from executor.flows.document import Flow, FlowLimits
from executor.flows.expressions.places import Place as ExpressionPlace
from executor.flows.expressions.pool import Expressions
from executor.flows.expressions.scope import ExpressionCallFailed, ExpressionFailed, Scope
from executor.flows.status import FlowStatus
from executor.flows.values import Args, End, Value
from executor.flows.walk import ignored
from executor.flows.world import Event, Place, ScriptCall, StoredFlow, StoredScript
from executor.jobs import cache, events, runs, store
from executor.jobs.concurrency import Share
from executor.jobs.desk import Desk, Early
from executor.jobs.environment import iso
from executor.jobs.job import Job, Status, now_us
from executor.jobs.runs import BIG_BYTES, Batch, Known, Record
from executor.settings import LimitBounds
from executor.storage.database import STORE_RETRY_S, insist
from executor.walker.decisions import Decisions
from executor.walker.documents import document
from executor.walker.gathered import Gathered
from executor.walker.keys import KeyQueues
from executor.walker.parts import Parts
from executor.walker.room import Room
from executor.walker.secrets import RunSecrets
from executor.walker.steps import share_of, step_job
from executor.workspace.library import Library, NotStored

T = TypeVar("T")
NO_BOUND = 2**62


@dataclass(frozen=True)
class Surroundings:
    """What all walks of this process share."""

    desk: Desk
    library: Library
    expressions: Expressions
    bounds: Callable[[str], LimitBounds]
    """A workspace's limits."""
    limits: FlowLimits
    keys: KeyQueues
    run_ended: Callable[[str], None] = lambda _: None
    """Told of each run that has ended: nobody needs its shared directory any more."""
    run_rests: Callable[[str], None] = lambda _: None
    """Told of each run that is put down because it only waits."""
    expect: Callable[[str, str, int, bool], None] = lambda *_: None
    """Told of a workspace, a language, and how many of its scripts will soon run."""
    room: Room = field(default_factory=lambda: Room(NO_BOUND))


class RunWorld:
    """`executor.flows.world.World` of one activation of one run."""

    def __init__(self, run: Job, record: Record, around: Surroundings, flow: Flow) -> None:
        self.run = run
        self.early_return = flow.early_return
        self._shared = flow.same_worker
        self.activity = Activity()
        self.iterations_max = around.limits.iterations
        self.depth_max = around.limits.depth
        self.result_bytes_max = int(around.bounds(run.workspace_id).result_bytes.maximum)
        self.started_at = run.started_at or now_us()
        self.scheduled_for = iso(run.scheduled_for if run.attempt == 1 else run.created_at)
        self.seen: Counter[str] = Counter()
        self.statuses: dict[str, FlowStatus] = {}
        self._around = around
        self._desk = around.desk
        self._record = record
        self._ended_before = {known.id for known in record.jobs.values() if known.status is not None}
        self._gates: dict[str, tuple[int, int | None]] = {}
        """Flow jobs that wait: for how many events, until when."""
        self.gathered = Gathered(run, around.desk)
        self._decisions = Decisions(run, record, self.gathered, around.desk.database, around.room)
        self._secrets = RunSecrets(run.workspace_id, around.library, self.gathered, record.journal)
        times = {known.id: (known.started_at, known.completed_at) for known in record.jobs.values()}
        self.parts = Parts(run, self.gathered, self.text, times)
        around.room.enter(run.id, len(record.jobs))

    @property
    def is_new(self) -> bool:
        """Whether nothing of the run has happened yet."""
        return not self._record.jobs and not self._record.journal

    # ------------------------------------------------------------ values and decisions

    async def once(self, path: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
        """What `act` gave when this run came to `path` first."""
        return await self._decisions.once(path, act)

    async def text(self, value: Value) -> bytes:
        """A value's JSON text."""
        if value.text is not None:
            return value.text
        if value.args is not None:
            return value.args.text
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
        evaluate = self._around.expressions.evaluate
        try:
            return await evaluate(
                expr, scope, place, as_boolean=as_boolean, workspace_id=self.run.workspace_id
            )
        except ExpressionFailed as failure:
            message = await self._secrets.masked(failure.message)
            raise ExpressionFailed(message, timed_out=failure.timed_out) from None

    def heavy_turn(self) -> AbstractAsyncContextManager[None]:
        """A turn of the workspace."""
        return self._around.expressions.heavy_turn(self.run.workspace_id)

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

    async def kept_result(self, stored: StoredFlow, path: str, args: Args) -> bytes | None:
        """The result that an earlier run of a flow has left."""
        return await self._cached(_key_of(stored, path, args))

    def keep_result(self, job: str, stored: StoredFlow, path: str, args: Args) -> None:
        """Leave the result of an inner flow for later runs of that flow."""
        if stored.flow.cache_ttl and job not in self._ended_before:
            now = now_us()
            expires_at = now + int(stored.flow.cache_ttl * 1e6)
            kept = cache.Kept(job, _key_of(stored, path, args), now, expires_at)
            self.gathered.batch.kept.append(kept)

    async def variable(self, path: str) -> bytes:
        """A variable of the run's workspace."""
        try:
            return await self._secrets.variable(path)
        except NotStored as error:
            raise ExpressionCallFailed(f"Variable {path} not found: {error}") from None

    async def resource(self, path: str) -> bytes:
        """A resource of the run's workspace."""
        try:
            return await self._secrets.resource(path)
        except NotStored as error:
            raise ExpressionCallFailed(f"Resource {path} not found: {error}") from None

    async def events(self, job: str) -> list[Event]:
        """The events of a gated step so far."""
        await self.store()  # the job whose events are asked for has to be there
        rows = await self._read(events.read, job)
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
        self._around.room.add(self.run.id)
        ended = await end()
        await self.gathered.store_if_many()
        return await self.parts.complete(args, ended, self.parts.row(place, kind))

    async def ended_script(self, call: ScriptCall, end: End) -> End:
        """A script's job that has ended without having run."""
        self._around.room.add(self.run.id)
        row = self.parts.row(call.place, call.kind, "script") | {
            "language": call.language,
            "content": call.content,
            "lock": call.lock,
            "script_hash": call.hash,
            "tag": call.tag or call.language or self.run.tag,
            "priority": call.priority or 0,
            "attempt": 0,
        }
        return await self.parts.complete(call.args, end, row)

    def no_room(self, path: str) -> str | None:
        """Why the run may have no job at this place."""
        return self._decisions.no_room(path)

    def hold(self, path: str, args: Args) -> str | None:
        """The step at this place has these arguments; why it cannot."""
        return self._decisions.hold(path, args)

    async def begin_flow(self, place: Place, args: Args) -> str:
        """A branch or an iteration begins, or is recalled."""
        if (known := self._record.jobs.get(place.path)) is not None:
            return known.id
        self._around.room.add(self.run.id)
        await self.gathered.store_if_many()
        return self.parts.begin(self.gathered.batch, self.parts.row(place, "flowpreview"), args)

    async def begin_inner(self, place: Place, stored: StoredFlow, args: Args) -> str:
        """An inner flow begins, when its limit has room for it, or is recalled."""
        if (known := self._record.jobs.get(place.path)) is not None:
            return known.id
        self._around.room.add(self.run.id)
        share = share_of(self.run, stored.flow, place.job_path, args)
        if share is not None:
            return await self._begin_limited(place, stored, args, share)
        await self.gathered.store_if_many()
        return self._begin_inner(self.gathered.batch, place, stored, args, {})

    def _begin_inner(
        self, batch: Batch, place: Place, stored: StoredFlow, args: Args, more: dict[str, Any]
    ) -> str:
        row = self.parts.row(place, "flow") | {"content": stored.text} | more
        return self.parts.begin(batch, row, args, ignored(stored.flow))

    async def _begin_limited(self, place: Place, stored: StoredFlow, args: Args, share: Share) -> str:
        """Begin an inner flow as soon as its key has room for it."""
        workspace_id, queues = self.run.workspace_id, self._around.keys
        again = False
        while True:
            if again or not queues.is_waited_for(workspace_id, share):
                alone = Batch()
                job_id = self._begin_inner(alone, place, stored, args, share.columns)
                await self.store()  # in the order in which things happened
                begin = partial(runs.begin_limited, run=self.run, batch=alone, share=share, now=now_us())
                if await insist(partial(self._desk.database.write_in_turn, workspace_id, begin)):
                    return job_id
            await self.activity.aside(queues.wait(workspace_id, share, again=again))
            again = True

    async def end_flow(self, job: str, end: End, status: FlowStatus) -> None:
        """A flow job has ended so."""
        del self.statuses[job]
        if job in self._ended_before:
            del self._desk.flow_statuses[job]
            return
        await self.parts.end(job, end, status)
        self.gathered.has_ended(job)
        self._desk.changed(job)
        await self.gathered.store_if_many()

    # ------------------------------------------------------------ scripts

    def expect(self, languages: Mapping[str, int]) -> None:
        """Scripts that will soon be run as jobs of this run."""
        for language, count in languages.items():
            self._around.expect(self.run.workspace_id, language, count, self._shared)

    async def recalled(self, path: str, shown: Callable[[str, bool], None]) -> End | None:
        """How the script's job at this place ends, if there is one already."""
        known = self._record.jobs.get(path)
        if known is None:
            return None
        if known.status is not None:
            return _recalled(known)
        return await self._awaited(known.id, shown)  # it was on its way when the last walk was lost

    async def script(self, call: ScriptCall, shown: Callable[[str, bool], None]) -> End:
        """Run a script as a job of its own."""
        bounds = self._around.bounds(self.run.workspace_id)
        secrets = self._secrets.references
        new = step_job(self.run, call, bounds, now_us(), shared=self._shared, secrets=secrets)
        if new.cache_key is not None and (text := await self._cached(new.cache_key)) is not None:
            return await self.ended_script(call, End(Value(text)))
        self._around.room.add(self.run.id)
        await self.gathered.store_and_add(new)
        return await self._awaited(new.id, shown)

    async def _cached(self, key: str) -> bytes | None:
        """A result that is kept from an earlier call."""
        return await self._read(cache.find, self.run.workspace_id, key, now_us())

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

    async def step_ended(self, step_id: str, end: End) -> None:
        """Whoever waits for the result of this step may have it now; its first one, in a loop."""
        run_id = self.run.id
        if step_id == self.early_return and run_id not in self._desk.early_results:
            await self.store()
            self._desk.early_results[run_id] = Early(end.ok, await self.text(end.value))
            self._desk.changed(run_id)

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

    def suspended(self, job: str, missing: int, until: int | None = None) -> None:
        """A flow job waits for events, or not any more; the run waits for all that it has inside.

        Stored together with what the walk decides, so that both are there after a crash, or neither.
        """
        if missing:
            self._gates[job] = (missing, until)
        elif self._gates.pop(job, None) is None and not self.run.suspend:
            return  # nobody was told that it waits
        whole = sum(count for count, _ in self._gates.values())
        times = [time for _, time in self._gates.values() if time is not None]
        shown = {job: (missing, until if missing else None)}
        shown[self.run.id] = (whole, min(times, default=None))
        self.gathered.batch.ends += [
            {"id": flow_job, "suspend": count, "suspend_until": time}
            for flow_job, (count, time) in shown.items()
        ]

    def took(self, job: str) -> tuple[str | None, int | None]:
        """When a flow job began, and how many milliseconds it took."""
        return self.parts.took(job)

    def close(self) -> None:
        """Readers are served from the database again."""
        self._around.room.leave(self.run.id)
        for job in (*self.statuses, *self.gathered.take_ends()):
            self._desk.flow_statuses.pop(job, None)
            self._desk.changed(job)


def _key_of(stored: StoredFlow, path: str, args: Args) -> str:
    return cache.flow_key(path, json.loads(stored.text), json.loads(args.text))


def _recalled(known: Known) -> End:
    return _ended(known.id, known.status, known.reason, Value(known.result, known.origin))


def _ended(job_id: str, status: Status | None, reason: str | None, value: Value) -> End:
    """How a step ended whose job has this status."""
    if value.text is not None and len(value.text) > BIG_BYTES:
        value = Value(None, value.job)
    ok = status is not None and status.is_success
    final = status is Status.CANCELED or reason == Reason.INFRASTRUCTURE.value
    return End(value, ok=ok, job=job_id, final=not ok and final)
