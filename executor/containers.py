"""A sandbox on this host's container engine; what the service, the command and the tests share.

Apart from `wiring`, so that running one script needs neither the database nor HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from executor.runtimes import Runtime, Runtimes
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.compiling import Compiling
from executor.sandbox.docker import DockerEngine
from executor.sandbox.engine import Engine
from executor.sandbox.foreign import ForeignImages, PullPolicy
from executor.sandbox.images import Images
from executor.sandbox.places import Places
from executor.sandbox.programs import Programs
from executor.sandbox.run import Sandbox
from executor.sandbox.tools import Tools, labels
from executor.settings import Settings


@dataclass(frozen=True)
class Parts:
    """What a sandbox is made of: an engine, how a language's image is called on it, and other images' rules."""

    engine: Engine
    image_tag: Callable[[Runtime], str]
    allowed: Sequence[str] = ("*",)
    pull: PullPolicy = "missing"


def docker_parts(settings: Settings, runtimes: Runtimes) -> Parts:
    """The docker engine and our own images."""

    def image_tag(runtime: Runtime) -> str:
        with closing(Images(settings.base_image, runtimes)) as images:
            return images.tag_for(runtime)

    engine = DockerEngine(threads=settings.concurrency + 4, registry_config=settings.registry_config)
    return Parts(engine, image_tag, settings.images.split(","), settings.pull)


class ImageTags:
    """The languages' image tags; each is settled once the engine has the image."""

    def __init__(self, engine: Engine, compute: Callable[[Runtime], str]) -> None:
        self._engine = engine
        self._compute = compute
        self._settled: dict[str, str] = {}

    async def tag(self, runtime: Runtime) -> str:
        """The tag, computed anew (it hashes files) until the image is there."""
        if runtime.image_name not in self._settled:
            tag = await asyncio.to_thread(self._compute, runtime)
            if not await self._engine.has_image(tag):
                return tag
            self._settled[runtime.image_name] = tag
        return self._settled[runtime.image_name]


def make_sandbox(
    parts: Parts,
    folder: Path,
    instance: str,
    worker: str,
    programs: Programs | None = None,
    tools: Path | None = None,
) -> Sandbox:
    """A sandbox on these parts whose containers carry the instance's and the worker's label.

    Without `programs` every script is compiled anew. In `tools` is kept what images that are not ours
    need; without it, in `folder`, which goes with its owner.
    """
    cleanup = Cleanup(parts.engine, folder, instance, worker)
    tags = ImageTags(parts.engine, parts.image_tag)
    compiling = Compiling(tags.tag, programs)
    kept = Tools(parts.engine, cleanup, tools or folder / "tools", labels(instance, worker))
    kept.sweep()
    foreign = ForeignImages(parts.engine, parts.allowed, parts.pull)
    places = Places(parts.engine, tags.tag, foreign, kept)
    return Sandbox(parts.engine, cleanup, tags.tag, folder, instance, worker, compiling, places)
