"""Takes ended containers away in the background, and reaps those whose owner is dead.

Removal costs the engine tens of milliseconds that no job should wait for. What a crash leaves
behind carries our labels, and the next start, or the periodic look, removes it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from executor import telemetry
from executor.errors import EngineError
from executor.sandbox.engine import Engine

REMOVERS = 4
RETRY_S = 5.0

IsAlive = Callable[[str], Awaitable[bool]]


class Cleanup:
    """Owns every container name from before its creation until it is gone."""

    def __init__(self, engine: Engine, folder: Path, instance: str, worker: str) -> None:
        self._engine = engine
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
        self._living.discard(name)
        if name not in self._removing:
            task = asyncio.create_task(self._remove(name))
            self._removing[name] = task
            task.add_done_callback(lambda _: self._removing.pop(name, None))

    async def _remove(self, name: str) -> None:
        async with self._slots:
            while True:
                try:
                    await self._engine.remove(name)
                    break
                except EngineError as error:
                    telemetry.log.warning("container not removed yet", container=name, error=str(error))
                    await asyncio.sleep(RETRY_S)
        shutil.rmtree(self._folder / name, ignore_errors=True)
        telemetry.containers_removed.inc()

    async def settle(self, timeout_s: float) -> None:
        """Wait until what was discarded is gone; what is not after `timeout_s` the next start reaps."""
        if self._removing:
            await asyncio.wait(set(self._removing.values()), timeout=timeout_s)
        for task in list(self._removing.values()):
            task.cancel()

    async def reap(self, is_alive: IsAlive) -> int:
        """Remove every container of the instance that no living worker owns; give their number."""
        reaped = 0
        for seen in await self._engine.containers(self._instance):
            if seen.name in self._living or seen.name in self._removing:
                continue
            if seen.worker != self._worker and await is_alive(seen.worker):
                continue
            self.discard(seen.name)
            reaped += 1
        if reaped:
            telemetry.containers_reaped.inc(reaped)
            telemetry.log.info("removing containers without an owner", count=reaped)
        return reaped

    def sweep_folders(self) -> None:
        """Delete the directories of containers that a crash left; to be called before any run."""
        for folder in self._folder.glob("*"):
            if folder.name not in self._living:
                shutil.rmtree(folder, ignore_errors=True)
