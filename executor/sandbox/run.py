"""The life of one script: a container is made, talks, and is gone.

`Sandbox.run` is that life from top to bottom. A script that fails is an `Outcome`; only trouble of
our own (the engine, the stream) is an exception, and then nobody knows whether the script ran.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from executor import telemetry
from executor.errors import EngineError, EngineTransient, ImageMissing, Reason
from executor.reach import Reach
from executor.runtimes import Runtime
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.egress import OFFLINE, Egress, Joined
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Channel, Engine
from executor.sandbox.frames import Exit, Frame, FrameError, FrameReader, Ready, job_line, signal_line
from executor.sandbox.hardening import effective_limits
from executor.sandbox.shared import SharedDirectory
from executor.sandbox.spec import Bind, ContainerSpec, Place, Volume
from executor.sandbox.verdict import Account, judge, out_of_memory
from executor.script import Failed, Isolation, Limits, Outcome, Script

INLINE_ARGS_BYTES_MAX = 1024 * 1024
BOOT_S = 60
"""How long a container may take to say that its language runner is ready."""
OVERTIME_S = 0.5
"""jobinit ends a script at its time limit; this much later we end its container ourselves."""
STREAM_END_S = 10
"""How long a killed container's stream may take to end."""
CLOSED = (
    "--- workspace {workspace} may reach nothing over the network: open it with `networks` in its policy, "
    "with EXECUTOR_NETWORKS, or with --allow of `executor run` ---\n"
)
INBOX = "/executor/in"
ARGS_FILE = "args.json"
PROGRAM_FILE = "program"

Told = Callable[[str], None]


@dataclass
class Cancellation:
    """Asks a run to end: a signal first, the kill after `grace_s` seconds."""

    grace_s: float
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """End the run; asking again changes nothing."""
        self.asked.set()


@dataclass(frozen=True)
class Listener:
    """What a run tells while it goes on; all optional."""

    claimed: Callable[[Isolation], Awaitable[None]] | None = None
    """Awaited before the script starts; the lease is committed here."""
    log: Told | None = None
    stream: Told | None = None


