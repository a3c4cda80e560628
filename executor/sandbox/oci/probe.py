"""Does the oci engine work on this host? A container is started, and both sides look at it.

Nothing is concluded from versions or settings: a runtime counts if a container of ours, with limits
and all, came up confined as it was meant to be, and went without a trace.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executor.debian import find_program
from executor.errors import EngineError
from executor.sandbox.hardening import JOB_UID
from executor.sandbox.limitprobe import INSTANCE, PROBE_S, probe_spec
from executor.sandbox.oci.bundle import NOBODY_S
from executor.sandbox.oci.cgroups import Cgroups
from executor.sandbox.oci.engine import OciEngine
from executor.sandbox.oci.spawn import Runtime
from executor.sandbox.spec import ContainerSpec

NAMESPACES = ("mnt", "net", "pid", "ipc", "uts")
SCRIPT = r"""
status() { while read -r key value; do [ "$key" = "$1:" ] && echo $value; done < /proc/self/status; }
say() { printf '"%s":"%s",' "$1" "$2"; }
printf '{'
for key in Uid CapEff CapBnd NoNewPrivs Seccomp; do say "$key" "$(status $key)"; done
for kind in mnt net pid ipc uts user; do say "$kind" "$(readlink /proc/self/ns/$kind)"; done
look() { ( : > "$2/probe" ) 2>/dev/null && say "$1" writable || say "$1" read-only; }
say users "$(tr -s ' \n' ' .' < /proc/self/uid_map)"
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
    maps_users: bool = False
    """Whether its containers have user namespaces."""


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


async def choose(engine: OciEngine, image: str, *, wants_users: bool = False) -> Choice:
    """Try the runtimes with the image, one of ours; the engine then uses the first that works.

    With `wants_users` in user namespaces, where one that works has them.
    """
    if os.geteuid() != 0:
        return Choice(None, (f"it needs root, and this process runs as user {os.geteuid()}",))
    if not engine.cgroups.trees:
        return Choice(None, ("no control groups are mounted at /sys/fs/cgroup",))
    await _remove_left(engine)
    obstacles = []
    if find_program("crun") is None:
        obstacles.append("crun is not installed (`executor setup` installs it)")
    for runtime in candidates(engine.cgroups):
        for maps_users in (True, False) if wants_users else (False,):
            engine.use(runtime, maps_users=maps_users)
            if not (wrong := await complaints(engine, image)):
                return Choice(runtime, tuple(obstacles), maps_users)
            how = " with user namespaces" if maps_users else ""
            obstacles.append(f"{runtime.shown}{how}: {'; '.join(wrong)}")
    obstacles.append("neither crun nor runc works here")
    return Choice(None, tuple(obstacles))


async def _remove_left(engine: OciEngine) -> None:
    """Remove what processes that were killed in a trial have left."""
    for seen in await engine.containers(INSTANCE):
        if not Path(f"/proc/{seen.worker}").exists():
            with suppress(EngineError):
                await engine.remove(seen.name)


async def complaints(engine: OciEngine, image: str, runtime_class: str | None = None) -> list[str]:
    """What is wrong with the engine as it is, or with this class of its; nothing if it works."""
    spec = replace(probe_spec(image, SCRIPT), runtime_class=runtime_class)
    try:
        try:
            async with asyncio.timeout(PROBE_S):
                return await _look(engine, spec)
        finally:
            await engine.remove(spec.name)
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
        seen, ours = json.loads(said), own_namespaces()
        wrong = [*judge_inside(seen, ours)]
        if engine.maps_users:
            wrong += judge_users(seen, ours)
        wrong += judge_limits(engine.cgroups, spec)
        await engine.kill(spec.name)
        while await channel.receive():
            pass
        return wrong
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


def judge_users(seen: Mapping[str, Any], own: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the container's user namespace."""
    if seen.get("user") in (None, "", own["user"]):
        yield "a container has the host's user namespace"
    expected = {("0", str(NOBODY_S), "1"), (str(JOB_UID), str(JOB_UID), "1")}
    if {tuple(line.split()) for line in str(seen.get("users")).split(".") if line.strip()} != expected:
        yield f"a container's users are mapped as {seen.get('users')!r}"


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
    return {kind: os.readlink(Path("/proc/self/ns") / kind) for kind in (*NAMESPACES, "user")}
