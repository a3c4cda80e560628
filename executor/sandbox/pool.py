"""Containers that wait booted, each for one job: the fresh container at the speed of a warm process.

A container of the pool is made of the very spec that a cold start would use, takes exactly one job,
and is removed. Which ones wait is `executor.sandbox.demand`'s to say; how they are made, kept and
given up is here. `Pool.take` gives one away, with its name and everything that is due for it.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from executor import telemetry
from executor.errors import EngineError, ImageMissing
from executor.sandbox.blank import Blank, Bounds
from executor.sandbox.booted import Booted, boot
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.demand import Demand, Share, pace, targets
from executor.sandbox.engine import Engine
from executor.sandbox.spec import ContainerSpec, Hardening

MIB = 1024 * 1024
AGE_MAX_S = 600.0
"""How long a container waits before another one takes its place, for tidiness."""
LOOK_S = 1.0
LOOK_AT_IMAGES_S = 15.0
PAUSE_S = 0.02
"""From a job's coming to what the pool does about it, so that the job goes first."""
CLOSE_S = 5.0
"""How long containers that are being made may take to be made, so that they can be removed."""
CLASSES_MAX = 64
FAILED_S = 2.0
"""After a container that did not boot the next one waits so long, doubled each time."""
FAILED_S_MAX = 120.0
FOOTPRINT_BYTES = 64 * MIB
"""What a waiting container is taken to cost until a job has shown what its class costs."""
OVERHEAD_BYTES = 16 * MIB
"""What the engine's own processes beside a container take."""


@dataclass(frozen=True)
class Waiting:
    """A container that waits, and since when."""

    booted: Booted
    since: float


@dataclass
class Class:
    """The containers of one kind, and what was asked of them."""

    blank: Blank
    demand: Demand
    waiting: deque[Waiting] = field(default_factory=deque)
    booting: int = 0
    footprint_bytes: int = FOOTPRINT_BYTES
    is_measured: bool = False
    failures: int = 0
    not_before: float = 0.0
    image_id: str | None = None

    @property
    def ahead(self) -> int:
        """How many wait, or soon will."""
        return len(self.waiting) + self.booting


