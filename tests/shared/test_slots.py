"""Containers that wait get a run's shared directory when its job comes, and lose it with its end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from executor import telemetry
from executor.containers import docker_parts, make_sandbox, make_slots
from executor.sandbox.blank import Bounds
from executor.sandbox.slots import Slots
from executor.settings import load
from tests.engines import BOTH
from tests.shared.bench import RUNTIMES, SETTLE_S, Bench, directories, mounts_below
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.engine]

NOTE = "def main(text):\n    open('/shared/note', 'a').write(text)\n    return open('shared/note').read()\n"
LOOK = "import os\ndef main():\n    return [sorted(os.listdir('/shared')), os.access('/shared', os.W_OK)]\n"


@asynccontextmanager
async def waiting(folder: Path, engine: str) -> AsyncIterator[Bench]:
    """A sandbox with a pool and slots."""
    parts = docker_parts(load(engine=engine), RUNTIMES)
    (folder / "containers").mkdir(parents=True)
    slots = make_slots(folder / "slots")
    assert slots is not None, "mounting works here"
    bounds = Bounds(count=3, memory_bytes=1 << 40, cores=2)
    sandbox = make_sandbox(
        parts, folder / "containers", f"test-{uuid.uuid4()}", "test", pool=bounds, slots=slots
    )
    assert sandbox.pool is not None
    sandbox.pool.start()
    try:
        yield Bench(sandbox)
    finally:
        await sandbox.close(SETTLE_S)
        slots.close()
        parts.engine.close()
        assert mounts_below(folder / "slots") == []


def hits() -> float:
    """How many containers with a slot were taken out of the pool."""
    return float(telemetry.pool_hits.labels("python3 shared")._value.get())


async def until_ready(bench: Bench) -> None:
    """A container with a slot waits."""
    pool = bench.sandbox.pool
    assert pool is not None
    await until(lambda: any(each.blank.spec.slot and each.waiting for each in pool._classes.values()), 60)


async def value(bench: Bench, shared: Any, script: str, **args: Any) -> Any:
    """The script's result, in a container that has waited."""
    await until_ready(bench)
    before = hits()
    found = await bench.value(shared, "python3", script, **args)
    assert hits() == before + 1
    return found


@pytest.mark.parametrize("engine", BOTH)
async def test_steps_of_a_run_share_and_runs_do_not(tmp_path: Path, engine: str) -> None:
    """In containers that knew of no run when they were made; nothing stays mounted after them."""
    async with directories(tmp_path / "shared") as shared, waiting(tmp_path / "at", engine) as bench:
        first, second = await shared.open("first"), await shared.open("second")
        assert await bench.value(first, "python3", NOTE, text="a") == "a", "cold: the class is new"
        assert await value(bench, first, NOTE, text="b") == "ab"
        assert await value(bench, second, NOTE, text="x") == "x"
        assert await value(bench, first, NOTE, text="c") == "abc"
        assert first.files is not None
        assert (first.files / "note").read_text() == "abc"
        await bench.sandbox.cleanup.settle(SETTLE_S)
        assert (first.files / "note").read_text() == "abc", "the slot went, not what it showed"
        shared.close("first")
        place = first.files.parents[1]
        await until(lambda: not place.exists(), 15)


@pytest.mark.parametrize("engine", BOTH)
async def test_an_empty_slot_is_nothing_to_write_to(tmp_path: Path, engine: str) -> None:
    """Before its job a container has no place there; a job without a run has its own, in memory."""
    async with directories(tmp_path / "shared") as shared, waiting(tmp_path / "at", engine) as bench:
        run = await shared.open("run")
        await bench.value(run, "python3", NOTE, text="a")
        await until_ready(bench)
        slots = list((tmp_path / "at" / "slots").glob("executor-pool-*"))
        assert slots
        assert all(slot.stat().st_mode & 0o777 == 0o555 and not list(slot.iterdir()) for slot in slots)
        assert await bench.value(None, "python3", LOOK) == [[], True]
        assert await value(bench, run, LOOK) == [["note"], True]


async def test_a_directory_that_cannot_be_mounted_late_starts_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has it all the same."""
    async with directories(tmp_path / "shared") as shared, waiting(tmp_path / "at", "docker") as bench:
        run = await shared.open("run")
        await bench.value(run, "python3", NOTE, text="a")
        await until_ready(bench)

        def refused(*_: Any) -> None:
            raise OSError("no mounts today")

        monkeypatch.setattr(Slots, "fill", refused)
        assert await bench.value(run, "python3", NOTE, text="b") == "ab"


async def test_what_a_killed_service_left_is_taken_away_and_the_files_stay(tmp_path: Path) -> None:
    """The next start unmounts its slots before anything looks into them."""
    async with directories(tmp_path / "shared") as shared:
        run = await shared.open("run")
        assert run.files is not None
        (run.files / "kept").write_text("x")
        left = Slots(tmp_path / "slots")
        await asyncio.to_thread(left.open)
        await asyncio.to_thread(left.made, "executor-pool-1")
        await asyncio.to_thread(left.fill, "executor-pool-1", run.files)
        assert (tmp_path / "slots" / "executor-pool-1" / "kept").exists()
        found = make_slots(tmp_path / "slots")
        assert found is not None
        assert list((tmp_path / "slots").iterdir()) == []
        found.close()
        assert mounts_below(tmp_path / "slots") == []
        assert (run.files / "kept").read_text() == "x"
