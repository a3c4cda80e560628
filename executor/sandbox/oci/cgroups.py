"""Control groups of containers, as the kernel shows them in files: limits, ends, removal.

Version 1 has a tree for each controller, version 2 one for all; a hybrid host has both, with the
controllers in version 1. A container's group has the same path in every tree.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.socketbound import bound_sockets
from executor.sandbox.spec import Hardening

ROOT = Path("/sys/fs/cgroup")
FOLDER = "executor"
"""The group that all containers' groups are in."""
PERIOD_US = 100_000
EMPTY_S = 10.0
"""How long killed processes may take to be gone; they may be in the middle of a write to a slow disk."""
POLL_S = 0.001


@dataclass(frozen=True)
class Cgroups:
    """The trees of this host."""

    version: int
    trees: tuple[Path, ...]
    unified: Path | None = None
    """The second version's tree beside the first's, on a hybrid host."""

    @classmethod
    def of(cls, root: Path = ROOT) -> Cgroups:
        """What is mounted below `root`; no tree at all if there is nothing."""
        if (root / "cgroup.controllers").exists():
            return cls(2, (root,))
        unified = root / "unified"
        found = sorted({path.resolve() for path in root.glob("*") if (path / "cgroup.procs").exists()})
        is_hybrid = (unified / "cgroup.controllers").exists()
        return cls(1, tuple(found), unified if is_hybrid else None)

    @property
    def shown(self) -> str:
        """For people."""
        return "1, hybrid" if self.unified else str(self.version)

    @property
    def names(self) -> tuple[str, ...]:
        """What version 1's trees are called; version 2's one tree has no name."""
        return tuple(tree.name for tree in self.trees) if self.version == 1 else ()

    @property
    def limits_swap(self) -> bool:
        """Whether a limit on swap can be set; a kernel may account for memory only."""
        memory = self._tree("memory")
        return self.version == 2 or (memory / "memory.memsw.limit_in_bytes").exists()

    def path(self, name: str) -> str:
        """The container's group, as an OCI runtime wants it said."""
        return f"/{FOLDER}/{name}"

    def is_alive(self, name: str) -> bool:
        """Whether a process of the container is left."""
        return any(True for _ in self._pids(name))

    def oom_kills(self, name: str) -> int:
        """How many of the container's processes the kernel ended for want of memory."""
        file = "memory.oom_control" if self.version == 1 else "memory.events"
        try:
            lines = (self._group("memory", name) / file).read_text("ascii").splitlines()
        except OSError:
            return 0
        found = (line.split() for line in lines)
        return sum(int(words[1]) for words in found if len(words) == 2 and words[0] == "oom_kill")

    def limits(self, name: str) -> dict[str, str]:
        """The limits in force: memory in bytes, cpu in microseconds of 100,000, pids; raises OSError."""
        files = {"memory": "memory.max", "cpu": "cpu.max", "pids": "pids.max"}
        if self.version == 1:
            files |= {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us"}
        said = {kind: (self._group(kind, name) / file).read_text("ascii") for kind, file in files.items()}
        return {kind: text.split()[0] for kind, text in said.items()}

    def limit(self, name: str, hard: Hardening) -> None:
        """Give a running container other limits of memory, cpu and processes; raises OSError."""
        write = {1: self._limit_1, 2: self._limit_2}[self.version]
        write(name, hard)

    def bound_sockets(self, name: str, limit_bytes: int) -> None:
        """Bound the buffers of the container's sockets, where they are not memory like any other."""
        if self.version == 1:
            bound_sockets(self._group("memory", name), limit_bytes)

    def kill(self, name: str) -> None:
        """SIGKILL to every process of the container."""
        if self.version == 2:
            with suppress(OSError):  # the kernel's own way, from Linux 5.14 on
                return _write(self._group("", name) / "cgroup.kill", 1)
        for pid in self._pids(name):
            self._kill_one(name, pid)

    def remove(self, name: str) -> None:
        """End what is left of the container and delete its groups; raises OSError if it does not go.

        Blocks, mostly for less than a millisecond.
        """
        deadline = time.monotonic() + EMPTY_S
        while True:
            try:  # most have ended by themselves; the kernel deletes no group that has a process
                for tree in self.trees:
                    _delete(tree / FOLDER / name)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
            self.kill(name)
            time.sleep(POLL_S)

    # ------------------------------------------------------------ files

    def _tree(self, controller: str) -> Path:
        """Where a controller is; on version 1 it may share a tree, as in `cpu,cpuacct`."""
        if self.version == 2:
            return self.trees[0]
        for tree in self.trees:
            if controller in tree.name.split(","):
                return tree
        return ROOT / controller  # not mounted: nothing is found there, and nothing can be set

    def _group(self, controller: str, name: str) -> Path:
        return self._tree(controller) / FOLDER / name

    def _pids(self, name: str) -> Iterator[int]:
        group = self._group("pids", name)
        for folder in (group, *(path for path in group.glob("**/*/") if path != group)):
            with suppress(OSError):
                yield from map(int, (folder / "cgroup.procs").read_text("ascii").split())

    def _kill_one(self, name: str, pid: int) -> None:
        """Kill a process that is the container's, and not one that got its number since we looked."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # it has ended
            return
        try:
            if pid in self._pids(name):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)

    def _limit_1(self, name: str, hard: Hardening) -> None:
        memory = self._group("memory", name)
        bounds = {"memory.limit_in_bytes": hard.memory_bytes}
        if self.limits_swap:
            # Memory must never be above memory and swap together: which goes first depends.
            bounds["memory.memsw.limit_in_bytes"] = hard.memory_bytes + hard.swap_bytes
            now = int((memory / "memory.limit_in_bytes").read_text("ascii"))
            if hard.memory_bytes > now:
                bounds = dict(reversed(bounds.items()))
        for file, value in bounds.items():
            _write(memory / file, value)
        _write(self._group("cpu", name) / "cpu.cfs_quota_us", round(hard.cpus * PERIOD_US))
        _write(self._group("pids", name) / "pids.max", hard.pids)

    def _limit_2(self, name: str, hard: Hardening) -> None:
        group = self._group("", name)
        _write(group / "memory.max", hard.memory_bytes)
        _write(group / "memory.swap.max", hard.swap_bytes)
        _write(group / "cpu.max", f"{round(hard.cpus * PERIOD_US)} {PERIOD_US}")
        _write(group / "pids.max", hard.pids)


def _write(path: Path, value: int | str) -> None:
    """Write to a file of the kernel's, which must be there: one that is made by writing limits nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, f"{value}\n".encode())
    finally:
        os.close(descriptor)


def _delete(group: Path) -> None:
    """Delete a group and the groups in it, which a script cannot make but a runtime may."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        for inner in (path for path in group.glob("*/") if path.is_dir()):
            _delete(inner)
        group.rmdir()
