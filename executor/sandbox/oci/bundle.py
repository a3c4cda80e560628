"""A container's spec in the words of the OCI runtime specification: its config.json. Pure.

What Docker gives a container on the same spec (dockerspec.py) is the measure: the same mounts, masked
paths and environment. tests/unit/test_oci_bundle.py holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.sandbox import seccomp
from executor.sandbox.hardening import NETWORK_SYSCTL
from executor.sandbox.spec import Bind, ContainerSpec, Hardening, ImageSeen, Tmpfs

OCI_VERSION = "1.0.2"
UMASK = 0o022
PERIOD_US = 100_000
DEV_BYTES = 64 * 1024
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TERMINALS = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
QUIET = ("nosuid", "noexec", "nodev")
CGROUPS = "/sys/fs/cgroup"
NOBODY_S = 2_000_000_000
"""The host's number for a container's root: one that owns nothing, and that distributions leave alone."""


@dataclass(frozen=True)
class Surroundings:
    """What a configuration needs to know of the host."""

    cgroup: str
    trees: tuple[str, ...] = ()
    """The names of version 1's trees of control groups."""
    limits_swap: bool = True
    network: str | None = None
    """A path of the network namespace to join; None: an empty one of its own."""
    apparmor: str | None = None
    maps_users: bool = False
    """Whether the container gets a user namespace of its own; never one that joins a network."""


def config(spec: ContainerSpec, image: ImageSeen, root: Path, around: Surroundings) -> dict[str, Any]:
    """The whole config.json."""
    hard = spec.hardening
    return {
        "ociVersion": OCI_VERSION,
        "process": _process(spec, image, around),
        "root": {"path": str(root), "readonly": True},
        "hostname": spec.hostname,
        "mounts": [*_mounts(hard), *map(_tmpfs(hard), _by_depth(hard.tmpfs)), *map(_bind, spec.binds)],
        "linux": {
            # Else nothing that is mounted later would be seen through a bind that follows the host.
            "rootfsPropagation": "rslave",
            "namespaces": _namespaces(around),
            **_users(hard, around),
            "sysctl": _sysctl(hard) if around.network is None else {},
            "cgroupsPath": around.cgroup,
            "resources": _resources(hard, around),
            "maskedPaths": list(hard.masked),
            # Asked for as a mount option too; but crun keeps version 1's trees writable, in a
            # directory in memory that is everybody's.
            "readonlyPaths": [*hard.read_only, CGROUPS, *(f"{CGROUPS}/{tree}" for tree in around.trees)],
            "seccomp": None if hard.seccomp == "none" else seccomp.profile(netlink=hard.seccomp == "holder"),
        },
    }


def obstacle(spec: ContainerSpec) -> str | None:
    """Why this engine cannot make such a container; None if it can."""
    hard = spec.hardening
    obstacles = {
        "volumes of the docker engine": bool(spec.volumes),
        "the image's own user": bool(hard.user),
        "a writable root": not hard.read_only_root or hard.root_bytes is not None,
        "capabilities": bool(hard.capabilities),
        "new privileges": not hard.no_new_privileges,
        "a network of the docker engine": not spec.network.startswith("container:")
        and spec.network != "none",
        "a shared IPC namespace": hard.ipc != "private",
        # Ours are named; whatever a script chose runs by its id.
        "an image that is not ours": spec.image.startswith("sha256:"),
    }
    return next((what for what, applies in obstacles.items() if applies), None)


def _process(spec: ContainerSpec, image: ImageSeen, around: Surroundings) -> dict[str, Any]:
    hard = spec.hardening
    process: dict[str, Any] = {
        "user": {"uid": hard.uid, "gid": hard.gid, "umask": UMASK},
        "args": list(spec.entrypoint or (*image.entrypoint, *image.command)),
        "env": _environment(spec, image),
        "cwd": spec.folder or image.folder or "/",
        "capabilities": {},
        "noNewPrivileges": hard.no_new_privileges,
        "oomScoreAdj": 0,
        "rlimits": [
            {"type": f"RLIMIT_{name}", "soft": value, "hard": value}
            for name, value in (
                ("NOFILE", hard.open_files),
                ("FSIZE", hard.file_bytes),
                ("CORE", hard.core_bytes),
                ("MSGQUEUE", hard.queue_bytes),
                ("MEMLOCK", hard.locked_bytes),
                ("SIGPENDING", hard.signals),
            )
        ],
    }
    if around.apparmor is not None:
        process["apparmorProfile"] = around.apparmor
    return process


