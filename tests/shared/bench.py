"""Shared directories and a sandbox on the real engine, for tests."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.containers import docker_parts, make_sandbox
from executor.runtimes import scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.sandbox.shared import Kind, SharedDirectories, SharedDirectory, Size
from executor.sandbox.shareddisk import Ext4
from executor.script import Outcome, Returned, Script, compact_json, resolve_limits
from executor.settings import load

SMALL = Size.of(16, 500)
SETTLE_S = 30.0
RUNTIMES = scan()


async def nobody(_: str) -> bool:
    """No run lives."""
    return False


async def everybody(_: str) -> bool:
    """Every run lives."""
    return True


def mounts_below(folder: Path) -> list[str]:
    """What is mounted below a folder, in this mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{folder.resolve()}/")]


def loops_below(folder: Path) -> list[str]:
    """The files below a folder that are attached to a loop device, deleted or not.

    The kernel frees a device some time after it was unmounted: while a container starts, it holds a copy
    of every mount of the host.
    """
    backing = Path("/sys/block").glob("loop*/loop/backing_file")
    found = []
    for said in backing:
        try:
            found.append(said.read_text("utf-8").strip())
        except OSError:
            continue
    return [path for path in found if path.startswith(f"{folder.resolve()}/")]


@asynccontextmanager
async def directories(
    folder: Path, *kinds: Kind, size: Size = SMALL, spares: int = 0
) -> AsyncIterator[SharedDirectories]:
    """Shared directories that are swept when the test ends, however it does."""
    made = SharedDirectories(folder, size, kinds or (Ext4(),), spares)
    try:
        yield made
    finally:
        await made.settle(SETTLE_S)
        swept = SharedDirectories(folder, size, kinds or (Ext4(),), 0)
        await swept.sweep(nobody)
        await swept.settle(SETTLE_S)
        assert mounts_below(folder) == []


@dataclass
class Bench:
    """Runs scripts with a shared directory, or without."""

    sandbox: Sandbox

    async def run(
        self,
        shared: SharedDirectory | None,
        language: str,
        script: str,
        args: dict[str, Any] | None = None,
        started: asyncio.Event | None = None,
        **limits: Any,
    ) -> Outcome:
        """One script in a container of its own; `started` is set when it first logs something."""
        told = (lambda _: started.set()) if started else None
        runtime = RUNTIMES.by_name[language]
        order = Order(
            name=f"executor-test-{uuid.uuid4()}",
            runtime=runtime,
            script=Script(language, script, compact_json(args or {})),
            limits=resolve_limits({"timeout_s": 60, **limits}, load().limits),
            cancellation=Cancellation(1.0),
            listener=Listener(log=told),
            shared=shared,
        )
        return await self.sandbox.run(order)

    async def value(self, shared: SharedDirectory | None, language: str, script: str, **args: Any) -> Any:
        """The script's result; it must succeed."""
        outcome = await self.run(shared, language, script, args)
        assert isinstance(outcome, Returned), outcome
        return json.loads(outcome.value)


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """A sandbox on the real engine; its containers are gone at the end."""
    settings = load()
    parts = docker_parts(settings, RUNTIMES)
    folder.mkdir(mode=0o711, exist_ok=True)
    sandbox = make_sandbox(parts, folder, f"test-{uuid.uuid4()}", "test")
    try:
        yield Bench(sandbox)
    finally:
        await sandbox.cleanup.settle(SETTLE_S)
        parts.engine.close()


async def gone(found: Any, *about: Any, timeout_s: float = 15) -> None:
    """Wait until `found(*about)` is empty."""
    async with asyncio.timeout(timeout_s):
        while found(*about):
            await asyncio.sleep(0.05)


def kinds_of(instance: str) -> Sequence[Kind]:
    """The ways that the service itself tries, in its order."""
    return docker_parts(load(), RUNTIMES).shared_kinds(instance)


def everything_in(folder: Path) -> list[Path]:
    """All that is below a folder; what vanishes while we look is not there any more."""
    return [Path(at) / name for at, folders, files in os.walk(folder) for name in (*folders, *files)]
