"""What confines a container: the only file that grants anything.

`harden` is a pure function of the language, the job's limits and the workspace's policy, and both
engines apply what it says. tests/unit/test_hardening.py states what holds for every input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from executor.runtimes import Runtime
from executor.sandbox.spec import Hardening, Tmpfs
from executor.script import Limits

MIB = 1024 * 1024
JOB_UID = 65532
"""The one unprivileged user and group of all languages, so that steps can share files."""

HOLDER_CAPABILITIES = ("NET_ADMIN",)
"""What loading the rules of its own network takes; no job ever runs in a holder."""

INODES_PER_MB = 256
SHM_BYTES_MAX = 16 * MIB
SHM = "/dev/shm"
OPEN_FILES = 1024
LOCKED_BYTES = 64 * 1024
SIGNALS = 2048
TCP_BYTES = 32 * MIB
NETWORK_SYSCTL = {"net.ipv4.tcp_orphan_retries": "1"}
"""Of a network namespace: what a script has sent and nobody takes is given up with it, not after two minutes."""
TERMINALS = 16
SHARED = "/shared"
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
"""What Docker masks, the later versions' additions included; what a kernel does not have costs nothing."""
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
CPUS_MIN = 0.01
"""The least share of a core that the kernel can enforce; engines take less for no limit at all."""


CONFINED = Hardening(
    uid=JOB_UID,
    gid=JOB_UID,
    memory_bytes=64 * MIB,
    swap_bytes=0,
    cpus=1.0,
    pids=32,
    open_files=OPEN_FILES,
    file_bytes=MIB,
    core_bytes=0,
    queue_bytes=0,
    locked_bytes=LOCKED_BYTES,
    signals=SIGNALS,
    tcp_bytes=TCP_BYTES,
    terminals=0,
    tmpfs=(),
    network="none",
    ipc="private",
    capabilities=(),
    no_new_privileges=True,
    read_only_root=True,
    log_driver="none",
    seccomp="own",
    masked=MASKED,
    read_only=READ_ONLY,
)
"""What every container starts from; who grants it more says what."""


def effective_limits(runtime: Runtime, limits: Limits) -> Limits:
    """The limits with what the language's own runner needs to boot; only ever higher than asked."""
    minimum = runtime.manifest.limits.minimum
    return Limits(
        timeout_s=limits.timeout_s,
        memory_mb=max(limits.memory_mb, minimum.memory_mb),
        cpus=max(limits.cpus, CPUS_MIN),
        pids=max(limits.pids, minimum.pids),
        tmp_mb=max(limits.tmp_mb, minimum.tmp_mb),
        log_bytes=limits.log_bytes,
        result_bytes=limits.result_bytes,
    )


def harden(runtime: Runtime, limits: Limits, shared_bytes: int | None = None) -> Hardening:
    """Confine a container of this language under these limits; nothing else is ever granted.

    No capabilities, no way to gain any, a read-only root, no swap, no network unless the manifest
    has it, and every writable place bounded in bytes and inodes. With a run's shared directory, of
    `shared_bytes`, there is no private one, and a file may be as big as that directory.
    """
    bounded = effective_limits(runtime, limits)
    tmp_bytes = bounded.tmp_mb * MIB
    inodes = max(1024, bounded.tmp_mb * INODES_PER_MB)
    private = ("/job", "/tmp", SHARED) if shared_bytes is None else ("/job", "/tmp")
    places = [Tmpfs(path, tmp_bytes, inodes) for path in private]
    return replace(
        CONFINED,
        memory_bytes=bounded.memory_mb * MIB,
        cpus=bounded.cpus,
        pids=bounded.pids,
        file_bytes=max(tmp_bytes, shared_bytes or 0),
        terminals=TERMINALS,
        tmpfs=(*places, _shm(min(tmp_bytes, SHM_BYTES_MAX))),
        network=runtime.manifest.network,
    )


def harden_holder() -> Hardening:
    """Confine a holder: root with one capability, which counts in its own network only."""
    idle = harden_idle_holder()
    return replace(idle, uid=0, gid=0, capabilities=HOLDER_CAPABILITIES, network="egress", seccomp="holder")


def _shm(size: int) -> Tmpfs:
    """Shared memory, where libraries expect it; as an engine's own it would have no bound of files."""
    return Tmpfs(SHM, size, INODES_PER_MB * max(1, size // MIB), mode="1777", executable=False)


def harden_idle_holder() -> Hardening:
    """Confine a holder of nothing but a loopback: it has no rules to load, so nothing to be allowed."""
    return replace(CONFINED, tmpfs=(_shm(MIB),))


def widen(hard: Hardening, *, user: str | None, writable: bool, volumes: Sequence[str]) -> Hardening:
    """The same for an image that the script chose, with what its header may ask for and no more.

    `user` is the image's own user: then every tmpfs is open to all, because nobody else is in the
    container, and a name's number is known to the image only. A root it can write on is as big as a
    tmpfs may be. The image's volumes, which would be directories without bounds on the host, become
    tmpfs too.
    """
    places = {tmpfs.path: tmpfs for tmpfs in hard.tmpfs}
    model = hard.tmpfs[0]
    tmpfs = [*hard.tmpfs, *(replace(model, path=path) for path in volumes if path not in places)]
    if user is not None:
        hard = replace(hard, user=user)
        tmpfs = [replace(place, mode="1777") for place in tmpfs]
    if writable:
        hard = replace(hard, read_only_root=False, root_bytes=model.size_bytes)
    return replace(hard, tmpfs=tuple(tmpfs))
