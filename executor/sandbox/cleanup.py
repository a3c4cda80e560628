"""Takes ended containers away in the background, and reaps those whose owner is dead.

Removal costs the engine tens of milliseconds that no job should wait for. What a crash leaves
behind carries our labels, and the next start, or the periodic look, removes it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from executor import telemetry
from executor.errors import EngineError
from executor.sandbox.engine import Engine, Seen
from executor.sandbox.slots import Slots

REMOVERS = 4
RETRY_S = 5.0

IsAlive = Callable[[str], Awaitable[bool]]


class Cleanup:
    """Owns every container name from before its creation until it is gone."""

    def __init__(
        self, engine: Engine, folder: Path, instance: str, worker: str, slots: Slots | None = None
    ) -> None:
        self._engine = engine
        self._shared_slots = slots
        self._folder = folder
        self._instance = instance
        self._worker = worker
        self._living: set[str] = set()
        self._removing: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(REMOVERS)

    def owns(self, name: str) -> None:
        """Say that a container of this name may exist from now on."""
        self._living.add(name)

    def discard(self, name: str) -> None:
        """The run is over: remove its container soon, whatever state it is in."""
        self._in_background(name, self._remove)

    def discard_network(self, name: str) -> None:
        """Remove a network as soon as its last container is gone."""
        self._in_background(name, self._remove_network)

    def _in_background(self, name: str, remove: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._living.discard(name)
        if name not in self._removing:
            task = self._removing[name] = asyncio.create_task(remove(name))
            task.add_done_callback(lambda _: self._removing.pop(name, None))

    async def _remove(self, name: str) -> None:
        async with self._slots:
            await _insist(self._engine.remove, name)
        if self._shared_slots is not None:
            self._shared_slots.empty(name)
        await asyncio.to_thread(_forget, self._folder / name)  # a busy disk takes milliseconds for it
        telemetry.containers_removed.inc()

    async def _remove_network(self, name: str) -> None:
        await _insist(self._engine.remove_network, name)  # it may wait for removals that need a slot

    async def settle(self, timeout_s: float) -> None:
        """Wait until what was discarded is gone; what is not after `timeout_s` the next start reaps."""
        if self._removing:
            await asyncio.wait(set(self._removing.values()), timeout=timeout_s)
        for task in list(self._removing.values()):
            task.cancel()

    async def reap(self, is_alive: IsAlive) -> int:
        """Remove every container and network of the instance that no living worker owns.

        Gives the number of containers.
        """
        reaped = 0
        for seen in await self._engine.containers(self._instance):
            if await self._is_left_over(seen, is_alive):
                self.discard(seen.name)
                reaped += 1
        for seen in await self._engine.networks(self._instance):
            if await self._is_left_over(seen, is_alive):
                self.discard_network(seen.name)
        if reaped:
            telemetry.containers_reaped.inc(reaped)
            telemetry.log.info("removing containers without an owner", count=reaped)
        return reaped

    async def _is_left_over(self, seen: Seen, is_alive: IsAlive) -> bool:
        if seen.name in self._living or seen.name in self._removing:
            return False
        return seen.worker == self._worker or not await is_alive(seen.worker)

    def sweep_folders(self) -> None:
        """Delete the directories of containers that a crash left; to be called before any run."""
        for folder in self._folder.glob("*"):
            if folder.name not in self._living:
                shutil.rmtree(folder, ignore_errors=True)


def _forget(folder: Path) -> None:
    """Delete a container's directory: mostly there is nothing in it."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


async def _insist(remove: Callable[[str], Awaitable[None]], name: str) -> None:
    """Remove it, again and again while the engine does not."""
    while True:
        try:
            return await remove(name)
        except EngineError as error:
            telemetry.log.warning("not removed yet", name=name, error=str(error))
            await asyncio.sleep(RETRY_S)
