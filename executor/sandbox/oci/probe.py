"""Does the oci engine work on this host? A container is started, and both sides look at it.

Nothing is concluded from versions or settings: a runtime counts if a container of ours, with limits
and all, came up confined as it was meant to be, and went without a trace.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.debian import find_program
from executor.errors import EngineError
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER
from executor.sandbox.hardening import JOB_UID, MASKED, MIB, READ_ONLY
from executor.sandbox.oci.cgroups import Cgroups
from executor.sandbox.oci.engine import OciEngine
from executor.sandbox.oci.spawn import Runtime
from executor.sandbox.spec import ContainerSpec, Hardening, Tmpfs

INSTANCE = "probe"
PROBE_S = 30.0
MEMORY_BYTES, PIDS, CPUS = 48 * MIB, 24, 0.5
NAMESPACES = ("mnt", "net", "pid", "ipc", "uts")
SCRIPT = r"""
status() { while read -r key value; do [ "$key" = "$1:" ] && echo $value; done < /proc/self/status; }
say() { printf '"%s":"%s",' "$1" "$2"; }
printf '{'
for key in Uid CapEff CapBnd NoNewPrivs Seccomp; do say "$key" "$(status $key)"; done
for kind in mnt net pid ipc uts; do say "$kind" "$(readlink /proc/self/ns/$kind)"; done
look() { ( : > "$2/probe" ) 2>/dev/null && say "$1" writable || say "$1" read-only; }
look root ""; look tmp /tmp; look sys /sys/fs/cgroup; look dev /dev
say keys "$(cat /proc/keys 2>/dev/null | wc -c)"
printf '"pid1":"%s"}\n' "$$"
read -r _
"""
"""Says what it finds, then waits, so that the host can look at it too."""


@dataclass(frozen=True)
class Choice:
    """The runtime that works here, if any, and what was found wrong with those before it."""

    runtime: Runtime | None
    obstacles: tuple[str, ...]


def candidates(cgroups: Cgroups) -> Iterator[Runtime]:
    """What to try, best first: crun, which is several times as fast as runc."""
    crun, runc = find_program("crun"), find_program("runc")
    if crun is not None:
        if cgroups.unified is not None:  # it refuses to run where it sees both versions
            yield Runtime("crun", crun, (cgroups.unified,))
        else:
            yield Runtime("crun", crun)
    if runc is not None:
        yield Runtime("runc", runc)


async def choose(engine: OciEngine, image: str) -> Choice:
    """Try the runtimes with the image, one of ours; the engine then uses the first that works."""
    if os.geteuid() != 0:
        return Choice(None, (f"it needs root, and this process runs as user {os.geteuid()}",))
    if not engine.cgroups.trees:
        return Choice(None, ("no control groups are mounted at /sys/fs/cgroup",))
    await _remove_left(engine)
    obstacles = []
    if find_program("crun") is None:
        obstacles.append("crun is not installed (`executor setup` installs it)")
    for runtime in candidates(engine.cgroups):
        engine.use(runtime)
        if not (complaints := await _try(engine, image)):
            return Choice(runtime, tuple(obstacles))
        obstacles.append(f"{runtime.shown}: {'; '.join(complaints)}")
    if len(obstacles) < 2:
        obstacles.append("neither crun nor runc works here")
    return Choice(None, tuple(obstacles))


async def _remove_left(engine: OciEngine) -> None:
    """Remove what processes that were killed in a trial have left."""
    for seen in await engine.containers(INSTANCE):
        if not Path(f"/proc/{seen.worker}").exists():
            with suppress(EngineError):
                await engine.remove(seen.name)


async def _try(engine: OciEngine, image: str) -> list[str]:
    """What is wrong with the engine as it is; nothing if it works."""
    name = f"executor-probe-{uuid.uuid4()}"
    try:
        try:
            async with asyncio.timeout(PROBE_S):
                return await _look(engine, _spec(name, image))
        finally:
            await engine.remove(name)
    except TimeoutError:
        return [f"a container did not answer within {PROBE_S:g} s"]
    except (EngineError, OSError, ValueError, KeyError) as error:
        return [f"a container could not be tried: {error}"]


async def _look(engine: OciEngine, spec: ContainerSpec) -> list[str]:
    channel = await engine.start(spec)
    try:
        said = b""
        while not said.endswith(b"\n"):
            if not (data := await channel.receive()):
                return ["a container ended before it said anything"]
            said += data
        complaints = [*judge_inside(json.loads(said), own_namespaces())]
        complaints += judge_limits(engine.cgroups, spec)
        await engine.kill(spec.name)
        while await channel.receive():
            pass
        return complaints
    finally:
        channel.close()


def judge_inside(seen: Mapping[str, Any], own: Mapping[str, str]) -> Iterator[str]:
    """What the container found that it was not meant to find."""
    expected = {
        "Uid": " ".join([str(JOB_UID)] * 4), "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1",
        "Seccomp": "2", "root": "read-only", "tmp": "writable", "sys": "read-only", "dev": "read-only", "keys": "0", "pid1": "1",
    }  # fmt: skip
    for name, value in expected.items():
        if seen.get(name) != value:
            yield f"{name} is {seen.get(name)!r} in a container, not {value!r}"
    for kind in NAMESPACES:
        if seen.get(kind) in (None, "", own[kind]):
            yield f"a container has the host's {kind} namespace"


def judge_limits(cgroups: Cgroups, spec: ContainerSpec) -> list[str]:
    """Which limits are not in force, as the kernel tells on the host's side."""
    if not cgroups.is_alive(spec.name):
        return ["a container's processes are not in its control group"]
    expected = {
        "memory": str(spec.hardening.memory_bytes),
        "pids": str(spec.hardening.pids),
        "cpu": str(round(spec.hardening.cpus * 100_000)),
    }
    found = cgroups.limits(spec.name)
    return [
        f"the limit of {name} is {found[name]}, not {value}"
        for name, value in expected.items()
        if found[name] != value
    ]


def own_namespaces() -> dict[str, str]:
    """This process's namespaces, as a container's are read."""
    return {kind: os.readlink(Path("/proc/self/ns") / kind) for kind in NAMESPACES}


def _spec(name: str, image: str) -> ContainerSpec:
    hardening = Hardening(
        uid=JOB_UID,
        gid=JOB_UID,
        memory_bytes=MEMORY_BYTES,
        swap_bytes=0,
        cpus=CPUS,
        pids=PIDS,
        open_files=64,
        file_bytes=MIB,
        core_bytes=0,
        queue_bytes=0,
        locked_bytes=0,
        terminals=1,
        tmpfs=(Tmpfs("/tmp", MIB, 64), Tmpfs("/job", MIB, 64)),
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
    labels = {LABEL: INSTANCE, LABEL_ROLE: "probe", LABEL_WORKER: str(os.getpid())}
    return ContainerSpec(name, image, hardening, labels, entrypoint=("/bin/sh", "-c", SCRIPT))
