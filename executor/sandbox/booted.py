"""A container that has booted and waits for its job, made now or long ago.

`boot` is the way there; both a cold start and the pool take it, so that a job finds the same thing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from executor.errors import EngineTransient
from executor.sandbox.engine import Channel, Engine
from executor.sandbox.frames import Frame, FrameError, FrameReader, Ready, ScriptError
from executor.sandbox.spec import ContainerSpec

BOOT_S = 60
"""How long a container may take to say that its language runner is ready."""
EARLY_MAX = 256
"""How many frames from before `ready` are kept; of more, the last ones."""


class NotStarted(EngineTransient):
    """A container never became ready; in an image of ours that passes, in another it is that image.

    `early` is what it said instead.
    """

    def __init__(self, message: str, early: tuple[Frame, ...]) -> None:
        super().__init__(message)
        self.early = early


class Frames:
    """Frames of one channel, one at a time; results are refused until `allow_result`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reader = FrameReader(0)
        self._waiting: deque[Frame] = deque()
        self._ahead: asyncio.Task[bytes] | None = None

    def allow_result(self, result_bytes: int) -> None:
        """Let a result of so many bytes through from now on."""
        self._reader.allow_result(result_bytes)

    async def next(self) -> Frame | None:
        """The next frame, None at the end of the stream; raises EngineTransient for a broken one."""
        while not self._waiting:
            data = await self._received()
            if not data:
                return None
            try:
                self._waiting.extend(self._reader.feed(data))
            except FrameError as error:
                raise EngineTransient(f"the container broke the frame protocol: {error}") from error
        return self._waiting.popleft()

    async def _received(self) -> bytes:
        """The next bytes; those that `watch` is waiting for come first."""
        if (ahead := self._ahead) is None:
            return await self._channel.receive()
        data = await ahead
        self._ahead = None
        return data

    def watch(self, ended: Callable[[], None]) -> None:
        """Call `ended` as soon as the container ends, or says anything before it has a job."""
        self._ahead = asyncio.create_task(self._channel.receive())
        self._ahead.add_done_callback(lambda _: ended())

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come of a watched container, not even its end."""
        return not self._waiting and self._ahead is not None and not self._ahead.done()

    def close(self) -> None:
        """Wait for nothing more, and let go of the stream."""
        if self._ahead is not None:
            self._ahead.cancel()
        self._channel.close()


@dataclass(frozen=True)
class Booted:
    """A container that has said `ready`; `early` is what it said before."""

    spec: ContainerSpec
    channel: Channel
    frames: Frames
    early: tuple[Frame, ...] = ()
    is_pooled: bool = False
    """Whether it has waited, so that it may be gone without anybody knowing yet."""

    @property
    def name(self) -> str:
        """The container's name."""
        return self.spec.name

    def close(self) -> None:
        """Let go of its stream, which ends it."""
        self.frames.close()


async def boot(engine: Engine, spec: ContainerSpec) -> Booted:
    """Make a container and wait until its language runner is ready.

    The caller removes it, whatever happens. Raises NotStarted, and EngineError as `Engine.start` does.
    """
    channel = await engine.start(spec)
    frames = Frames(channel)
    early: deque[Frame] = deque(maxlen=EARLY_MAX)
    try:
        await _await_ready(frames, early)
    except BaseException:
        frames.close()
        raise
    return Booted(spec, channel, frames, tuple(early))


async def _await_ready(frames: Frames, early: deque[Frame]) -> None:
    try:
        async with asyncio.timeout(BOOT_S):
            while (frame := await frames.next()) is not None:
                if isinstance(frame, Ready):
                    return
                early.append(frame)
    except TimeoutError:
        raise NotStarted(f"the container was not ready after {BOOT_S} s", tuple(early)) from None
    errors = [frame.message for frame in early if isinstance(frame, ScriptError)]
    said = errors[-1] if errors else "its output ended"
    raise NotStarted(f"the container ended before it was ready: {said}", tuple(early))
