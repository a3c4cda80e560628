"""The life of one script: a container is made, talks, and is gone.

`Sandbox.run` is that life from top to bottom. A script that fails is an `Outcome`; only trouble of
our own (the engine, the stream) is an exception, and then nobody knows whether the script ran.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from executor import telemetry
from executor.errors import EngineError, EngineTransient, ImageMissing, Reason
from executor.runtimes import Runtime
from executor.sandbox.booted import Booted, NotStarted, boot
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.conversation import converse
from executor.sandbox.egress import Egress
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Engine
from executor.sandbox.frames import Frame
from executor.sandbox.hardening import effective_limits
from executor.sandbox.holders import OFFLINE, Joined
from executor.sandbox.loopback import Loopbacks
from executor.sandbox.order import ARGS_FILE, INBOX, PROGRAM_FILE, Order, blank_spec, kind_of, label
from executor.sandbox.pool import Pool
from executor.sandbox.refusals import Refusals
from executor.sandbox.slots import Slots
from executor.sandbox.spec import Bind, ContainerSpec, Place
from executor.sandbox.verdict import Account, judge, out_of_memory
from executor.script import Failed, Isolation, Outcome

CLOSED = (
    "--- workspace {workspace} may reach nothing over the network: open it with `networks` in its policy, "
    "with EXECUTOR_NETWORKS, or with --allow of `executor run` ---\n"
)


class Compiler(Protocol):
    """Makes programs of scripts whose language compiles; executor.sandbox.compiling is the one."""

    async def provide(
        self, order: Order, run: Callable[[Order], Awaitable[Outcome]], target: Path
    ) -> Failed | None:
        """Put the order's program at `target`, compiling it by `run` if need be; or say why there is none."""


class Finder(Protocol):
    """Finds where a script runs; executor.sandbox.places is the one."""

    async def find(self, order: Order) -> Place | Failed:
        """The place, with its image on the engine, if it is not ours; or why there is none."""


class NeverBegan(EngineTransient):
    """A container that had waited was gone before its job reached it."""


