"""A sandbox on this host's container engine; what the service, the command and the tests share.

Apart from `wiring`, so that running one script needs neither the database nor HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from executor import datadir, telemetry
from executor.runtimes import Runtime, Runtimes
from executor.sandbox.blank import Bounds
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.compiling import Compiling
from executor.sandbox.docker import DockerEngine
from executor.sandbox.egress import Egress
from executor.sandbox.engine import Bridge, Engine
from executor.sandbox.engines import Engines
from executor.sandbox.firewall import Surroundings
from executor.sandbox.foreign import ForeignImages, PullPolicy
from executor.sandbox.hostnet import look_around
from executor.sandbox.images import HOLDER, Images
from executor.sandbox.loopback import Loopbacks
from executor.sandbox.places import Places
from executor.sandbox.pool import Pool
from executor.sandbox.programs import Programs
from executor.sandbox.run import Sandbox
from executor.sandbox.shared import Kind, SharedDirectories, Size
from executor.sandbox.shareddisk import Ext4, HostTmpfs
from executor.sandbox.sharedvolume import EngineSight, EngineVolume
from executor.sandbox.slots import Slots
from executor.sandbox.tools import Tools, labels
from executor.settings import Settings

HOLDER_LANGUAGE = PROBE_LANGUAGE = "bash"
"""Whose image a container has that only holds a volume, or tries an engine: the smallest one."""


def host_kinds(_: str) -> Sequence[Kind]:
    """Shared directories that need no engine."""
    return Ext4(), HostTmpfs()


async def nothing_to_settle() -> None:
    """For an engine that needs no trial."""


@dataclass(frozen=True)
class Parts:
    """What a sandbox is made of: an engine, how a language's image is called on it, and other images' rules."""

    engine: Engine
    image_tag: Callable[[Runtime], str]
    shared_kinds: Callable[[str], Sequence[Kind]] = host_kinds
    """The ways to make shared directories for an instance, the best first."""
    holder: HolderParts | None = None
    """None: languages with egress cannot run."""
    settle: Callable[[], Awaitable[None]] = nothing_to_settle
    """Finds out which engine works here, once; raises ConfigurationError if none does as it was asked for."""
    allowed: Sequence[str] = ("*",)
    """Patterns of the images that scripts may name."""
    pull: PullPolicy = "missing"
    loopback: Runtime | None = None
    """The language whose image keeps a workspace's loopback; None: every job has one of its own."""


@dataclass(frozen=True)
class HolderParts:
    """What holders are made of: their image, and what is around them on a bridge of the engine's."""

    image_tag: Callable[[], str]
    look_around: Callable[[Bridge], Surroundings]
    ipv6: bool = False


def docker_parts(settings: Settings, runtimes: Runtimes) -> Parts:
    """The engines of this host and our own images."""

    def image_tag(runtime: Runtime | str) -> str:
        with closing(Images(settings.base_image, runtimes)) as images:
            return images.tag_for(runtime)

    def shared_kinds(instance: str) -> Sequence[Kind]:
        sees = EngineSight(instance)
        holder = runtimes.find(HOLDER_LANGUAGE) or next(iter(runtimes))
        return Ext4(sees), HostTmpfs(sees), EngineVolume(holder, lambda: image_tag(holder), instance)

    look = partial(look_around, service_port=settings.port, dns=settings.resolvers)
    holders = HolderParts(partial(image_tag, HOLDER), look, settings.network_ipv6)
    docker = DockerEngine(threads=settings.concurrency + 4, registry_config=settings.registry_config)
    smallest = runtimes.find(PROBE_LANGUAGE) or next(iter(runtimes))
    engine = Engines(
        docker,
        settings.engine,
        partial(image_tag, smallest),
        datadir.roots(settings),
        user_namespaces=settings.user_namespaces,
    )
    return Parts(
        engine,
        image_tag,
        shared_kinds,
        holders,
        engine.settle,
        allowed=settings.images.split(","),
        pull=settings.pull,
        loopback=smallest if settings.network_shared else None,
    )


class ImageTags:
    """The languages' image tags; each is settled once the engine has the image."""

    def __init__(self, engine: Engine, compute: Callable[[Runtime], str]) -> None:
        self._engine = engine
        self._compute = compute
        self._settled: dict[str, str] = {}

    async def tag(self, runtime: Runtime) -> str:
        """The tag, computed anew (it hashes files) until the image is there."""
        return await self.settled(runtime.image_name, partial(self._compute, runtime))

    async def settled(self, image: str, compute: Callable[[], str]) -> str:
        """As `tag`, for the image of this name."""
        if image not in self._settled:
            tag = await asyncio.to_thread(compute)
            if not await self._engine.has_image(tag):
                return tag
            self._settled[image] = tag
        return self._settled[image]


def make_sandbox(
    parts: Parts,
    folder: Path,
    instance: str,
    worker: str,
    programs: Programs | None = None,
    tools: Path | None = None,
    pool: Bounds | None = None,
    slots: Slots | None = None,
) -> Sandbox:
    """A sandbox on these parts whose containers carry the instance's and the worker's label.

    Without `programs` every script is compiled anew. In `tools` is kept what images that are not ours
    need; without it, in `folder`, which goes with its owner. Without `pool` no container ever waits;
    with it, `Sandbox.pool` is to be started; with `slots` containers wait for runs' shared directories too.
    """
    cleanup = Cleanup(parts.engine, folder, instance, worker, slots)
    tags = ImageTags(parts.engine, parts.image_tag)
    compiling = Compiling(tags.tag, programs)
    egress, marks = None, labels(instance, worker)
    if (holder := parts.holder) is not None:
        egress = Egress(
            parts.engine,
            cleanup,
            partial(tags.settled, HOLDER, holder.image_tag),
            holder.look_around,
            folder,
            marks,
            ipv6=holder.ipv6,
        )
    loopbacks = None
    if (runtime := parts.loopback) is not None:
        loopbacks = Loopbacks(parts.engine, cleanup, partial(tags.tag, runtime), marks)
    kept = Tools(parts.engine, cleanup, tools or folder / "tools", marks)
    kept.sweep()
    foreign = ForeignImages(parts.engine, parts.allowed, parts.pull)
    places = Places(parts.engine, tags.tag, foreign, kept)
    sandbox = Sandbox(
        parts.engine,
        cleanup,
        tags.tag,
        folder,
        instance,
        worker,
        compiling,
        places,
        egress,
        slots=slots,
        loopbacks=loopbacks,
    )
    if pool is None or not pool.count:
        return sandbox
    waiting = Pool(parts.engine, cleanup, sandbox.own, pool)
    for networks in (egress, loopbacks):
        if networks is not None:
            networks.holders.on_drop = waiting.drop_network
    return replace(sandbox, pool=waiting)


def make_slots(folder: Path) -> Slots | None:
    """Slots below `folder`, which nobody else uses; None where we may not mount."""
    slots = Slots(folder)
    slots.sweep()
    try:
        slots.open()
    except OSError as error:
        telemetry.log.info(
            "no container waits for shared directories: nothing can be mounted here", error=str(error)
        )
        return None
    return slots


def make_shared(settings: Settings, parts: Parts, folder: Path, instance: str) -> SharedDirectories:
    """The shared directories of an instance below `folder`, which nobody else uses."""
    size = Size.of(settings.shared_mb, settings.shared_files)
    return SharedDirectories(folder, size, parts.shared_kinds(instance))
