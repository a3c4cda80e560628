"""A sandbox whose jobs have egress, on the real engine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from executor.containers import HolderParts, docker_parts, make_sandbox
from executor.reach import USUAL_LIMITS, EgressLimits, Reach
from executor.runtimes import Runtimes
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import Bridge
from executor.sandbox.engines import EngineChoice
from executor.sandbox.firewall import Surroundings
from executor.sandbox.hostnet import look_around
from executor.sandbox.order import Listener, Order
from executor.script import Failed, Isolation, Limits, Returned, Script, resolve_limits
from executor.settings import LimitBounds, Settings
from tests.security.network import CONNECT

EVERYTHING = (Reach("0.0.0.0/0"), Reach("::/0"))
LIMITS = resolve_limits({"timeout_s": 30, "memory_mb": 128}, LimitBounds())


class Bench:
    """A sandbox of its own instance, on the real engine."""

    def __init__(
        self, folder: Path, languages: Runtimes, *, ipv6: bool = False, engine: EngineChoice = "auto"
    ) -> None:
        self.instance = f"test-{uuid.uuid4()}"
        self.runtime = languages.by_name["python3"]
        self.service_port: int | None = None
        self.dns: Callable[[Bridge], tuple[str, ...]] = lambda _: ()
        parts = docker_parts(Settings(engine=engine), languages)
        assert parts.holder is not None
        own = HolderParts(parts.holder.image_tag, self._look_around, ipv6)
        self.engine = parts.engine
        self.sandbox = make_sandbox(
            type(parts)(parts.engine, parts.image_tag, holder=own), folder, self.instance, "test"
        )
        self.claims: list[Isolation] = []
        self.logs: dict[str, str] = {}
        self.bridge: Bridge | None = None

    def _look_around(self, bridge: Bridge) -> Surroundings:
        self.bridge = bridge
        return look_around(bridge, service_port=self.service_port, dns=self.dns(bridge))

    async def _claimed(self, isolation: Isolation) -> None:
        self.claims.append(isolation)

    @property
    def log(self) -> str:
        """What all jobs have written, one after the other."""
        return "".join(self.logs.values())

    @property
    def last_log(self) -> str:
        """What the job that began last has written."""
        return list(self.logs.values())[-1]

    def _log(self, name: str, text: str) -> None:
        self.logs[name] += text

    async def run(
        self,
        source: str,
        *,
        reach: tuple[Reach, ...] = (),
        workspace: str = "main",
        limits: Limits = LIMITS,
        egress: EgressLimits = USUAL_LIMITS,
        **args: Any,
    ) -> Any:
        """Run a script to its end; its result."""
        name = f"executor-{uuid.uuid4()}"
        self.logs[name] = ""
        order = Order(
            name=name,
            runtime=self.runtime,
            script=Script("python3", source, json.dumps(args).encode()),
            limits=limits,
            cancellation=Cancellation(1),
            listener=Listener(claimed=self._claimed, log=partial(self._log, name)),
            workspace=workspace,
            reach=reach,
            egress_limits=egress,
        )
        outcome = await self.sandbox.run(order)
        if isinstance(outcome, Failed):
            return outcome
        assert isinstance(outcome, Returned)
        return json.loads(outcome.value)

    async def reached(
        self, *targets: tuple[str, int], reach: tuple[Reach, ...], workspace: str = "main"
    ) -> Any:
        """What a job of the workspace is told at each target; then it waits until its log knows of that too."""
        return await self.run(CONNECT, reach=reach, workspace=workspace, targets=targets, pause_s=0.1)

    async def holder(self, reach: tuple[Reach, ...] = ()) -> str:
        """The name of the holder, which has these rules."""
        assert self.sandbox.egress is not None
        async with self.sandbox.egress.joined("main", reach) as joined:
            return joined.network.removeprefix("container:")