@dataclass(frozen=True)
class Sandbox:
    """Runs scripts in containers of `engine`; `folder` holds the containers' own directories."""

    engine: Engine
    cleanup: Cleanup
    image_of: Callable[[Runtime], Awaitable[str]]
    folder: Path
    instance: str
    worker: str
    compiler: Compiler
    places: Finder
    egress: Egress | None = None
    pool: Pool | None = None
    """Without one every container is made when its job comes."""
    slots: Slots | None = None
    """Without them a container that waits gets no run's shared directory."""
    loopbacks: Loopbacks | None = None
    """Without them every job without network has a namespace of its own."""

    async def run(self, order: Order) -> Outcome:
        """Run the script in a container of its own, which is removed in the background afterwards.

        A script of a language that compiles has been through another container before, if it is new.
        Raises EngineTransient when it is not known whether the script ran (the stream was lost), and
        EngineError when the engine refuses for good.
        """
        order = replace(order, limits=effective_limits(order.runtime, order.limits))
        place = await self.places.find(order)
        if isinstance(place, Failed):
            return place
        order, refusals = _hearing_of_refusals(order)
        luggage = self.folder / f"{order.name}-luggage"
        try:
            if (failed := await self._pack(order, luggage)) is not None:
                return failed
            async with self._network(order, place, refusals) as joined:
                outcome = await self._live(order, place, joined, luggage)
                if refusals is not None:
                    refusals.has_failed = isinstance(outcome, Failed)
                return outcome
        except ImageMissing as error:
            if place.is_foreign:
                return Failed(Reason.IMAGE_NOT_FOUND, f"image {place.shown} was removed from this host")
            raise EngineError(
                f"the image of {order.runtime.name} ({place.image}) is missing; run `executor images build`"
            ) from error
        finally:
            if order.has_luggage:
                shutil.rmtree(luggage, ignore_errors=True)

    async def _pack(self, order: Order, luggage: Path) -> Failed | None:
        """Lay ready what the container is to find as files: big arguments, a program; or why there is none."""
        with no_room():
            if order.has_luggage:
                luggage.mkdir(mode=0o755, parents=True, exist_ok=True)
            if order.args_as_file:
                await asyncio.to_thread((luggage / ARGS_FILE).write_bytes, order.script.args)
        if order.runtime.compiler is None:
            return None
        return await self.compiler.provide(order, self.run, luggage / PROGRAM_FILE)

    async def close(self, timeout_s: float) -> None:
        """Give up the pool and all networks, and wait until every container is gone, at most `timeout_s` seconds."""
        if self.pool is not None:
            await self.pool.close()
        if self.egress is not None:
            self.egress.close()
        if self.loopbacks is not None:
            self.loopbacks.close()
        await self.cleanup.settle(timeout_s)

    @asynccontextmanager
    async def _network(self, order: Order, place: Place, refusals: Refusals | None) -> AsyncIterator[Joined]:
        """What the job's container joins, for as long as the context lasts."""
        if order.runtime.manifest.network == "egress":
            if self.egress is None:
                raise EngineError(f"this sandbox has no network for {order.runtime.name}")
            async with self.egress.joined(
                order.workspace, order.reach, order.egress_limits, refusals
            ) as joined:
                yield joined
        elif (loopbacks := await self._loopbacks_for(order, place)) is not None:
            async with loopbacks.joined(order.workspace) as joined:
                yield joined
        else:
            yield OFFLINE

    async def _loopbacks_for(self, order: Order, place: Place) -> Loopbacks | None:
        """Who has the loopback that the order's container joins; None: it has one of its own."""
        if self.loopbacks is None or not await self.loopbacks.serves(blank_spec(order, place, OFFLINE)):
            return None
        return self.loopbacks

    async def _live(self, order: Order, place: Place, joined: Joined, luggage: Path) -> Outcome:
        """One life in a container: one that has waited, else one that is made now."""
        cold = blank_spec(order, place, joined)
        if self.pool is None:
            return await self._live_cold(cold, order, place, joined, luggage)
        with self.pool.job():
            if (blank := self._waiting_for(order, cold)) is None:
                return await self._live_cold(cold, order, place, joined, luggage)
            kind = kind_of(order, blank, joined, order.workspace)
            outcome = None
            if (booted := await self.pool.take(kind)) is not None:
                outcome = await self._live_warm(booted, order, place, joined, luggage)
            if outcome is None:
                outcome = await self._live_cold(cold, order, place, joined, luggage)
            self.pool.used(kind, outcome.usage.memory_peak_bytes)
            return outcome

    def _waiting_for(self, order: Order, cold: ContainerSpec) -> ContainerSpec | None:
        """What a container that waited for such a job is made of: one with a run's directory has had a slot for it."""
        if order.shared is None:
            return cold
        mount = order.shared.mount
        if self.slots is None or not isinstance(mount, Bind):
            return None
        return replace(cold, binds=tuple(bind for bind in cold.binds if bind != mount), slot=True)

    async def _live_warm(
        self, booted: Booted, order: Order, place: Place, joined: Joined, luggage: Path
    ) -> Outcome | None:
        """The job in a container that has waited; None if that was gone before the job reached it."""
        try:
            await self._fill_slot(booted, order)
            return await self._use(booted, order, place, joined, luggage)
        except NeverBegan as error:
            telemetry.log.info("a waiting container was gone; the job starts cold", error=str(error))
            return None
        finally:
            booted.close()
            self.cleanup.discard(booted.name)

    async def _fill_slot(self, booted: Booted, order: Order) -> None:
        """Show the run's directory in a container that has waited; raises NeverBegan if that cannot be."""
        if order.shared is None or order.shared.files is None or self.slots is None:
            return
        try:
            await asyncio.to_thread(self.slots.fill, booted.name, order.shared.files)
        except OSError as error:
            raise NeverBegan(f"the shared directory cannot be mounted: {error}") from error

    async def _live_cold(
        self, blank: ContainerSpec, order: Order, place: Place, joined: Joined, luggage: Path
    ) -> Outcome:
        self.cleanup.owns(order.name)
        try:
            booted = await self._made(self.own(blank, order.name, order.role), order, place)
            if isinstance(booted, Failed):
                return booted
            with closing(booted):
                return await self._use(booted, order, place, joined, luggage)
        finally:
            self.cleanup.discard(order.name)

    async def _made(self, spec: ContainerSpec, order: Order, place: Place) -> Booted | Failed:
        """A container made now, or why the image that the script chose gives none."""
        began = time.monotonic()
        try:
            booted = await boot(self.engine, spec)
        except NotStarted as error:
            return _not_started(order, place, error)
        except (EngineTransient, ImageMissing):
            raise
        except EngineError as error:
            if await self._has_lost_network(spec):
                raise  # no fault of the image's; who keeps networks says what it is
            return _unfit(place, error)
        telemetry.start_seconds.labels(self.engine.maker(spec.name).engine).observe(time.monotonic() - began)
        return booted

    async def _has_lost_network(self, spec: ContainerSpec) -> bool:
        """Whether the container that keeps the network to be joined has ended."""
        keeper = spec.network.removeprefix("container:")
        return keeper != spec.network and not (await self.engine.ended(keeper)).running

    async def _use(
        self, booted: Booted, order: Order, place: Place, joined: Joined, luggage: Path
    ) -> Outcome:
        """Give the job to a container that is ready, and hear it out."""
        account = _account(order, booted.early)
        booted.frames.allow_result(order.limits.result_bytes)
        if order.has_luggage:
            _carry(luggage, self.folder / booted.name)
        if order.listener.claimed is not None:
            await order.listener.claimed(self._isolation(booted.spec, place, joined))
        await _send_job(booted, order)
        await converse(self.engine, booted, account, order.cancellation)
        outcome = judge(account)
        _explain_closed_network(outcome, order, joined)
        return outcome

    async def warm(self, order: Order) -> None:
        """Let a container as this order would have it wait from now on, if its image is there.

        One that has a network belongs to a workspace, and is made when that has had such a job; where
        jobs share a loopback, it is the order's workspace that has something waiting.
        """
        order = replace(order, limits=effective_limits(order.runtime, order.limits))
        if self.pool is None or order.runtime.manifest.network != "none":
            return
        place = await self.places.find(order)
        if not isinstance(place, Place) or not await self.engine.has_image(place.image):
            return
        if (loopbacks := await self._loopbacks_for(order, place)) is None:
            self.pool.warm(kind_of(order, blank_spec(order, place, OFFLINE), OFFLINE, workspace=""))
            return
        loopbacks.keep(order.workspace)
        async with loopbacks.joined(order.workspace) as joined:
            self.pool.warm(kind_of(order, blank_spec(order, place, joined), joined, order.workspace))

    def expect(self, runtime: Runtime, workspace: str, count: int, *, shared: bool = False) -> None:
        """Say that the workspace will soon have so many jobs of the language, with a run's directory or without."""
        if self.pool is not None:
            self.pool.expect(label(runtime, shared=shared), workspace, count)

    def own(self, blank: ContainerSpec, name: str, role: str) -> ContainerSpec:
        """Make a spec one container's: its name, our labels, and a directory of its own at /executor/in."""
        inbox = self.folder / name
        with no_room():
            inbox.mkdir(mode=0o755, parents=True, exist_ok=True)
        slot = (self._slot(name),) if blank.slot else ()
        return replace(
            blank,
            name=name,
            labels={LABEL: self.instance, LABEL_ROLE: role, LABEL_WORKER: self.worker},
            binds=(Bind(inbox.resolve(), INBOX), *slot, *blank.binds),
        )

    def _slot(self, name: str) -> Bind:
        if self.slots is None:
            raise AssertionError("BUG: a slot is wanted where there are none")
        try:
            return self.slots.made(name)
        except OSError as error:
            raise EngineTransient(f"a slot for a shared directory cannot be made: {error}") from error

    def _isolation(self, spec: ContainerSpec, place: Place, joined: Joined) -> Isolation:
        hard = spec.hardening
        made_by = self.engine.maker(spec.name)
        return Isolation(
            engine=made_by.engine,
            image=place.shown,
            runtime=made_by.runtime,
            network=joined.kind,
            user=hard.user or f"{hard.uid}:{hard.gid}",
            capabilities=hard.capabilities,
            read_only_root=hard.read_only_root,
            memory_mb=hard.memory_bytes // (1024 * 1024),
            cpus=hard.cpus,
            pids=hard.pids,
            container=spec.name,
            reach=tuple(map(str, joined.reach)),
        )


