"""Network namespaces of other containers, held open while ours may want to join them."""

from __future__ import annotations

import asyncio
import os
import select
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from executor.errors import EngineError

LOOKS, PAUSE_S = 100, 0.05
"""How often, and with which pause, an engine is asked until it has noticed that a process has ended."""


class Processes(Protocol):
    """Who knows the containers' processes; the docker engine does."""

    async def process(self, name: str) -> tuple[int, str] | None:
        """A running container's PID 1 as the host numbers it, and the container's id."""


@dataclass(frozen=True)
class Namespace:
    """A container's network namespace and its process, as descriptors: numbers of processes are used again."""

    network: int
    process: int

    @property
    def path(self) -> Path:
        """Where a runtime finds the namespace."""
        return Path(f"/proc/{os.getpid()}/fd/{self.network}")

    @property
    def is_alive(self) -> bool:
        """Whether the container's process lives; without it the namespace has lost its interfaces."""
        poll = select.poll()
        poll.register(self.process, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Let go of both."""
        os.close(self.network)
        os.close(self.process)


class Namespaces:
    """The namespaces in use, by the names of the containers that have them."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._held: dict[str, Namespace] = {}

    async def of(self, name: str) -> Namespace:
        """The container's; raises EngineError once the container does not run, for whoever looks next too."""
        held = self._held.get(name)
        if held is not None and held.is_alive:
            return held
        found = None if held is not None else await self._find(name)
        if found is None:
            await self.gone(name)
        elif name in self._held:  # somebody else was as fast
            found.close()
        else:
            self._held[name] = found
        return self._held[name]

    async def gone(self, name: str) -> NoReturn:
        """Say that the container has ended, when its engine says so too; always raises EngineError."""
        self.forget(name)
        for _ in range(LOOKS):
            if await self._processes.process(name) is None:
                break
            await asyncio.sleep(PAUSE_S)
        raise EngineError(f"the container {name}, whose network is to be joined, does not run")

    def forget(self, name: str) -> None:
        """Let go of a container's namespace."""
        if (held := self._held.pop(name, None)) is not None:
            held.close()

    def close(self) -> None:
        """Let go of all."""
        for name in list(self._held):
            self.forget(name)

    async def _find(self, name: str) -> Namespace | None:
        found = await self._processes.process(name)
        return None if found is None else _open(*found)


def _open(pid: int, container_id: str) -> Namespace | None:
    """The namespace of a process that is that container's, not of another one that has its number now."""
    opened: list[int] = []
    try:
        opened.append(folder := os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY))
        opened.append(process := os.pidfd_open(pid))
        # The folder stays that of the process it was opened for; so what is read in it is of one.
        with open(os.open("cgroup", os.O_RDONLY, dir_fd=folder), encoding="utf-8") as groups:
            if container_id not in groups.read():
                return None
        network = os.open("ns/net", os.O_RDONLY, dir_fd=folder)
        opened.remove(process)
        return Namespace(network, process)
    except OSError:
        return None
    finally:
        for descriptor in opened:
            os.close(descriptor)
