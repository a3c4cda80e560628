"""The seam between a run and whatever makes containers.

The docker engine, `Engines` (docker, and oci for our own images) and the fake implement it; the rest
of `sandbox` knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from executor.sandbox.references import Reference
from executor.sandbox.spec import ContainerSpec, Hardening, ImageSeen

LABEL = "executor"  # value: the instance
LABEL_ROLE = "executor.role"  # job | pool | holder | compile | tools | probe
LABEL_WORKER = "executor.worker"  # the process that made the container


@dataclass(frozen=True)
class Ended:
    """What the engine knows of a container whose stream has ended."""

    oom_killed: bool
    running: bool


@dataclass(frozen=True)
class Maker:
    """The engine and the OCI runtime behind a container, by their names."""

    engine: str
    runtime: str


@dataclass(frozen=True)
class Seen:
    """A container found by its labels."""

    name: str
    worker: str


@dataclass(frozen=True)
class Bridge:
    """A network of the engine's: its address ranges, and the host's addresses on it."""

    subnets: tuple[str, ...]
    gateways: tuple[str, ...]


@dataclass(frozen=True)
class EngineInfo:
    """What `doctor`, `/ready` and the job record say of an engine."""

    name: str
    version: str
    runtime: str
    cgroup_version: str
    security: tuple[str, ...]
    storage: str = "unknown"
    bounds_root: bool = False
    """Whether it may be able to give a container a writable root of a certain size."""
    runtimes: tuple[str, ...] = ()
    """The OCI runtimes that it may be asked for by name."""
    about: str = ""
    """Which engine is used for what, and why not a better one."""
    root: str = ""
    """Where on its machine it keeps images and containers, if it says so."""


class Channel(Protocol):
    """The container's stdin and stdout, attached before it started."""

    async def send(self, data: bytes) -> None:
        """Write to the container's stdin; raises EngineTransient when nobody reads any more."""

    async def receive(self) -> bytes:
        """The next bytes of its stdout, b"" at the end of the stream."""

    def close(self) -> None:
        """Let go of the stream; the container's stdin ends."""


class Containers(Protocol):
    """Makes containers and gets rid of them.

    For each container, in order: start, talk on the channel, remove. `kill` and `remove` may be
    called at any point, any number of times, also for a name that never was. Names are unique.
    All methods raise EngineError; a call that raises may still have had its effect, so that
    `remove` is always due after `start`.
    """

    @property
    def name(self) -> str:
        """What the engine is called: `docker`, `oci`, `fake`."""

    @property
    def runtime(self) -> str:
        """The OCI runtime that starts its containers, as far as known."""

    async def start(self, spec: ContainerSpec) -> Channel:
        """Create the container, attach to it, start it. Raises ImageMissing, EngineTransient, EngineError."""

    async def update(self, name: str, hardening: Hardening) -> bool:
        """Give a running container the memory, cpus and pids of `hardening`; False: the engine cannot.

        After False, or an error, nobody knows which of them it has.
        """

    async def ended(self, name: str) -> Ended:
        """Why a container's stream may have ended."""

    async def kill(self, name: str) -> None:
        """End every process of the container at once."""

    async def remove(self, name: str) -> None:
        """Kill the container if need be and delete it."""

    async def containers(self, instance: str) -> list[Seen]:
        """Every container, running or not, that carries the instance's label."""

    def close(self) -> None:
        """Give up connections and threads."""


class Engine(Containers, Protocol):
    """Containers of any image, and all that is around them: images and networks."""

    def maker(self, name: str) -> Maker:
        """What makes, or made, the container of this name."""

    async def engine_for(self, spec: ContainerSpec) -> str:
        """The name of the engine that would make such a container."""

    async def unfit(self, runtime_class: str) -> str | None:
        """Why no container of ours can have this OCI runtime here; None if it can."""

    async def make_network(self, name: str, labels: Mapping[str, str], *, ipv6: bool) -> Bridge:
        """Make a bridge of this name, on which containers do not reach each other; an existing one is taken."""

    async def remove_network(self, name: str) -> None:
        """Remove the network once no container is on it, as often as asked, also one that never was."""

    async def networks(self, instance: str) -> list[Seen]:
        """Every network that carries the instance's label."""

    async def info(self) -> EngineInfo:
        """Ask the engine about itself; raises EngineUnreachable when it does not answer."""

    async def has_image(self, tag: str) -> bool:
        """Whether the image is there, so that a start would not fail for it."""

    async def image(self, reference: str) -> ImageSeen | None:
        """The image of this completed name or id, if the engine has it."""

    async def pull(self, reference: Reference) -> None:
        """Fetch an image from its registry; given up when cancelled. Raises PullFailed."""

    async def files(self, spec: ContainerSpec, path: str) -> bytes:
        """What the image of `spec` has at `path`, as a tar; makes that container, and never starts it."""
