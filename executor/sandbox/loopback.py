"""One loopback for all jobs of a workspace that have no network, where a job of its own would cost much.

On the docker engine a network namespace costs half of a container's making. With
EXECUTOR_NETWORK_SHARED jobs join that of a holder instead, which has nothing in it but a loopback.
What such jobs share while they run at once: ports on the loopback, abstract sockets, the lists of both.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from executor.sandbox.cleanup import Cleanup
from executor.sandbox.engine import LABEL_ROLE, Engine
from executor.sandbox.hardening import harden_idle_holder
from executor.sandbox.holder import Holder
from executor.sandbox.holders import Holders, Joined, Place, network_of
from executor.sandbox.spec import ContainerSpec

KEEP = ("/bin/cat",)
"""Reads its stdin, to which nobody writes, and ends with it: when the service is gone, so is the holder."""
IDLE_S = 3600.0
"""How long a holder stays without a job: with it goes what waits in its network, and it costs little."""


class Loopbacks:
    """The shared loopbacks of this process, one for each workspace."""

    def __init__(
        self,
        engine: Engine,
        cleanup: Cleanup,
        image_tag: Callable[[], Awaitable[str]],
        labels: dict[str, str],
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._engine = engine
        self._cleanup = cleanup
        self._image_tag = image_tag
        self._labels = labels
        self.holders = Holders(engine, Place, cleanup.discard, idle_s)

    async def serves(self, spec: ContainerSpec) -> bool:
        """Whether a container like this one would join: those of an engine with cheap namespaces do not."""
        return await self._engine.engine_for(spec) == "docker"

    @asynccontextmanager
    async def joined(self, workspace: str) -> AsyncIterator[Joined]:
        """The loopback of the workspace's jobs, for as long as the context lasts.

        Raises ImageMissing, EngineTransient when the holder is lost on the way, EngineError when
        there can be none.
        """
        async with self.holders.needed(workspace) as place:
            async with place.turn:
                if place.holder is None or not place.holder.is_alive:
                    self.holders.drop(place)
                    place.holder = await self._make()
                holder = place.holder
            async with self.holders.explained(holder):
                yield Joined(network_of(holder), kind="none-shared")

    def keep(self, workspace: str) -> None:
        """The workspace's loopback stays while it has no job, as there are containers that wait in it."""
        self.holders.keep(workspace)

    def close(self) -> None:
        """Give up every holder; the clean-up removes them."""
        self.holders.close()

    async def _make(self) -> Holder:
        name = f"executor-loopback-{uuid.uuid4()}"
        spec = ContainerSpec(
            name=name,
            image=await self._image_tag(),
            hardening=harden_idle_holder(),
            labels={**self._labels, LABEL_ROLE: "holder"},
            entrypoint=KEEP,
        )
        self._cleanup.owns(name)
        try:
            return await Holder.start(self._engine, spec)
        except BaseException:
            self._cleanup.discard(name)
            raise
