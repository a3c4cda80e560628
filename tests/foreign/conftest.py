"""A workshop for images, and a sandbox that runs scripts in them."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.containers import docker_parts, make_sandbox
from executor.runtimes import scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.script import Failed, Isolation, Outcome, Returned, Script, resolve_limits
from executor.settings import load
from tests.foreign.workshop import Workshop

RUNTIMES = scan()


class Bench:
    """Runs scripts; settings may be given before the first."""

    def __init__(self, folder: Path, workshop: Workshop) -> None:
        self.folder = folder
        self._workshop = workshop
        self.instance = f"test-{uuid.uuid4()}"
        self.cancellation = Cancellation(1)
        self.log = ""
        self.isolation: Isolation | None = None
        self.policy: tuple[str, ...] | None = None
        self.looked: Any = None
        self._used: list[Sandbox] = []
        self.set()

    def set(self, **settings: Any) -> None:
        """Use these settings from now on."""
        self.settings = load(**{"images": "*, 127.0.0.1:*/*", **settings})
        self.parts = docker_parts(self.settings, RUNTIMES)
        self.sandbox: Sandbox = make_sandbox(
            self.parts, self.folder / "in", self.instance, "test", tools=self.folder / "tools"
        )
        self._used.append(self.sandbox)

    async def close(self) -> None:
        """Let what was discarded go."""
        for sandbox in self._used:
            await sandbox.cleanup.settle(30)
            sandbox.engine.close()

    async def run(self, content: str, language: str = "docker", args: Any = None, **limits: Any) -> Outcome:
        """Run a script; its log, and how it was isolated, are here afterwards."""
        self.log = ""
        order = Order(
            name=f"executor-test-{uuid.uuid4()}",
            runtime=RUNTIMES.by_name[language],
            script=Script(language, content, json.dumps(args or {}).encode(), {"GIVEN": "by the job"}),
            limits=resolve_limits(limits, self.settings.limits),
            cancellation=self.cancellation,
            listener=Listener(claimed=self._claimed, log=self._logged),
            images=self.policy,
        )
        return await self.sandbox.run(order)

    async def result(self, content: str, language: str = "docker", **more: Any) -> Any:
        """The script's result."""
        outcome = await self.run(content, language, **more)
        assert isinstance(outcome, Returned), (outcome, self.log)
        return json.loads(outcome.value)

    async def failure(self, content: str, language: str = "docker", **more: Any) -> Failed:
        """Why the script failed."""
        outcome = await self.run(content, language, **more)
        assert isinstance(outcome, Failed), outcome
        return outcome

    async def _claimed(self, isolation: Isolation) -> None:
        self.isolation = isolation
        seen = self._workshop.api.inspect_container(isolation.container)
        for mount in seen["Mounts"]:
            assert (mount["Type"], mount["RW"]) == ("bind", False), "a volume would be without bounds"
        if self.looked is not None:
            self.looked(seen)

    def _logged(self, text: str) -> None:
        self.log += text


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    """One workshop for all tests here."""
    made = Workshop()
    yield made
    made.close()


@pytest.fixture
async def bench(workshop: Workshop) -> AsyncIterator[Bench]:
    """A bench; no container is left of it."""
    with tempfile.TemporaryDirectory(prefix="executor-foreign-") as folder:
        Path(folder).chmod(0o711)
        made = Bench(Path(folder), workshop)
        yield made
        await made.close()
        left = workshop.api.containers(all=True, filters={"label": f"executor={made.instance}"})
        assert left == []