@contextmanager
def no_room() -> Iterator[None]:
    """What keeps us from writing into the data directory may pass, and is no bug. Raises EngineTransient."""
    try:
        yield
    except OSError as error:
        raise EngineTransient(f"the data directory cannot be written to: {error}") from error


def _hearing_of_refusals(order: Order) -> tuple[Order, Refusals | None]:
    """The order with a log that refusals of its network come into too, and where they go; None if they cannot."""
    if order.runtime.manifest.network != "egress" or order.listener.log is None:
        return order, None
    refusals = Refusals(order.listener.log)
    return replace(order, listener=replace(order.listener, log=refusals.log)), refusals


def _explain_closed_network(outcome: Outcome, order: Order, joined: Joined) -> None:
    """A script that failed where nothing can be reached may have failed for just that."""
    is_closed = joined.kind == "egress" and not joined.reach
    failed = isinstance(outcome, Failed) and outcome.reason is Reason.SCRIPT_ERROR
    if is_closed and failed and order.listener.log is not None:
        order.listener.log(CLOSED.format(workspace=order.workspace))


def _account(order: Order, early: Iterable[Frame]) -> Account:
    """The account of a run that begins, with what its container said while it booted."""
    account = Account(order.runtime, order.limits, order.listener.log, order.listener.stream)
    for frame in early:
        account.take(frame)
    return account


async def _send_job(booted: Booted, order: Order) -> None:
    """Write the job; raises NeverBegan if a container that has waited is found to be gone."""
    if booted.is_pooled and not booted.frames.is_silent:
        raise NeverBegan("it ended while it waited")
    try:
        await booted.channel.send(order.job_line())
    except EngineTransient as error:
        if booted.is_pooled:
            raise NeverBegan(str(error)) from error
        raise


def _carry(luggage: Path, inbox: Path) -> None:
    """Show the files in a container's own directory; they stay where they are, for another try."""
    for file in luggage.iterdir():
        os.link(file, inbox / file.name)


def _not_started(order: Order, place: Place, error: NotStarted) -> Failed:
    account = _account(order, error.early)
    if place.is_foreign and out_of_memory(account):
        outcome = judge(account)
        if isinstance(outcome, Failed):
            return outcome
    return _unfit(place, error)


def _unfit(place: Place, error: EngineError) -> Failed:
    """Nothing starts in the image: of one that the script chose that is the script's failure, else ours."""
    if not place.is_foreign:
        raise error
    return Failed(Reason.BAD_INPUT, f"image {place.shown} cannot run this script: {error}")
