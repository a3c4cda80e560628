"""Does an OCI runtime enforce limits here? A container tries to exceed them.

Nothing is concluded from what control groups say: a runtime may make them and put nothing into them.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace

from executor.errors import EngineError
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Containers
from executor.sandbox.hardening import CONFINED, MIB
from executor.sandbox.spec import ContainerSpec, Hardening, Tmpfs

INSTANCE = "probe"
PROBE_S = 30.0
MEMORY_BYTES, PIDS, CPUS = 48 * MIB, 24, 0.5
TAKEN_BYTES, STARTED = 128 * MIB, 48
"""What the container tries to have: beyond its limits, and little enough for any host."""
EXCEED = rf"""
memory=$(awk 'BEGIN {{ s = "x"; while (length(s) < {TAKEN_BYTES}) s = s s; print "taken" }}' 2>/dev/null)
echo "memory ${{memory:-refused}}"
(i=0; while [ $i -lt {STARTED} ]; do sleep 5 & i=$((i + 1)); echo "pids $i"; done) 2>/dev/null
echo end
read -r _
"""
"""One line of what became of the memory, one for each process that was started, and the end."""


def probe_hardening() -> Hardening:
    """A container with small limits and a place to write."""
    places = (Tmpfs("/tmp", MIB, 64), Tmpfs("/job", MIB, 64))
    return replace(CONFINED, memory_bytes=MEMORY_BYTES, cpus=CPUS, pids=PIDS, terminals=1, tmpfs=places)


def probe_spec(image: str, script: str) -> ContainerSpec:
    """A container of one of our images that runs a shell script; whoever is killed in a trial, it is found."""
    labels = {LABEL: INSTANCE, LABEL_ROLE: "probe", LABEL_WORKER: str(os.getpid())}
    name = f"executor-probe-{uuid.uuid4()}"
    return ContainerSpec(name, image, probe_hardening(), labels, entrypoint=("/bin/sh", "-c", script))


async def exceeds(engine: Containers, image: str, runtime_class: str) -> list[str]:
    """Which limits are not enforced under this runtime, or why it could not be tried; nothing if all is well."""
    spec = replace(probe_spec(image, EXCEED), runtime_class=runtime_class)
    try:
        try:
            async with asyncio.timeout(PROBE_S):
                return list(judge(await _said(engine, spec)))
        finally:
            await engine.remove(spec.name)
    except TimeoutError:
        return [f"a container did not end its trial within {PROBE_S:g} s"]
    except (EngineError, OSError) as error:
        return [f"a container could not be tried: {error}"]


def judge(said: str) -> Iterator[str]:
    """What the container could have that it was not meant to have."""
    lines = said.splitlines()
    started = sum(line.startswith("pids ") for line in lines)
    if "end" not in lines or not started:
        yield "a container ended before its trial did"
    if "memory refused" not in lines:
        yield f"the limit of memory is not enforced: {TAKEN_BYTES // MIB} MiB fit into {MEMORY_BYTES // MIB}"
    if started >= PIDS:
        yield f"the limit of pids is not enforced: {started} processes were started where {PIDS} may be"


async def _said(engine: Containers, spec: ContainerSpec) -> str:
    channel = await engine.start(spec)
    try:
        said = b""
        while not said.endswith(b"end\n") and (data := await channel.receive()):
            said += data
        return said.decode("utf-8", "replace")
    finally:
        channel.close()
