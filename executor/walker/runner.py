"""Takes flow runs up and puts them down: one activation is a walk until it ends or only waits.

A run that only waits is rows in the database and nothing else. The time it waits for, or an event,
starts its next activation.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from executor import telemetry
from executor.errors import Unavailable
from executor.flows.activity import AT_ONCE_MAX
from executor.flows.document import Flow
from executor.flows.root import Run, walk_run
from executor.flows.values import End, Value
from executor.flows.walk import first_status
from executor.jobs import cache, runs, store
from executor.jobs.dispatch import Dispatch, Dispatched
from executor.jobs.ending import Ending, canceled, infrastructure
from executor.jobs.job import Job, now_us
from executor.jobs.leases import LeaseLost
from executor.jobs.runs import Batch, Parking
from executor.jobs.slots import Slots
from executor.storage.database import insist
from executor.walker.documents import as_run
from executor.walker.world import RunWorld, Surroundings

HOLD_US = 1_000_000
"""A run whose wait is over within this time is not put down for it."""
WALKS_MAX = 200
"""Runs walked at once; further ones wait in the queue, workspaces in turn."""


class Walker(Dispatched):
    """`executor.jobs.runners.Walks`: walks the runs of this process."""

    def __init__(self, worker_id: str, around: Surroundings) -> None:
        self.worker_id = worker_id
        self._around = around
        self._desk = around.desk
        self._activations: dict[str, Activation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        slots = Slots(WALKS_MAX, lambda _: None)
        self._dispatch = Dispatch("run", worker_id, around.desk.database, slots, self.start)

    # ------------------------------------------------------------ taking runs up

    def start(self, run: Job, args: bytes, log_chars: int | None = None) -> None:
        """Walk a leased run, which has a place, in a task of its own."""
        activation = self._activations[run.id] = Activation(run, args, self._around)
        task = asyncio.create_task(self._activate(activation), name=f"run {run.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _activate(self, activation: Activation) -> None:
        try:
            await activation.live()
        finally:
            del self._activations[activation.run.id]
            self._desk.changed(activation.run.id)
            self.unreserve(activation.run.workspace_id)
            if not activation.is_over:  # it was put down; an event may have come, or a time is known
                self.queued(activation.run.workspace_id)

    async def take_up(self, run_id: str, workspace_id: str) -> None:
        """There is news for a run of the workspace: tell its walk, or walk it again."""
        if (activation := self._activations.get(run_id)) is not None:
            activation.tell()
            return
        if not self.reserve(workspace_id):
            self.queued(workspace_id)
            return
        run: Job | None = None
        try:
            run = await self._desk.database.write(store.lease_one, run_id, self.worker_id, now_us())
        finally:
            if run is None:
                self.unreserve(workspace_id)
        if run is not None:
            # It is ours already: without its args nobody would walk it before our end.
            self.start(run, await insist(partial(self._desk.database.read, store.args, run_id)))

    def drop(self, run_id: str) -> None:
        """The run was ended over our head: its walk is over, and what was held for it."""
        if (activation := self._activations.get(run_id)) is not None:
            activation.tell()
        else:
            self._desk.cancel_asked.pop(run_id, None)
        self._around.run_ended(run_id)

    async def store(self, run_id: str) -> None:
        """Whatever the run's walk has told of can be read from the database when this returns."""
        if (activation := self._activations.get(run_id)) is not None:
            await activation.store()

    # ------------------------------------------------------------ the end

    async def drain(self) -> None:
        """Put every run down where it is; the next service walks on."""
        self.stop_starting()
        for activation in list(self._activations.values()):
            activation.stop()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10)


