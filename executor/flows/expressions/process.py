"""One child process, seen from the service: start it, have it evaluate, kill it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import executor
from executor.errors import Unavailable
from executor.flows.expressions import frames
from executor.flows.expressions.scope import ExpressionCallFailed

Answer = Callable[[str, str], Awaitable["bytes | None"]]
"""Answers a child's question (what, key); None: there is no such value. Raises ExpressionCallFailed."""

PACKAGES = Path(executor.__file__).parent.parent
PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from executor.flows.expressions.child import main; main(sys.argv[1])"
START_S = 30.0
"""How long a child may take to boot, on a host under load."""
BUFFER_BYTES = 1 << 20
QUESTIONS_MAX = 10_000
"""Questions of one evaluation that are answered: an endless loop must not keep the scope busy till its time is over."""
VALUE_BYTES_MAX = 128 << 20
"""Bytes of the biggest value that is sent to a child; it could not take in a bigger one."""
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
"""Signals that no expression can bring upon its child."""


@dataclass(frozen=True)
class ChildLimits:
    """What one evaluation may use: seconds of wall time, MiB of JavaScript memory, bytes of result."""

    timeout_s: float
    memory_mb: int
    result_bytes: int


class EvaluationFailed(Exception):
    """The expression failed; the message is the detail."""


class ChildDied(Exception):
    """The child process ended in the middle of an evaluation."""

    def __init__(self, code: int | None) -> None:
        name = "it closed its output" if code is None else _ending(code)
        super().__init__(name)
        self.from_outside = code is not None and -code in OUTSIDE
        """Whether somebody else ended it: then the expression is not to blame."""
        self.by_its_alarm = code == -signal.SIGALRM
        """Whether it ended itself because the time was over and we had not noticed."""


class Child:
    """A process that evaluates one expression at a time. Kill it unless it answered the last one."""

    def __init__(self, process: asyncio.subprocess.Process, limits: ChildLimits) -> None:
        assert process.stdin is not None, "BUG: the child has no stdin"
        assert process.stdout is not None, "BUG: the child has no stdout"
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._limits = limits
        self._frame_bytes_max = frames.QUESTION_BYTES
        self.evaluations = 0

    @classmethod
    async def start(cls, limits: ChildLimits) -> Child:
        """Start a process and wait until it is ready. Raises Unavailable."""
        # No site packages are set up in it (-S): it takes our own path, and boots in half the time.
        path = [entry for entry in sys.path if os.path.isabs(entry)]
        arguments = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            PROGRAM,
            json.dumps(asdict(limits)),
            *path,
            str(PACKAGES),
        ]
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={},
                cwd="/",
                limit=BUFFER_BYTES,
                start_new_session=True,  # a Ctrl-C at the terminal is the service's to handle
            )
        except OSError as error:
            raise Unavailable(f"no process for expressions can be started: {error}") from error
        child = cls(process, limits)
        try:
            async with asyncio.timeout(START_S):
                kind, _ = await child._frame()
        except (TimeoutError, ChildDied) as error:
            await child.kill()
            raise Unavailable(f"a process for expressions did not start: {error or 'too slow'}") from error
        except BaseException:
            child.kill_now()
            raise
        assert kind == frames.READY, f"BUG: a child began with {kind!r}"
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is known to run."""
        return self._process.returncode is None

    async def evaluate(self, request: dict[str, Any], answer: Answer) -> bytes:
        """Have `request` evaluated, answering the child's questions; return the value as JSON text.

        Raises EvaluationFailed, ChildDied, and whatever `answer` raises but ExpressionCallFailed.
        """
        self.evaluations += 1
        questions = 0
        self._frame_bytes_max = max(self._limits.result_bytes, frames.QUESTION_BYTES)
        await self._send(frames.EVALUATE, json.dumps(request).encode())
        while True:
            kind, payload = await self._frame()
            if kind == frames.RESULT:
                return payload
            if kind == frames.FAILED:
                raise EvaluationFailed(payload.decode())
            assert kind == frames.ASK, f"BUG: a child sent {kind!r}"
            questions += 1
            if questions > QUESTIONS_MAX:
                await self._send(frames.REFUSED, f"more than {QUESTIONS_MAX} values were asked for".encode())
            else:
                await self._answer(payload, answer)

    async def kill(self) -> None:
        """Kill the process and wait for its end.

        asyncio knows of it only once stdout has ended, which it does not read on while its buffer is full: of a
        child that was killed amid a large answer nobody would ever hear.
        """
        self.kill_now()
        while await self._stdout.read(BUFFER_BYTES):
            pass
        await self._process.wait()

    def kill_now(self) -> None:
        """Kill the process; the event loop reaps it."""
        if self.alive:
            self._process.kill()
        self._stdin.close()

    async def _answer(self, question: bytes, answer: Answer) -> None:
        what, key = json.loads(question)
        try:
            value = await answer(what, key)
        except ExpressionCallFailed as failure:
            await self._send(frames.REFUSED, str(failure).encode("utf-8", "replace"))
            return
        if value is None:
            await self._send(frames.UNKNOWN)
        elif len(value) > VALUE_BYTES_MAX:
            await self._send(frames.REFUSED, b"the value is over %d bytes" % VALUE_BYTES_MAX)
        else:
            # A path into this value may give nearly all of it, whatever the limit of computed results.
            self._frame_bytes_max = max(self._frame_bytes_max, len(value))
            await self._send(frames.VALUE, value)

    async def _send(self, kind: bytes, payload: bytes = b"") -> None:
        try:
            self._stdin.write(frames.HEAD.pack(kind, len(payload)))
            self._stdin.write(payload)
            await self._stdin.drain()
        except ConnectionError:
            raise ChildDied(await self._code()) from None

    async def _frame(self) -> tuple[bytes, bytes]:
        try:
            kind, length = frames.HEAD.unpack(await self._stdout.readexactly(frames.HEAD.size))
            # A bound before we read on: whatever took a child over could only claim more.
            assert length <= self._frame_bytes_max, "BUG: a child's frame is too long"
            return kind, await self._stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ChildDied(await self._code()) from None

    async def _code(self) -> int | None:
        """The exit code of a process whose pipes are closed."""
        try:
            async with asyncio.timeout(1):
                return await self._process.wait()
        except TimeoutError:
            return None


def _ending(code: int) -> str:
    """An exit code in words."""
    try:
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    except ValueError:
        return f"ended by signal {-code}"