class Pool:
    """The waiting containers of this process.

    `finish` makes a whole spec of a blank one: with this name, labels of this role and a directory
    of its own, which exists when it returns.
    """

    def __init__(
        self,
        engine: Engine,
        cleanup: Cleanup,
        finish: Callable[[ContainerSpec, str, str], ContainerSpec],
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._cleanup = cleanup
        self._finish = finish
        self._bounds = bounds
        self._clock = clock
        self._classes: dict[Hashable, Class] = {}
        self._latest: dict[tuple[str, str], Class] = {}
        self._refills: set[asyncio.Task[None]] = set()
        self._running = 0
        self._last_job = self._last_refill = clock()
        self._looked_at_images = clock()
        self._stirred = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ for jobs

    async def take(self, blank: Blank) -> Booted | None:
        """A waiting container as `blank` says, the caller's from now on; None: there is none."""
        began = time.monotonic()
        wanted = self._class_of(blank)
        self._latest[blank.language, blank.workspace] = wanted
        self._last_job = self._clock()
        wanted.demand.arrive(self._last_job)
        self._stirred.set()
        booted = self._next(wanted) or await self._fitted(wanted)
        if booted is None:
            telemetry.pool_misses.labels(blank.language).inc()
            return None
        telemetry.pool_hits.labels(blank.language).inc()
        telemetry.take_seconds.observe(time.monotonic() - began)
        return booted

    @contextmanager
    def job(self) -> Iterator[None]:
        """A job needs the CPU for as long as the context lasts."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._last_job = self._clock()
            self._stirred.set()

    def used(self, blank: Blank, memory_peak_bytes: int) -> None:
        """A job has taken so much memory at most: the least of those is what waiting takes, and no more."""
        found = self._classes.get(blank.key())
        if found is None or memory_peak_bytes <= 0:
            return
        seen = memory_peak_bytes + OVERHEAD_BYTES
        found.footprint_bytes = min(seen, found.footprint_bytes) if found.is_measured else seen
        found.is_measured = True

    def warm(self, blank: Blank) -> None:
        """From now on one such container waits always, more when there is time; also for `expect`."""
        found = self._class_of(blank)
        found.demand.keep = 1
        self._latest.setdefault((blank.language, ""), found)
        self._stirred.set()

    def expect(self, language: str, workspace: str, count: int) -> None:
        """So many jobs of a language will soon come, as the workspace's last one was, or as the warm ones are."""
        found = self._latest.get((language, workspace)) or self._latest.get((language, ""))
        if found is not None:
            found.demand.expect(self._clock(), min(count, self._bounds.count))
            self._stirred.set()

    def _class_of(self, blank: Blank) -> Class:
        key = blank.key()
        if (found := self._classes.get(key)) is None:
            if len(self._classes) >= CLASSES_MAX:
                self._drop(min(self._classes.values(), key=lambda each: (each.demand.keep, each.demand.last)))
            found = self._classes[key] = Class(blank, Demand(depth=blank.depth))
        return found

    def _next(self, wanted: Class) -> Booted | None:
        """The one that has waited longest and is still fit for a job."""
        now = self._clock()
        while wanted.waiting:
            waiting = wanted.waiting.popleft()
            self._note_waiting(wanted, -1)
            if waiting.booted.frames.is_silent and now - waiting.since < AGE_MAX_S:
                return waiting.booted
            self._discard(waiting.booted)
        return None

    async def _fitted(self, wanted: Class) -> Booted | None:
        """One of other limits, changed to those that are wanted, if the engine can."""
        family = wanted.blank.family()
        for other in list(self._classes.values()):
            if other is wanted or not other.waiting or other.blank.family() != family:
                continue
            if (booted := self._next(other)) is None:
                continue
            hardening = wanted.blank.spec.hardening
            if await self._updated(booted, hardening):
                return replace(booted, spec=replace(booted.spec, hardening=hardening))
            return None
        return None

    async def _updated(self, booted: Booted, hardening: Hardening) -> bool:
        """Whether the container has these limits now; one that has not is given up."""
        done = False
        try:
            done = await self._engine.update(booted.name, hardening) and booted.frames.is_silent
        except EngineError as error:
            telemetry.log.warning("a waiting container's limits were not changed", error=str(error))
        finally:
            if not done:
                self._discard(booted)
        return done

    # ------------------------------------------------------------ keeping

    def start(self) -> None:
        """Begin to fill the pool in the background."""
        self._keeping = asyncio.create_task(self._keep(), name="pool")

    async def close(self) -> None:
        """Give up everything that waits; the clean-up removes it."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for each in list(self._classes.values()):
            self._drop(each)
        if self._refills:  # cut off, one would go on in the engine, and be made after its removal
            await asyncio.wait(set(self._refills), timeout=CLOSE_S)
        for task in list(self._refills):
            task.cancel()
        await asyncio.gather(*self._refills, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            self._stirred.clear()
            try:
                await self._drop_outdated()
                self.look()
            except Exception:  # noqa: BLE001 - without the pool jobs go on, with it stuck they only start cold
                telemetry.log.exception("BUG: the pool could not be looked after")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stirred.wait()
            await asyncio.sleep(PAUSE_S)

    def look(self) -> None:
        """Give up what is too old or too much, and begin to make what is missing."""
        now = self._clock()
        for each in list(self._classes.values()):
            while each.waiting and now - each.waiting[0].since >= AGE_MAX_S:
                self._give_up(each, each.waiting[0])
            if not each.ahead and not each.demand.wish(now):
                self._drop(each)
        classes = sorted(self._classes.values(), key=lambda each: each.demand.last, reverse=True)
        shares = [
            Share(each.demand.need(now), each.demand.wish(now), each.footprint_bytes) for each in classes
        ]
        aims = dict(
            zip(map(id, classes), targets(shares, self._bounds.count, self._bounds.memory_bytes), strict=True)
        )
        for each in classes:
            while each.waiting and len(each.waiting) > aims[id(each)][1]:
                self._give_up(each, each.waiting[0])
        self._refill(classes, aims, now)

    def _refill(self, classes: list[Class], aims: Mapping[int, tuple[int, int]], now: float) -> None:
        """Make the containers that are most missed, as many at once as the jobs leave room for."""
        how = pace(self._running, self._bounds.cores, now - self._last_job, now - self._last_refill)
        ready = [each for each in classes if each.not_before <= now]
        half = {which: math.ceil(soon / 2) for which, (soon, _) in aims.items()}
        soon = {which: soon for which, (soon, _) in aims.items()}
        late = {which: late for which, (_, late) in aims.items()}
        for aim, at_once in ((half, how.urgent), (soon, how.need), (late, how.wish)):
            while len(self._refills) < at_once and (wanted := _emptiest(ready, aim)) is not None:
                self._make(wanted)

    def _make(self, wanted: Class) -> None:
        wanted.booting += 1
        self._last_refill = self._clock()
        task = asyncio.create_task(self._boot(wanted), name="pool refill")
        self._refills.add(task)
        task.add_done_callback(self._refills.discard)
        task.add_done_callback(lambda _: self._stirred.set())

    async def _boot(self, wanted: Class) -> None:
        """Make one container and let it wait."""
        name = f"executor-pool-{uuid.uuid4()}"
        self._cleanup.owns(name)
        began = time.monotonic()
        try:
            if wanted.image_id is None:
                wanted.image_id = await self._id_of(wanted)
            spec = self._finish(wanted.blank.spec, name, "pool")
            booted = replace(await boot(self._engine, spec), is_pooled=True)
        except EngineError as error:
            self._cleanup.discard(name)
            self._note_failure(wanted, error)
        except Exception as error:  # noqa: BLE001 - jobs go on; the next try must not come at once
            self._cleanup.discard(name)
            telemetry.log.exception("BUG: a container could not be made to wait")
            self._note_failure(wanted, error)
        except BaseException:
            self._cleanup.discard(name)
            raise
        else:
            telemetry.refill_seconds.observe(time.monotonic() - began)
            self._admit(wanted, booted)
        finally:
            wanted.booting -= 1

    def _admit(self, wanted: Class, booted: Booted) -> None:
        """Let a container wait, unless its class was given up meanwhile."""
        wanted.failures = 0
        if self._classes.get(wanted.blank.key()) is not wanted:
            self._discard(booted)
            return
        waiting = Waiting(booted, self._clock())
        wanted.waiting.append(waiting)
        self._note_waiting(wanted, 1)
        booted.frames.watch(lambda: self._has_ended(wanted, waiting))

    def _note_failure(self, wanted: Class, error: Exception) -> None:
        """Wait before the next try, longer each time."""
        wanted.failures += 1
        wait_s = FAILED_S_MAX if isinstance(error, ImageMissing) else FAILED_S * 2 ** min(wanted.failures, 10)
        wanted.not_before = self._clock() + min(wait_s, FAILED_S_MAX)
        wanted.image_id = None
        telemetry.log.info(
            "a container did not get ready to wait", language=wanted.blank.language, error=str(error)
        )

    # ------------------------------------------------------------ giving up

    def _has_ended(self, each: Class, waiting: Waiting) -> None:
        """A container has ended, or spoken, before it had a job: nobody gets it."""
        if waiting in each.waiting:
            self._give_up(each, waiting)
            self._stirred.set()

    def drop_network(self, network: str) -> None:
        """No container of this network is to be handed out any more."""
        for each in list(self._classes.values()):
            if each.blank.spec.network == network:
                self._drop(each)

    async def _drop_outdated(self) -> None:
        """Give up what waits in images that were built anew, or removed."""
        if self._clock() - self._looked_at_images < LOOK_AT_IMAGES_S:
            return
        self._looked_at_images = self._clock()
        for each in list(self._classes.values()):
            if each.waiting and await self._id_of(each) != each.image_id:
                while each.waiting:
                    self._give_up(each, each.waiting[0])
                each.image_id = None

    async def _id_of(self, each: Class) -> str | None:
        try:
            seen = await self._engine.image(each.blank.spec.image)
        except EngineError:  # it is away; its containers' streams tell what has become of them
            return each.image_id
        return None if seen is None else seen.id

    def _drop(self, each: Class) -> None:
        """Forget a class and all of its containers."""
        while each.waiting:
            self._give_up(each, each.waiting[0])
        self._classes.pop(each.blank.key(), None)
        for who in [who for who, latest in self._latest.items() if latest is each]:
            del self._latest[who]

    def _give_up(self, each: Class, waiting: Waiting) -> None:
        each.waiting.remove(waiting)
        self._note_waiting(each, -1)
        self._discard(waiting.booted)

    def _discard(self, booted: Booted) -> None:
        booted.close()
        self._cleanup.discard(booted.name)

    def _note_waiting(self, each: Class, change: int) -> None:
        telemetry.pool_waiting.labels(each.blank.language).inc(change)


def _emptiest(classes: Iterable[Class], aim: Mapping[int, int]) -> Class | None:
    """The class that has the least of its aim; None if all have theirs."""
    missed = [each for each in classes if each.ahead < aim[id(each)]]
    return min(missed, key=lambda each: each.ahead / aim[id(each)], default=None)
