"""Runs the cases on this host's engine, one after another, and looks at what each leaves behind."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from executor.cli.abuse.cases import LIMITS, Case
from executor.errors import ExecutorError
from executor.runtimes import Runtimes
from executor.sandbox.conversation import Cancellation
from executor.sandbox.hostnet import own_addresses
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.script import Isolation, Outcome, Script, compact_json, resolve_limits
from executor.settings import LimitBounds

SECRET = "EXECUTOR_DOCTOR_SECRET"
MARKER = "MARKER"
LEAVE_S = 10
LOG_BYTES_KEPT = 1 << 20
HELLO = Case(
    id="hello",
    area="afterwards",
    tries="a plain script, after all of these",
    must="work as ever",
    language="bash",
    content="echo '\"hello\"' > result.json",
    result="hello",
)


NOTHING_LEFT = Case(
    id="nothing-left",
    area="afterwards",
    tries="look for containers of all of these",
    must="find none",
    language="",
    content="",
)


@dataclass(frozen=True)
class Attempt:
    """A case that was tried: `happened` says in words how it ended, `ok` whether that is how it must."""

    case: Case
    ok: bool
    happened: str
    took_s: float
    isolation: Isolation | None = None


@dataclass
class Tried:
    """One job's account, as it comes in."""

    log: bytearray = field(default_factory=bytearray)
    isolation: Isolation | None = None

    async def claimed(self, isolation: Isolation) -> None:
        """The container it runs in."""
        self.isolation = isolation

    def told(self, text: str) -> None:
        """A piece of its log, of which only the first is kept."""
        if len(self.log) < LOG_BYTES_KEPT:
            self.log += text.encode()


@dataclass
class Callers:
    """Listeners on every address of this host, at one port."""

    addresses: list[str]
    port: int
    sockets: list[socket.socket]

    def heard(self) -> bool:
        """Whether anybody has connected since the last call."""
        heard = False
        for one in self.sockets:
            with suppress(BlockingIOError):
                one.accept()[0].close()
                heard = True
        return heard


@contextmanager
def listening() -> Iterator[Callers]:
    """Listen on all addresses of this host, IPv4 and, where there is, IPv6."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("0.0.0.0", 0)))]
        port = sockets[0].getsockname()[1]
        if socket.has_dualstack_ipv6():
            with suppress(OSError):  # another process has that port there, or IPv6 is off
                sockets.append(
                    stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6))
                )
        for one in sockets:
            one.setblocking(False)
        yield Callers(own_addresses(Path("/proc")), port, sockets)


class Trials:
    """Cases tried in a sandbox whose containers carry the label of `instance`."""

    def __init__(self, sandbox: Sandbox, runtimes: Runtimes, bounds: LimitBounds, instance: str) -> None:
        self._sandbox = sandbox
        self._runtimes = runtimes
        self._bounds = bounds
        self._instance = instance

    async def all(self, cases: list[Case]) -> AsyncIterator[Attempt]:
        """Each case as it ends, then whether the host is as it was. Raises nothing for a case that fails."""
        with listening() as callers, secret_in_environment():
            for case in cases:
                yield await self.one(case, callers)
            yield await self.one(HELLO, callers)
        yield await self._nothing_left()

    async def one(self, case: Case, callers: Callers) -> Attempt:
        """Try one case."""
        began = time.monotonic()
        marker = f"{random.randrange(10**11, 10**12)}"
        tried = Tried()
        try:
            if case.before:
                await self._run(case, case.before, marker, callers, Tried())
            outcome = await self._run(case, case.content, marker, callers, tried)
        except ExecutorError as error:
            return Attempt(case, False, f"could not be tried: {error}", time.monotonic() - began)
        took = time.monotonic() - began
        objection = case.objection(outcome, tried.log.decode("utf-8", "replace"))
        if objection is None and (left := await _left_running(marker)):
            objection = f"left on the host: {', '.join(left)}"
        if objection is None and callers.heard():
            objection = "a listener of this host was called"
        return Attempt(case, objection is None, objection or "held", took, tried.isolation)

    async def _run(self, case: Case, content: str, marker: str, callers: Callers, tried: Tried) -> Outcome:
        runtime = self._runtimes.find(case.language)
        if runtime is None:
            raise ExecutorError(f"there is no runtime {case.language!r} here")
        told = {"addresses": callers.addresses, "port": callers.port} if case.is_told else {}
        order = Order(
            name=f"executor-{self._instance}-{uuid.uuid4()}",
            runtime=runtime,
            script=Script(runtime.name, content.replace(MARKER, marker), args=compact_json(told)),
            limits=resolve_limits({**LIMITS, **case.limits}, self._bounds),
            cancellation=Cancellation(1.0),
            listener=Listener(claimed=tried.claimed, log=tried.told),
        )
        return await self._sandbox.run(order)

    async def _nothing_left(self) -> Attempt:
        began = time.monotonic()
        await self._sandbox.close(LEAVE_S)
        left = [seen.name for seen in await self._sandbox.engine.containers(self._instance)]
        return Attempt(
            NOTHING_LEFT, not left, f"left: {', '.join(left)}" if left else "held", time.monotonic() - began
        )


@contextmanager
def secret_in_environment() -> Iterator[None]:
    """A secret that no script may find, in our own environment."""
    os.environ[SECRET] = uuid.uuid4().hex
    try:
        yield
    finally:
        del os.environ[SECRET]


async def _left_running(marker: str) -> list[str]:
    """Command lines of this host's processes with the marker in them, once they had time to go."""
    until = time.monotonic() + LEAVE_S
    while (found := _with(marker)) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells of the end
        await asyncio.sleep(0.05)
    return found


def _with(marker: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            if marker in line:
                found.append(line)
    return found