class Activation:
    """One walk of one run, from its lease to its end, or until it only waits."""

    def __init__(self, run: Job, args: bytes, around: Surroundings) -> None:
        self.run = run
        self._args = args
        self._around = around
        self._desk = around.desk
        self._news = asyncio.Event()
        self._stopping = False
        self.is_over = False
        """Whether the run has its end."""
        self._world: RunWorld | None = None
        if run.canceled_by is not None:  # asked for before our predecessor died
            self._desk.cancel_asked[run.id] = (run.canceled_by, run.canceled_reason or "")

    def tell(self) -> None:
        """Something has happened: an event, or a cancellation."""
        self._news.set()

    async def store(self) -> None:
        """Store what the walk has gathered so far."""
        if self._world is not None:
            with suppress(LeaseLost):
                await self._world.store()

    def stop(self) -> None:
        """Put the run down as soon as possible."""
        self._stopping = True
        self._news.set()

    async def live(self) -> None:
        """Walk the run, and see that how it ends is stored."""
        telemetry.runs_walked.inc()
        try:
            database = self._desk.database
            record = await insist(partial(database.read, runs.load, self.run.id))
            run = await as_run(self.run, self._args, database, self._around.limits)
            world = self._world = RunWorld(self.run, record, self._around, run.flow)
            try:
                await self._walk(world, run)
            finally:
                world.close()
        except LeaseLost:
            telemetry.log.warning("lease lost; the walk is dropped", run=self.run.id)
            self._desk.cancel_asked.pop(self.run.id, None)
            self._desk.early_results.pop(self.run.id, None)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave a run without an end
            telemetry.log.exception("BUG: a walk failed in an unforeseen way", run=self.run.id)
            why = f"{type(error).__name__}: {error}"
            with suppress(LeaseLost, Unavailable):
                await self._end_all(infrastructure(why), "executor", why)
        finally:
            telemetry.runs_walked.dec()

    async def _walk(self, world: RunWorld, run: Run) -> None:
        if await self._is_cached(world, run.flow):
            return None
        walking = asyncio.create_task(walk_run(world, run), name=f"walk {self.run.id}")
        storing = asyncio.create_task(world.gathered.keep_storing())
        try:
            while not walking.done():
                if self.run.id in self._desk.cancel_asked:
                    return await self._cancel(world, walking)
                if self._stopping:
                    return await self._give_back(world, walking)
                if world.activity.resting.is_set() and await self._put_down(world, walking):
                    return None
                await self._next(world, walking, storing)
            await self._finish(world, walking.result())
        finally:
            await ended(walking, storing)

    async def _next(self, world: RunWorld, walking: asyncio.Task[End], storing: asyncio.Task[None]) -> None:
        """Wait for whatever comes first: the walk's end, its rest, the end of a rest, news."""
        due = [rest.until for rest in world.activity.rests if rest.until is not None]
        timeout = None if not due else max(0.0, (min(due) - now_us()) / 1e6)
        news = asyncio.create_task(self._news.wait())
        tasks: set[asyncio.Task[Any]] = {walking, storing, news}
        resting = None
        if not world.activity.resting.is_set():
            resting = asyncio.create_task(world.activity.resting.wait())
            tasks.add(resting)
        try:
            await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(news, *([resting] if resting else []))
        if storing.done():
            storing.result()
        is_news = self._news.is_set()
        self._news.clear()
        world.activity.news += is_news
        now = now_us()
        over = (rest for rest in world.activity.rests if rest.until is not None and rest.until <= now)
        awake = list(islice(over, AT_ONCE_MAX))  # the others a moment later, or nobody else would have a turn
        if is_news:
            awake += [rest for rest in world.activity.rests if rest.gate is not None]
        for rest in awake:
            world.activity.wake(rest)

    async def _put_down(self, world: RunWorld, walking: asyncio.Task[End]) -> bool:
        """Put a run down that only waits; False if it has to go on."""
        rests = list(world.activity.rests)
        due = [rest.until for rest in rests if rest.until is not None]
        wake_at = min(due) if due else None
        if wake_at is not None and wake_at - now_us() <= HOLD_US:
            return False
        gates = {rest.gate for rest in rests if rest.gate is not None}
        batch = await self._last_batch(world)
        parking = Parking(
            wake_at,
            world.statuses[self.run.id].text,
            {gate: world.seen[gate] for gate in gates},
        )
        if await insist(partial(self._desk.database.write, runs.park, self.run, batch, parking)):
            self._around.run_rests(self.run.id)
            return True
        self._news.set()
        return False

    async def _give_back(self, world: RunWorld, walking: asyncio.Task[End]) -> None:
        """We are stopping: the run waits for the next service."""
        await ended(walking)
        batch = await self._last_batch(world)
        write = partial(self._desk.database.write, runs.give_back, self.run, batch, now_us())
        await insist(write)

    async def _last_batch(self, world: RunWorld) -> Batch:
        """What the walk has left to be stored, with how far each flow job inside has come."""
        await world.gathered.settle()
        batch = world.gathered.take()
        world.keep_statuses(batch)
        return batch

    # ------------------------------------------------------------ the end

    async def _finish(self, world: RunWorld, end: End) -> None:
        ending = await world.parts.ending(end)
        status = world.statuses[self.run.id].text
        batch = await self._last_batch(world)
        write = self._desk.database.write
        await insist(partial(write, runs.finish, self.run, batch, ending, status, now_us()))
        self._ended()
        telemetry.jobs_ended.labels("flow", ending.status.value, ending.reason or "").inc()

    async def _is_cached(self, world: RunWorld, flow: Flow) -> bool:
        """End the run with the result of an earlier one, where the flow keeps its results."""
        run = self.run
        if run.cache_key is None or not world.is_new:
            return False
        find = partial(cache.find, workspace_id=run.workspace_id, key=run.cache_key, now=now_us())
        text = await insist(partial(self._desk.database.read, find))
        if text is None:
            return False
        world.show_status(run.id, first_status(flow))
        await self._finish(world, End(Value(text)))
        return True

    async def _cancel(self, world: RunWorld, walking: asyncio.Task[End]) -> None:
        """Somebody wants the run to end; what it has done so far is kept."""
        await ended(walking)
        batch = await self._last_batch(world)
        await insist(partial(self._desk.database.write, runs.write, self.run, batch))
        by, why = self._desk.cancel_asked[self.run.id]
        status = world.statuses.get(self.run.id)
        await self._end_all(canceled(by, why), by, why, None if status is None else status.text)

    async def _end_all(self, end: Ending, by: str, why: str, flow_status: str | None = None) -> None:
        """End everything of the run: its scripts, its flow jobs, itself."""
        database, workspace_id = self._desk.database, self.run.workspace_id
        unfinished = await insist(partial(database.read, runs.unfinished, self.run.id))
        scripts = [job_id for job_id, role, _ in unfinished if role == "script"]
        for job_id in scripts:
            await insist(partial(self._desk.cancel, workspace_id, job_id, by, why))
        for job_id in scripts:
            await insist(partial(self._desk.wait, workspace_id, job_id))
        await insist(partial(database.write, runs.end_all, self.run, end, flow_status, now_us()))
        self._ended()

    def _ended(self) -> None:
        """The run has its end: what was kept for it here is nobody's any more."""
        self.is_over = True
        self._desk.cancel_asked.pop(self.run.id, None)
        self._desk.early_results.pop(self.run.id, None)
        self._around.run_ended(self.run.id)


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended, however they do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
