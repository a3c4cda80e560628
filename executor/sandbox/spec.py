"""What a container is given: a value that any engine can make real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Tmpfs:
    """A bounded writable place in memory."""

    path: str
    size_bytes: int
    inodes: int
    mode: str = "0700"
    executable: bool = True


@dataclass(frozen=True)
class Bind:
    """A host file or directory shown in the container, read-only unless `writable`."""

    source: Path
    path: str
    writable: bool = False
    follows: bool = False
    """Whether what is mounted on the directory later is seen in the container too."""


@dataclass(frozen=True)
class Volume:
    """A volume of the engine's own, by its name, shown writable in the container."""

    name: str
    path: str


@dataclass(frozen=True)
class Hardening:
    """Everything that confines a container; `executor.sandbox.hardening.harden` decides it."""

    uid: int
    gid: int
    memory_bytes: int
    swap_bytes: int
    cpus: float
    pids: int
    open_files: int
    file_bytes: int
    core_bytes: int
    queue_bytes: int
    """What POSIX message queues may take: they are counted per user, so by all jobs together."""
    locked_bytes: int
    """Memory that may be locked; else that would be whatever the engine's own service may."""
    signals: int
    """Signals and timers that may wait: a number of the user's, of whom there is one for all containers."""
    tcp_bytes: int
    """Buffers of sockets, where the kernel does not count them as the container's memory (control groups, version 1)."""
    terminals: int
    """Pseudo-terminals, of which the host has one stock; the oci engine can bound a container's."""
    tmpfs: tuple[Tmpfs, ...]
    network: str
    ipc: str
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    read_only_root: bool
    log_driver: str
    seccomp: Literal["own", "holder", "none"]
    """`own`: the profile in executor.sandbox.seccomp; `holder`: the same with netlink."""
    masked: tuple[str, ...]
    """Paths of the kernel's file systems with nothing to see in them."""
    read_only: tuple[str, ...]
    """Paths of the kernel's file systems that nobody may write to."""
    user: str = ""
    """The image's own user, in its words; empty: uid and gid above."""
    root_bytes: int | None = None
    """The size of a writable root; None: the root is as the image has it."""


@dataclass(frozen=True)
class ContainerSpec:
    """One container to be: its image, who owns it, how it is confined."""

    name: str
    image: str
    hardening: Hardening
    labels: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    hostname: str = "job"
    network: str = "none"  # or `container:NAME`, whose network it joins
    entrypoint: tuple[str, ...] = ()  # empty: the image's own
    volumes: tuple[Volume, ...] = ()
    slot: bool = False  # whether /shared is to be a slot (`executor.sandbox.slots`), made with its name
    environment: Mapping[str, str] = field(default_factory=dict)  # over the image's own
    folder: str | None = None  # where PID 1 starts; None: the image's own
    runtime_class: str | None = None  # the OCI runtime it must have; None: the engine's choice


@dataclass(frozen=True)
class ImageSeen:
    """An image that the engine has: its id, the `NAME@DIGEST` it came by, what it says of itself."""

    id: str
    digests: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    folder: str = ""
    volumes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    is_ours: bool = False
    """Whether it was built by us, as far as its label says; only ever asked of images named by us."""
    layers: tuple[str, ...] = ()
    """Its layers as directories for an overlay mount, topmost first; empty if the engine has others."""


@dataclass(frozen=True)
class Place:
    """Where a script runs: the image, how it is started there and confined; `shown` is for people."""

    image: str
    shown: str
    entrypoint: tuple[str, ...]
    hardening: Hardening
    binds: tuple[Bind, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    is_foreign: bool = False
    """Whether the image is not ours, so that it is to blame if nothing starts in it."""
