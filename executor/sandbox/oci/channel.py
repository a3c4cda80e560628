"""The two pipes of a container as a channel, read and written by the event loop alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from executor import telemetry
from executor.errors import EngineTransient

READ_BYTES = 256 * 1024
COMPLAINT_BYTES = 4096


class PipeChannel:
    """PID 1's stdin and stdout; the container alone holds their other ends.

    On its stderr PID 1 says something only when it is broken; the end of the pipe is kept so that it can.
    """

    def __init__(self, stdin: int, stdout: int, stderr: int) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._sending = asyncio.Lock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_closed = False
        for descriptor in (stdin, stdout, stderr):
            os.set_blocking(descriptor, False)

    async def send(self, data: bytes) -> None:
        """Write to the container's stdin; raises EngineTransient when nobody reads any more."""
        async with self._sending:
            rest = memoryview(data)
            while rest:
                if self._is_closed:
                    raise EngineTransient("the container's stream is closed")
                try:
                    rest = rest[os.write(self._stdin, rest) :]
                except BlockingIOError:
                    await self._until_writable()
                except OSError as error:
                    raise EngineTransient(f"the container's stream is gone: {error}") from error

    async def receive(self) -> bytes:
        """The next bytes of its stdout; b"" at the end of the stream."""
        while not self._is_closed:
            try:
                data = os.read(self._stdout, READ_BYTES)
            except BlockingIOError:
                await self._until_readable()
                continue
            # A container that never stops writing must not keep everybody else from running.
            await asyncio.sleep(0)
            return data
        return b""

    def close(self) -> None:
        """Let go of both pipes; the container's stdin ends."""
        if self._is_closed:
            return
        self._is_closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._stdout)
        loop.remove_writer(self._stdin)
        for waiting in self._waiting:
            _wake(waiting)
        with suppress(OSError):
            if said := os.read(self._stderr, COMPLAINT_BYTES):
                telemetry.log.debug("a container complained", said=said.decode(errors="replace"))
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.close(descriptor)

    async def _until_readable(self) -> None:
        loop = asyncio.get_running_loop()
        add = partial(loop.add_reader, self._stdout)
        await self._until(add, partial(loop.remove_reader, self._stdout))

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        add = partial(loop.add_writer, self._stdin)
        await self._until(add, partial(loop.remove_writer, self._stdin))

    async def _until(self, watch: Callable[..., object], forget: Callable[[], object]) -> None:
        happened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(happened)
        watch(_wake, happened)
        try:
            await happened
        finally:
            self._waiting.discard(happened)
            if not self._is_closed:  # else the number may be another file's by now
                forget()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
