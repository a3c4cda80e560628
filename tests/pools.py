"""A pool on the fake engine, whose clock a test turns."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.containers import HolderParts, Parts, make_sandbox
from executor.errors import EngineTransient
from executor.runtimes import scan
from executor.sandbox.blank import Bounds
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import LABEL_ROLE
from executor.sandbox.fake import FakeChannel, FakeEngine
from executor.sandbox.firewall import Surroundings
from executor.sandbox.order import Listener, Order
from executor.sandbox.pool import Pool
from executor.sandbox.run import Sandbox
from executor.sandbox.spec import ContainerSpec
from executor.script import Isolation, Outcome, Script, resolve_limits
from executor.settings import LimitBounds

LIMITS = resolve_limits({}, LimitBounds())
GIB = 1024**3
HOURS = 3600.0


class Engine(FakeEngine):
    """A fake engine whose waiting containers may turn out to be gone when the job is written."""

    broken_writes = 0

    async def start(self, spec: ContainerSpec) -> FakeChannel:
        """As any, but the next writes to containers fail, `broken_writes` of them."""
        engine, channel = self, await super().start(spec)

        class Channel(FakeChannel):
            async def send(self, data: bytes) -> None:
                if engine.broken_writes and spec.labels[LABEL_ROLE] == "pool":
                    engine.broken_writes -= 1
                    raise EngineTransient("broken pipe")
                await channel.send(data)

        return Channel(self.living[spec.name])


class Bench:
    """A sandbox with a pool, whose clock the test turns."""

    def __init__(self, folder: Path, count: int = 100, memory_bytes: int = 100 * GIB) -> None:
        self.now = 1000.0
        self.engine = Engine()
        holder = HolderParts(lambda: "image-of-holder", lambda _: Surroundings())
        parts = Parts(self.engine, lambda runtime: f"image-of-{runtime.image_name}", holder=holder)
        sandbox = make_sandbox(parts, folder, "test", "worker")
        bounds = Bounds(count, memory_bytes, cores=2)
        self.pool = Pool(self.engine, sandbox.cleanup, sandbox.own, bounds, clock=lambda: self.now)
        assert sandbox.egress is not None
        sandbox.egress.holders.on_drop = self.pool.drop_network
        self.sandbox: Sandbox = replace(sandbox, pool=self.pool)
        self.claims: list[Isolation] = []

    def order(self, *steps: dict[str, Any], language: str = "python3", **more: Any) -> Order:
        async def claimed(isolation: Isolation) -> None:
            self.claims.append(isolation)

        limits = {key: more.pop(key) for key in ("memory_mb", "cpus", "pids", "tmp_mb") if key in more}
        runtime = more.pop("runtime", None) or scan().by_name[language]
        content = json.dumps(steps or ({"result": 1},))
        script = Script(runtime.name, content, more.pop("args", b"{}"))
        return Order(
            name=f"job-{uuid.uuid4()}",
            runtime=runtime,
            script=script,
            limits=replace(LIMITS, **limits),
            cancellation=Cancellation(0.05),
            listener=Listener(claimed=claimed),
            **more,
        )

    async def run(self, *steps: dict[str, Any], **more: Any) -> Outcome:
        return await self.sandbox.run(self.order(*steps, **more))

    async def warm(self, **more: Any) -> None:
        """Let one container of the language wait, and no more for now."""
        await self.sandbox.warm(self.order(**more))
        await self.fill(looks=1)

    async def fill(self, looks: int = 40, later_s: float = 1.0) -> None:
        """Give the pool the time to make what it wants, and removals theirs."""
        for _ in range(looks):
            self.now += later_s
            self.pool.look()
            await self.settle()

    async def settle(self) -> None:
        """Let every task that can go on do so."""
        for _ in range(60):
            await asyncio.sleep(0)

    def waiting(self) -> list[ContainerSpec]:
        """The containers of the pool that have no job yet."""
        return [
            container.spec
            for container in self.engine.living.values()
            if container.spec.labels[LABEL_ROLE] == "pool"
        ]

    @property
    def roles(self) -> list[str]:
        """What every container so far was started as."""
        return [spec.labels[LABEL_ROLE] for spec in self.engine.started]