def _environment(spec: ContainerSpec, image: ImageSeen) -> list[str]:
    own = [PATH, f"HOSTNAME={spec.hostname}", *image.environment]
    own += [f"{name}={value}" for name, value in spec.environment.items()]
    return list({pair.partition("=")[0]: pair for pair in own}.values())


def _mounts(hard: Hardening) -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", *QUIET),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", f"size={DEV_BYTES}"),
        _mount("/dev/pts", "devpts", *TERMINALS, f"max={hard.terminals}"),
        _mount("/sys", "sysfs", *QUIET, "ro"),
        _mount(CGROUPS, "cgroup", *QUIET, "ro"),
        _mount("/dev/mqueue", "mqueue", *QUIET),
    ]


def _mount(path: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": path, "type": kind, "source": kind, "options": list(options)}


def _by_depth(places: Sequence[Tmpfs]) -> list[Tmpfs]:
    """A place in another one comes after it, or it would be hidden."""
    return sorted(places, key=lambda place: place.path.count("/"))


def _tmpfs(hard: Hardening) -> Any:
    def mount(place: Tmpfs) -> dict[str, Any]:
        return _mount(
            place.path,
            "tmpfs",
            *("rw", "nosuid", "nodev", "exec" if place.executable else "noexec"),
            *(f"size={place.size_bytes}", f"nr_inodes={place.inodes}", f"mode={place.mode}"),
            *(f"uid={hard.uid}", f"gid={hard.gid}"),
        )

    return mount


def _bind(bind: Bind) -> dict[str, Any]:
    follows = "rslave" if bind.source.is_dir() else "rprivate"
    access = "rw" if bind.writable else "ro"
    return {
        "destination": bind.path,
        "type": "bind",
        "source": str(bind.source),
        "options": ["rbind", follows, access, "nosuid", "nodev"],
    }


def _namespaces(around: Surroundings) -> list[dict[str, str]]:
    network = {"type": "network"} if around.network is None else {"type": "network", "path": around.network}
    kinds = ("mount", "uts", "pid", "ipc", *(("user",) if _maps_users(around) else ()))
    return [network, *({"type": kind} for kind in kinds)]


def _maps_users(around: Surroundings) -> bool:
    """Who is not root over a network may not mount its /sys; the host's would be shown instead."""
    return around.maps_users and around.network is None


def _users(hard: Hardening, around: Surroundings) -> dict[str, Any]:
    """The job's user is the same outside, where directories are shared; root is nobody, and no other user exists."""
    if not _maps_users(around):
        return {}

    def mapping(own: int) -> list[dict[str, int]]:
        return [
            {"containerID": 0, "hostID": NOBODY_S, "size": 1},
            {"containerID": own, "hostID": own, "size": 1},
        ]

    return {"uidMappings": mapping(hard.uid), "gidMappings": mapping(hard.gid)}


def _sysctl(hard: Hardening) -> dict[str, str]:
    """Docker's, for a network namespace of the container's own; `ping` is for the one group there is."""
    return {
        **NETWORK_SYSCTL,
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": f"{hard.gid} {hard.gid}",
    }


def _resources(hard: Hardening, around: Surroundings) -> dict[str, Any]:
    memory = {"limit": hard.memory_bytes}
    if around.limits_swap:
        memory["swap"] = hard.memory_bytes + hard.swap_bytes
    return {
        # The runtime adds what every container may use: null, zero, full, random, urandom, tty.
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": memory,
        "cpu": {"quota": round(hard.cpus * PERIOD_US), "period": PERIOD_US},
        "pids": {"limit": hard.pids},
    }
