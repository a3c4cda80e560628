"""Calls the OCI runtime: a process that makes a container and ends, waited for without a thread.

crun refuses a host with both versions of cgroups mounted ("hybrid"), unless it does not see the
second one. So one thread of this process, which does nothing else, takes a mount namespace of its
own for the moment of each call, hides that hierarchy there and starts crun from it. That costs a
third of a millisecond, no further process, and shows the container every mount there is now,
whatever the propagation of the host's mounts.

A runtime does not run from a file that a container could write to: it looks for seals on its own
program, and without them copies itself and starts again, which costs half of what it takes to
start. So it is called from one copy in memory that is sealed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox import kernel

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""What crun and runc look for."""

Streams = tuple[int, int, int]
"""Descriptors of a stdin, a stdout and a stderr. Runtimes give them to the container's user: only pipes will do."""


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime of this host: its name, its program, and what has to be hidden from it."""

    name: str
    program: str
    hidden: tuple[Path, ...] = ()

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.name} without {', '.join(map(str, self.hidden))}" if self.hidden else self.name


class Called:
    """A runtime at work; its end can be awaited by many."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ended = asyncio.get_running_loop().create_future()
        self._descriptor = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set_result(self._process.wait())

    async def code(self) -> int:
        """Its exit code, once it has ended; negative after a signal."""
        return int(await asyncio.shield(self._ended))

    def kill(self) -> None:
        """End it, if it has not ended yet."""
        if not self._ended.done():
            self._process.send_signal(signal.SIGKILL)


class Spawner:
    """Starts runtimes, one after the other, from a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="oci-spawn")
        self._sealed: dict[str, Sealed] = {}

    async def call(self, runtime: Runtime, arguments: Sequence[str], streams: Streams) -> Called:
        """Start the runtime with these streams, which its container inherits; raises OSError."""
        argv = [runtime.program, *arguments]
        loop = asyncio.get_running_loop()
        process = await loop.run_in_executor(self._thread, self._start, runtime, argv, streams)
        return Called(process)

    def close(self) -> None:
        """Give up the thread, at the latest when it has started what it is starting, and the copies."""
        self._thread.shutdown(cancel_futures=True)
        for sealed in self._sealed.values():
            sealed.close()

    def _start(self, runtime: Runtime, argv: list[str], streams: Streams) -> subprocess.Popen[bytes]:
        """In the thread."""
        if (sealed := self._sealed.get(runtime.program)) is None:
            sealed = self._sealed[runtime.program] = Sealed(runtime.program)
        return _start(sealed.path, runtime.hidden, argv, streams)


class Sealed:
    """A program's copy in memory, which nobody can change; raises OSError if there is no such program."""

    def __init__(self, program: str) -> None:
        content = Path(program).read_bytes()
        self._descriptor: int | None = None
        try:
            self._descriptor = os.memfd_create(Path(program).name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with os.fdopen(self._descriptor, "wb", closefd=False) as copy:
                copy.write(content)
            os.fchmod(self._descriptor, 0o555)
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, SEALS)
            self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        except OSError:  # a host may allow no program in memory (vm.memfd_noexec)
            self.close()
            self.path = program

    def close(self) -> None:
        """Let go of the copy."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _start(
    program: str, hidden: Sequence[Path], argv: list[str], streams: Streams
) -> subprocess.Popen[bytes]:
    if not hidden:
        return _spawn(program, argv, streams)
    outside = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        kernel.leave_mounts()
        try:
            for path in hidden:
                # Writable: the runtime makes folders there for groups that it takes for unlimited.
                kernel.mount("tmpfs", path, "tmpfs", 0, "mode=755")
            return _spawn(program, argv, streams)
        finally:
            kernel.enter_mounts(outside)
    finally:
        os.close(outside)


def _spawn(program: str, argv: list[str], streams: Streams) -> subprocess.Popen[bytes]:
    """Popen without anything that would keep it from vfork: a fork copies the tables of a big process."""
    environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C"}
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        argv, executable=program, stdin=stdin, stdout=stdout, stderr=stderr, env=environment
    )
