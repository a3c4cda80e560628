"""The oci engine on this host's runtimes, in containers of the Bash image."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from executor.runtimes import scan
from executor.sandbox.docker import DockerEngine
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER
from executor.sandbox.hardening import harden
from executor.sandbox.images import Images
from executor.sandbox.oci.channel import PipeChannel
from executor.sandbox.oci.engine import MOUNTS, RUN, OciEngine
from executor.sandbox.oci.namespaces import Namespaces
from executor.sandbox.oci.probe import candidates
from executor.sandbox.oci.roots import Roots
from executor.sandbox.spec import Bind, ContainerSpec
from executor.script import resolve_limits
from executor.settings import LimitBounds, load

RUNTIMES = scan()


class Bench:
    """An engine, and what its containers say."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self.docker = DockerEngine(threads=4)
        self.namespaces = Namespaces(self.docker)
        self.roots = Roots(self.docker, RUN / MOUNTS, folder / "roots")
        self.engine = OciEngine(self.roots, self.namespaces)
        self.runtime = next(found for found in candidates(self.engine.cgroups) if found.name == runtime)
        self.engine.use(self.runtime)
        self.instance = f"test-{uuid.uuid4()}"
        with closing(Images(load().base_image, RUNTIMES)) as images:
            self.image = images.tag_for("bash")

    def spec(
        self, *command: str, binds: tuple[Bind, ...] = (), network: str = "none", **limits: Any
    ) -> ContainerSpec:
        """A container with this command, or as a language's, with nothing to its name but its limits."""
        hardening = harden(RUNTIMES.by_name["bash"], resolve_limits(limits, LimitBounds()))
        labels = {LABEL: self.instance, LABEL_ROLE: "job", LABEL_WORKER: "test"}
        name = f"executor-test-{uuid.uuid4()}"
        return ContainerSpec(
            name, self.image, hardening, labels, binds, network=network, entrypoint=tuple(command)
        )

    async def said(self, *command: str, **more: Any) -> str:
        """All that a container prints until it ends."""
        spec = self.spec(*command, **more)
        try:
            channel = await self.engine.start(spec)
            try:
                return (await everything(channel)).decode()
            finally:
                channel.close()
        finally:
            await self.engine.remove(spec.name)

    async def found(self, script: str, **more: Any) -> Any:
        """The JSON that a shell script prints."""
        return json.loads(await self.said("sh", "-c", script, **more))


async def everything(channel: PipeChannel) -> bytes:
    """What comes out of a container until it ends."""
    content = bytearray()
    while data := await channel.receive():
        content += data
    return bytes(content)


def traces(name: str) -> list[str]:
    """What the host still has of a container."""
    groups = Path("/sys/fs/cgroup").glob(f"*/executor/{name}")
    folders = [*RUN.glob(f"*/{name}"), *RUN.glob(f"*/*/{name}"), *groups]
    return [
        *map(str, folders),
        *(line for line in Path("/proc/mounts").read_text().splitlines() if name in line),
    ]


@pytest.fixture(params=["crun", "runc"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """One for each runtime; no container is left of it."""
    made = Bench(tmp_path, request.param)
    yield made
    left = await made.engine.containers(made.instance)
    for seen in left:
        await made.engine.remove(seen.name)
    made.namespaces.close()
    made.engine.close()
    made.docker.close()
    assert left == []
