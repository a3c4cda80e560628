"""Which OCI runtime a workspace's policy may ask for here, and which engine then makes the containers.

A runtime counts if a container under it was kept within its limits (`limitprobe`); that is tried once,
when it is first asked for.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field

from executor.debian import find_program
from executor.errors import EngineError
from executor.sandbox.docker import DockerEngine
from executor.sandbox.limitprobe import exceeds
from executor.sandbox.oci.engine import OciEngine
from executor.sandbox.oci.probe import candidates, complaints
from executor.sandbox.oci.spawn import Runtime

AGAIN_S = 60.0
OURS = ("crun", "runc")
"""Runtimes whose containers share the host's kernel, so that what is seen inside can be judged."""


@dataclass(frozen=True)
class Found:
    """Whether the oci engine makes containers of the class, or docker does; else why neither."""

    is_by_oci: bool
    why_not: str | None = None
    since: float = field(default_factory=time.monotonic)

    @property
    def counts(self) -> bool:
        """Whether it need not be tried again; what was wrong may have been mended, or a busy host."""
        return self.why_not is None or time.monotonic() < self.since + AGAIN_S


class RuntimeClasses:
    """The classes of this host, each tried once with an image of ours."""

    def __init__(self, docker: DockerEngine, oci: OciEngine, choice: str) -> None:
        self._docker = docker
        self._oci = oci
        self._choice = choice
        self._found: dict[str, Found] = {}
        self._on_docker: dict[str, Found] = {}
        self._trying = asyncio.Lock()

    async def find(self, runtime_class: str, image: str) -> Found:
        """What makes containers of this class, out of our own images."""
        async with self._trying:
            found = self._found.get(runtime_class)
            if found is None or not found.counts:
                found = self._found[runtime_class] = await self._find(runtime_class, image)
            return found

    async def is_for_oci(self, runtime_class: str, image: str) -> bool:
        """Whether the oci engine makes containers of this class, out of our own images; raises EngineError if nothing does."""
        found = await self.find(runtime_class, image)
        if found.why_not is not None:
            raise EngineError(f"runtime class {runtime_class!r}: {found.why_not}")
        return found.is_by_oci

    async def check_docker(self, runtime_class: str, image: str) -> None:
        """Raise EngineError unless docker can make containers of this class."""
        async with self._trying:
            if (why := await self._unfit_docker(runtime_class, image)) is not None:
                raise EngineError(f"runtime class {runtime_class!r}: {why}")

    async def _find(self, runtime_class: str, image: str) -> Found:
        reasons = []
        if self._choice != "docker":
            if (why := await self._unfit_oci(runtime_class, image)) is None:
                return Found(is_by_oci=True)
            reasons.append(why)
        if self._choice != "oci":
            if (why := await self._unfit_docker(runtime_class, image)) is None:
                return Found(is_by_oci=False)
            reasons.append(why)
        return Found(is_by_oci=False, why_not="; ".join(reasons))

    async def _unfit_oci(self, runtime_class: str, image: str) -> str | None:
        runtime = installed(runtime_class, self._oci)
        if runtime is None:
            return f"{runtime_class} is not installed on this host"
        if os.geteuid() != 0 or not self._oci.cgroups.trees:
            return f"{runtime_class} by itself needs root and control groups"
        wrong = await self.trial(runtime_class, runtime, image)
        return f"{runtime_class} by itself: {'; '.join(wrong)}" if wrong else None

    async def trial(self, runtime_class: str, runtime: Runtime, image: str) -> list[str]:
        """What is wrong with a runtime on the oci engine, which makes containers of the class with it from now on."""
        self._oci.offer(runtime_class, runtime)
        seen = await complaints(self._oci, image, runtime_class) if runtime_class in OURS else []
        return seen or await exceeds(self._oci, image, runtime_class)

    async def _unfit_docker(self, runtime_class: str, image: str) -> str | None:
        found = self._on_docker.get(runtime_class)
        if found is None or not found.counts:
            why = await self._docker.unfit(runtime_class)
            if why is None and (wrong := await exceeds(self._docker, image, runtime_class)):
                why = f"{runtime_class} by docker: {'; '.join(wrong)}"
            found = self._on_docker[runtime_class] = Found(is_by_oci=False, why_not=why)
        return found.why_not


def installed(runtime_class: str, oci: OciEngine) -> Runtime | None:
    """The runtime of this class, if the host has it."""
    for runtime in candidates(oci.cgroups):
        if runtime.name == runtime_class:
            return runtime
    program = find_program(runtime_class)
    return None if program is None else Runtime(runtime_class, program)
