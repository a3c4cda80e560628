"""A container's spec in Docker's words: the bodies of its create call. Pure."""

from __future__ import annotations

from typing import Any

from docker.types import Mount, Ulimit

from executor.sandbox import seccomp
from executor.sandbox.hardening import NETWORK_SYSCTL
from executor.sandbox.spec import ContainerSpec, Hardening

JOINED = "container:"


def container_config(api: Any, spec: ContainerSpec) -> dict[str, Any]:
    """The create call's body: the spec in Docker's words."""
    config: dict[str, Any] = api.create_container_config(
        image=spec.image,
        command=None,
        entrypoint=list(spec.entrypoint) or None,
        hostname=None if spec.network.startswith(JOINED) else spec.hostname,  # it has the other's
        user=spec.hardening.user or f"{spec.hardening.uid}:{spec.hardening.gid}",
        environment=dict(spec.environment) or None,
        working_dir=spec.folder,
        stdin_open=True,
        labels=dict(spec.labels),
        host_config=host_config(api, spec),
    )
    # `StdinOnce`: when our connection is gone, PID 1 reads the end of its stdin and ends the job.
    config.update(StdinOnce=True, AttachStdin=True, AttachStdout=True, AttachStderr=False)
    config["Healthcheck"] = {"Test": ["NONE"]}  # an image's own would run beside the script
    return config


def host_config(api: Any, spec: ContainerSpec) -> dict[str, Any]:
    """The hardening in Docker's words."""
    hard = spec.hardening
    mounts = [
        Mount(
            bind.path,
            str(bind.source),
            type="bind",
            read_only=not bind.writable,
            propagation="rslave" if bind.follows else None,
        )
        for bind in spec.binds
    ]
    mounts += [Mount(volume.path, volume.name, type="volume", no_copy=True) for volume in spec.volumes]
    config: dict[str, Any] = api.create_host_config(
        network_mode=spec.network,
        ipc_mode=hard.ipc,
        mem_limit=hard.memory_bytes,
        memswap_limit=hard.memory_bytes + hard.swap_bytes,
        nano_cpus=int(hard.cpus * 1_000_000_000),
        pids_limit=hard.pids,
        cap_drop=["ALL"],
        cap_add=list(hard.capabilities),
        security_opt=security_options(hard),
        read_only=hard.read_only_root,
        storage_opt=None if hard.root_bytes is None else {"size": str(hard.root_bytes)},
        tmpfs={t.path: tmpfs_options(t.size_bytes, t.inodes, t.mode, t.executable, hard) for t in hard.tmpfs},
        ulimits=[
            Ulimit(name="nofile", soft=hard.open_files, hard=hard.open_files),
            Ulimit(name="fsize", soft=hard.file_bytes, hard=hard.file_bytes),
            Ulimit(name="core", soft=hard.core_bytes, hard=hard.core_bytes),
            Ulimit(name="msgqueue", soft=hard.queue_bytes, hard=hard.queue_bytes),
            Ulimit(name="memlock", soft=hard.locked_bytes, hard=hard.locked_bytes),
            Ulimit(name="sigpending", soft=hard.signals, hard=hard.signals),
        ],
        log_config={"Type": hard.log_driver},
        mounts=mounts,
        runtime=spec.runtime_class,
        sysctls=None if spec.network.startswith(JOINED) else NETWORK_SYSCTL,
    )
    # The SDK has no words for these.
    config.update(MaskedPaths=list(hard.masked), ReadonlyPaths=list(hard.read_only))
    return config


def updated_limits(hard: Hardening) -> dict[str, Any]:
    """The update call's body: those limits that can be changed while a container runs."""
    return {
        "Memory": hard.memory_bytes,
        "MemorySwap": hard.memory_bytes + hard.swap_bytes,
        "NanoCpus": int(hard.cpus * 1_000_000_000),
        "PidsLimit": hard.pids,
    }


def tmpfs_options(size: int, inodes: int, mode: str, executable: bool, hard: Hardening) -> str:
    """Mount options of a tmpfs that only the job's user may use."""
    execute = "exec" if executable else "noexec"
    return (
        f"rw,nosuid,nodev,{execute},size={size},nr_inodes={inodes},mode={mode},uid={hard.uid},gid={hard.gid}"
    )


def security_options(hard: Hardening) -> list[str]:
    """No-new-privileges and our seccomp profile; the engine's own on a machine that ours does not know."""
    options = ["no-new-privileges"] if hard.no_new_privileges else []
    if hard.seccomp == "none":
        options.append("seccomp=unconfined")
    elif (profile := seccomp.text(netlink=hard.seccomp == "holder")) is not None:
        options.append(f"seccomp={profile}")
    return options
