"""Two engines as one: containers of our own images by the oci engine, everything else by docker.

Which container is whose is not remembered over a restart: the oci engine has a folder for each of its
own, and what has none is docker's. What oci left is found and removed whatever engine is chosen now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from executor import telemetry
from executor.errors import ConfigurationError, EngineError
from executor.sandbox.docker import DockerEngine
from executor.sandbox.engine import Bridge, Channel, Containers, Ended, EngineInfo, Maker, Seen
from executor.sandbox.oci.bundle import obstacle
from executor.sandbox.oci.engine import MOUNTS, RUN, OciEngine
from executor.sandbox.oci.namespaces import Namespaces
from executor.sandbox.oci.probe import choose
from executor.sandbox.oci.roots import Roots
from executor.sandbox.references import Reference
from executor.sandbox.runtimeclass import RuntimeClasses
from executor.sandbox.spec import ContainerSpec, Hardening, ImageSeen

EngineChoice = Literal["auto", "docker", "oci"]


@dataclass(frozen=True)
class Decision:
    """Whether the oci engine makes our containers; the reasons against it, or against a better runtime."""

    is_fast: bool
    reasons: tuple[str, ...] = ()


class Engines:
    """`executor.sandbox.engine.Engine` over docker and, where it works, oci.

    `probe_image` names the image of ours with which the oci engine is tried before its first use;
    `unpacked` holds images' trees where Docker's layers cannot be mounted.
    """

    def __init__(
        self,
        docker: DockerEngine,
        choice: EngineChoice,
        probe_image: Callable[[], str],
        unpacked: Path,
        run: Path = RUN,
        *,
        user_namespaces: bool = True,
    ) -> None:
        self._docker = docker
        self._choice = choice
        self._probe_image = probe_image
        self._namespaces = Namespaces(docker)
        self._roots = Roots(docker, run / MOUNTS, unpacked)
        self._oci = OciEngine(self._roots, self._namespaces, run)
        self._decision = Decision(False, ("EXECUTOR_ENGINE=docker",)) if choice == "docker" else None
        self._deciding = asyncio.Lock()
        self._ours: set[str] = set()
        self._on_oci: set[str] = set()
        self._wants_users = user_namespaces
        self._classes = RuntimeClasses(docker, self._oci, choice)

    @property
    def name(self) -> str:
        """The engine that makes the containers of our own images."""
        return self._main.name

    @property
    def runtime(self) -> str:
        """That engine's runtime."""
        return self._main.runtime

    def maker(self, name: str) -> Maker:
        """The engine that has the container, and its runtime."""
        engine = self._engine_of(name)
        return Maker(engine.name, engine.ran(name))

    async def unfit(self, runtime_class: str) -> str | None:
        """Why no container of ours can have this runtime here. Without an image of ours that is not known: None."""
        image = await asyncio.to_thread(self._probe_image)
        if not await self._docker.has_image(image):
            return None
        if self._choice != "docker":
            await self._decide(image)
        return (await self._classes.find(runtime_class, image)).why_not

    async def engine_for(self, spec: ContainerSpec) -> str:
        """The engine that suits such a container best."""
        return self._oci.name if await self._is_for_oci(spec) else self._docker.name

    async def settle(self) -> None:
        """Find out which engine works, if that can be known yet.

        Raises ConfigurationError when EXECUTOR_ENGINE asks for one that does not. Without an image
        of ours, or without docker, nothing can be tried; then the first container decides.
        """
        if self._decision is None:
            try:
                image = await asyncio.to_thread(self._probe_image)
                if not await self._docker.has_image(image):
                    return
                await self._decide(image)
            except EngineError as error:
                telemetry.log.debug("the engines could not be tried yet", error=str(error))
        if self._choice == "oci" and self._decision is not None and not self._decision.is_fast:
            raise ConfigurationError(_refusal(self._decision))

    async def start(self, spec: ContainerSpec) -> Channel:
        """Start the container on the engine that suits it best."""
        if not await self._is_for_oci(spec):
            if spec.runtime_class is not None:
                await self._classes.check_docker(
                    spec.runtime_class, await asyncio.to_thread(self._probe_image)
                )
            return await self._docker.start(spec)
        self._on_oci.add(spec.name)
        return await self._oci.start(spec)

    async def ended(self, name: str) -> Ended:
        """Why a container's stream may have ended."""
        return await self._engine_of(name).ended(name)

    async def kill(self, name: str) -> None:
        """End every process of the container at once."""
        await self._engine_of(name).kill(name)

    async def remove(self, name: str) -> None:
        """Delete the container, and what we hold of its network."""
        self._namespaces.forget(name)
        await self._engine_of(name).remove(name)
        self._on_oci.discard(name)

    async def update(self, name: str, hardening: Hardening) -> bool:
        """Other limits for a running container."""
        return await self._engine_of(name).update(name, hardening)

    async def containers(self, instance: str) -> list[Seen]:
        """The instance's containers on both engines."""
        return [*await self._oci.containers(instance), *await self._docker.containers(instance)]

    async def make_network(self, name: str, labels: Mapping[str, str], *, ipv6: bool) -> Bridge:
        """Docker's."""
        return await self._docker.make_network(name, labels, ipv6=ipv6)

    async def remove_network(self, name: str) -> None:
        """Docker's."""
        await self._docker.remove_network(name)

    async def networks(self, instance: str) -> list[Seen]:
        """Docker's."""
        return await self._docker.networks(instance)

    async def info(self) -> EngineInfo:
        """Docker's account, with what is used for what; raises EngineUnreachable without docker."""
        info = await self._docker.info()
        if self._decision is None:
            await self.settle()
        docker = f"docker {info.version} with {info.runtime}"
        decided = self._decision or Decision(False, ("oci can be tried once an image of ours is built",))
        why = f" ({'; '.join(decided.reasons)})" if decided.reasons else ""
        if not decided.is_fast:
            return replace(info, about=f"{docker}, cgroup v{info.cgroup_version}{why}")
        groups = self._oci.cgroups.shown
        users = " in user namespaces" if self._oci.maps_users else ""
        about = f"oci with {self._oci.runtime}{users} for our own images, {docker} for the rest, cgroup v{groups}{why}"
        return replace(info, about=about)

    async def has_image(self, tag: str) -> bool:
        """Whether docker has it."""
        return await self._docker.has_image(tag)

    async def image(self, reference: str) -> ImageSeen | None:
        """Docker's."""
        return await self._docker.image(reference)

    async def pull(self, reference: Reference) -> None:
        """By docker."""
        await self._docker.pull(reference)

    async def files(self, spec: ContainerSpec, path: str) -> bytes:
        """By docker."""
        return await self._docker.files(spec, path)

    def close(self) -> None:
        """Give up both; containers are not touched."""
        self._namespaces.close()
        self._oci.close()
        self._docker.close()

    # ------------------------------------------------------------ which engine

    @property
    def _main(self) -> Containers:
        return self._oci if self._decision is not None and self._decision.is_fast else self._docker

    def _engine_of(self, name: str) -> OciEngine | DockerEngine:
        return self._oci if name in self._on_oci or self._oci.has(name) else self._docker

    async def _is_for_oci(self, spec: ContainerSpec) -> bool:
        if self._choice == "docker":
            return False
        is_slow = self._decision is not None and not self._decision.is_fast and self._choice != "oci"
        if is_slow and spec.runtime_class is None:
            return False
        if obstacle(spec) is not None or not await self._is_ours(spec.image):
            return False
        decision = await self._decide(spec.image)
        if spec.runtime_class is not None:
            return await self._classes.is_for_oci(spec.runtime_class, spec.image)
        if not decision.is_fast and self._choice == "oci":
            raise EngineError(_refusal(decision))
        return decision.is_fast

    async def _is_ours(self, reference: str) -> bool:
        if reference not in self._ours:
            image = await self._docker.image(reference)
            if image is None or not image.is_ours:
                return False
            self._ours.add(reference)
        return True

    async def _decide(self, image: str) -> Decision:
        """Try the oci engine, once."""
        async with self._deciding:
            if self._decision is None:
                choice = await choose(self._oci, image, wants_users=self._wants_users)
                self._decision = Decision(choice.runtime is not None, choice.obstacles)
                _tell(choice.runtime is not None, self._oci.runtime, choice.obstacles)
                if choice.runtime is not None:
                    await self._roots.sweep()
            return self._decision


def _refusal(decision: Decision) -> str:
    return (
        f"EXECUTOR_ENGINE='oci' does not work here: {'; '.join(decision.reasons)}; "
        "mend that, or set EXECUTOR_ENGINE=auto to fall back to docker"
    )


def _tell(is_fast: bool, runtime: str, reasons: tuple[str, ...]) -> None:
    why = "; ".join(reasons)
    if not is_fast:
        telemetry.log.warning("our containers run on docker, which takes several times as long", why=why)
    elif reasons:
        telemetry.log.info("our containers run on the oci engine", runtime=runtime, not_better_because=why)