@dataclass(frozen=True)
class Order:
    """One script to run once: under which container name, with which limits, told to whom."""

    name: str
    runtime: Runtime
    script: Script
    limits: Limits
    cancellation: Cancellation
    listener: Listener = Listener()
    workspace: str = "main"
    role: Literal["job", "compile"] = "job"
    shared: SharedDirectory | None = None
    """The run's directory at /shared; without one the job has an empty one of its own."""
    reach: tuple[Reach, ...] = ()
    """What the script may reach if its language has egress; nothing else is ever reached."""
    images: tuple[str, ...] | None = None
    """Patterns of the images that the workspace's policy allows; None: all that the instance does."""

    @property
    def args_as_file(self) -> bool:
        """Whether the arguments are too big to travel in the job frame."""
        return len(self.script.args) > INLINE_ARGS_BYTES_MAX

    def job_line(self) -> bytes:
        """The frame that starts the script."""
        limits = self.limits
        return job_line(
            script=self.script.content,
            args=None if self.args_as_file else self.script.args,
            args_file=ARGS_FILE if self.args_as_file else None,
            env=self.script.env,
            limits={
                "timeout_s": limits.timeout_s,
                "log_bytes": limits.log_bytes,
                "result_bytes": limits.result_bytes,
            },
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


class NotStarted(EngineTransient):
    """A container never became ready; in an image of ours that passes, in another it is that image."""


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
        self.cleanup.owns(order.name)
        try:
            spec = self._spec(order, place)
            if order.runtime.compiler is not None:
                program = self.folder / order.name / PROGRAM_FILE
                if (failed := await self.compiler.provide(order, self.run, program)) is not None:
                    return failed
            async with self._network(order) as joined:
                return await self._live(spec, order, place, joined)
        except ImageMissing as error:
            if place.is_foreign:
                return Failed(Reason.IMAGE_NOT_FOUND, f"image {place.shown} was removed from this host")
            raise EngineError(
                f"the image of {order.runtime.name} ({place.image}) is missing; run `executor images build`"
            ) from error
        finally:
            self.cleanup.discard(order.name)

    def _spec(self, order: Order, place: Place) -> ContainerSpec:
        inbox = self.folder / order.name
        inbox.mkdir(mode=0o755, parents=True, exist_ok=True)
        if order.args_as_file:
            (inbox / ARGS_FILE).write_bytes(order.script.args)
        shared = order.shared.mount if order.shared else None
        return ContainerSpec(
            name=order.name,
            image=place.image,
            hardening=place.hardening,
            entrypoint=place.entrypoint,
            environment=place.environment,
            folder=place.folder,
            labels={LABEL: self.instance, LABEL_ROLE: order.role, LABEL_WORKER: self.worker},
            binds=(
                Bind(inbox.resolve(), INBOX),
                *place.binds,
                *((shared,) if isinstance(shared, Bind) else ()),
            ),
            volumes=(shared,) if isinstance(shared, Volume) else (),
        )

    async def close(self, timeout_s: float) -> None:
        """Give up all networks, and wait until every container is gone, at most `timeout_s` seconds."""
        if self.egress is not None:
            self.egress.close()
        await self.cleanup.settle(timeout_s)

    def _network(self, order: Order) -> AbstractAsyncContextManager[Joined]:
        if order.runtime.manifest.network == "none":
            return nullcontext(OFFLINE)
        if self.egress is None:
            raise EngineError(f"this sandbox has no network for {order.runtime.name}")
        return self.egress.joined(order.workspace, order.reach)

    async def _live(self, spec: ContainerSpec, order: Order, place: Place, joined: Joined) -> Outcome:
        spec = replace(spec, network=joined.network, binds=(*spec.binds, *joined.binds))
        began = time.monotonic()
        try:
            channel = await self.engine.start(spec)
        except (EngineTransient, ImageMissing):
            raise
        except EngineError as error:
            return _unfit(place, error)
        try:
            account = Account(order.runtime, order.limits, order.listener.log, order.listener.stream)
            frames = Frames(channel, order.limits)
            try:
                await _await_ready(frames, account)
            except NotStarted as error:
                if place.is_foreign and out_of_memory(account):
                    return judge(account)
                return _unfit(place, error)
            telemetry.start_seconds.labels(self.engine.maker(spec.name).engine).observe(
                time.monotonic() - began
            )
            if order.listener.claimed is not None:
                await order.listener.claimed(self._isolation(spec, place, joined))
            await channel.send(order.job_line())
            await self._converse(frames, channel, account, order)
            if account.exit is None:
                await self._explain_lost_stream(account, order.name)
            outcome = judge(account)
            _explain_closed_network(outcome, order, joined)
            return outcome
        finally:
            channel.close()

    async def _converse(self, frames: Frames, channel: Channel, account: Account, order: Order) -> None:
        """Read frames to the end of the stream; a deadline or a cancellation may cut in."""
        listening = asyncio.create_task(_listen(frames, account))
        cancelling = asyncio.create_task(order.cancellation.asked.wait())
        try:
            await asyncio.wait(
                {listening, cancelling},
                timeout=order.limits.timeout_s + OVERTIME_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not listening.done():
                if cancelling.done():
                    account.cancelled = True
                    await _signal(channel, order.runtime)
                    await asyncio.wait({listening}, timeout=order.cancellation.grace_s)
                else:
                    account.overran = True
                await self._end(order.name, listening)
            if not listening.cancelled():  # then its stream did not end; the outcome is settled
                listening.result()
        finally:
            cancelling.cancel()
            listening.cancel()

    async def _end(self, name: str, listening: asyncio.Task[None]) -> None:
        """Kill the container if it still talks; the outcome is settled, whatever the engine says."""
        if listening.done():
            return
        try:
            await self.engine.kill(name)
        except EngineError as error:
            telemetry.log.warning("kill failed; the container's removal will end it", error=str(error))
        await asyncio.wait({listening}, timeout=STREAM_END_S)
        if not listening.done():
            listening.cancel()
            await asyncio.wait({listening})

    async def _explain_lost_stream(self, account: Account, name: str) -> None:
        """The stream ended without an exit frame: ended by us, by the kernel for memory, or lost."""
        if account.cancelled or account.overran:
            return
        account.oom_killed = (await self.engine.ended(name)).oom_killed
        if not account.oom_killed:
            raise EngineTransient("the container's stream ended before the script did")

    def _isolation(self, spec: ContainerSpec, place: Place, joined: Joined) -> Isolation:
        hard = spec.hardening
        made_by = self.engine.maker(spec.name)
        return Isolation(
            engine=made_by.engine,
            image=place.shown,
            runtime=made_by.runtime,
            network=hard.network,
            user=hard.user or f"{hard.uid}:{hard.gid}",
            capabilities=hard.capabilities,
            read_only_root=hard.read_only_root,
            memory_mb=hard.memory_bytes // (1024 * 1024),
            cpus=hard.cpus,
            pids=hard.pids,
            container=spec.name,
            reach=tuple(map(str, joined.reach)),
        )


def _explain_closed_network(outcome: Outcome, order: Order, joined: Joined) -> None:
    """A script that failed where nothing can be reached may have failed for just that."""
    is_closed = joined is not OFFLINE and not joined.reach
    failed = isinstance(outcome, Failed) and outcome.reason is Reason.SCRIPT_ERROR
    if is_closed and failed and order.listener.log is not None:
        order.listener.log(CLOSED.format(workspace=order.workspace))


class Frames:
    """Frames of one channel, one at a time."""

    def __init__(self, channel: Channel, limits: Limits) -> None:
        self._channel = channel
        self._reader = FrameReader(limits.result_bytes)
        self._waiting: deque[Frame] = deque()

    async def next(self) -> Frame | None:
        """The next frame, None at the end of the stream; raises EngineTransient for a broken one."""
        while not self._waiting:
            data = await self._channel.receive()
            if not data:
                return None
            try:
                self._waiting.extend(self._reader.feed(data))
            except FrameError as error:
                raise EngineTransient(f"the container broke the frame protocol: {error}") from error
        return self._waiting.popleft()


async def _await_ready(frames: Frames, account: Account) -> None:
    try:
        async with asyncio.timeout(BOOT_S):
            while (frame := await frames.next()) is not None:
                if isinstance(frame, Ready):
                    return
                account.take(frame)
    except TimeoutError:
        raise NotStarted(f"the container was not ready after {BOOT_S} s") from None
    said = account.error.message if account.error else "its output ended"
    raise NotStarted(f"the container ended before it was ready: {said}")


def _unfit(place: Place, error: EngineError) -> Failed:
    """Nothing starts in the image: of one that the script chose that is the script's failure, else ours."""
    if not place.is_foreign:
        raise error
    return Failed(Reason.BAD_INPUT, f"image {place.shown} cannot run this script: {error}")


async def _listen(frames: Frames, account: Account) -> None:
    while (frame := await frames.next()) is not None:
        account.take(frame)
        if isinstance(frame, Exit):
            return
        if account.log_is_full:
            account.take_limit("output_limit")
            return


async def _signal(channel: Channel, runtime: Runtime) -> None:
    try:
        await channel.send(signal_line(runtime.manifest.cancel_signal))
    except EngineTransient:
        telemetry.log.debug("the script had ended before its cancellation reached it")
