"""What the shared directories of runs that wait take of the host: by workspace, and no mount each."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from executor.errors import NoSharedDirectory, SharedFull
from executor.sandbox.hardening import MIB
from executor.sandbox.shared import SharedDirectories
from executor.sandbox.shareddisk import Ext4
from executor.sandbox.sharequota import WorkspaceShares
from tests.approving import Approvals, gated, told
from tests.service import LocalService, local_service
from tests.shared.bench import SMALL, directories, gone, loops_below, mounts_below, nobody

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]


async def note(shares: WorkspaceShares | SharedDirectories, *run: str) -> Path:
    """The note in a run's directory, which is opened."""
    files = (await shares.open(*run)).files
    assert files is not None
    return files / "note"


async def write(shares: WorkspaceShares, run: str, workspace: str, mib: int) -> None:
    """Fill a run's directory so far, as a step does."""
    shared = await shares.open(run, workspace)
    assert shared.files is not None
    (shared.files / "note").write_bytes(os.urandom(mib * MIB))
    await shared.sync()


async def test_a_run_that_rests_takes_no_mount_and_finds_its_files(tmp_path: Path) -> None:
    async with directories(tmp_path) as shared:
        (await note(shared, "run")).write_text("x")
        shared.rest("run")
        shared.rest("run")
        shared.rest("never opened")
        await gone(mounts_below, tmp_path)
        await gone(loops_below, tmp_path)
        again = await shared.open("run")
        assert (again.is_new, (await note(shared, "run")).read_text()) == (False, "x")
        shared.rest("run")
        shared.close("run")
        await gone(lambda: list(tmp_path.glob("ext4-*")))


async def test_rests_and_openings_at_once_lose_nothing(tmp_path: Path) -> None:
    """A run may go on in the moment in which it was put down."""
    chance = random.Random(7)
    async with directories(tmp_path) as shared:
        seen = ""
        for n in range(25):
            at = await note(shared, "run")
            assert n == 0 or at.read_text() == seen
            seen = str(n)
            at.write_text(seen)
            shared.rest("run")
            await asyncio.sleep(chance.uniform(0, 0.03))


async def test_a_workspace_that_holds_much_gets_no_more(tmp_path: Path) -> None:
    """Who has a directory keeps it, other workspaces are not affected, and the end of a run makes room."""
    async with directories(tmp_path) as shared:
        shares = WorkspaceShares(shared, 8 * MIB)
        await write(shares, "small", "one", 1)
        await write(shares, "big", "one", 8)
        with pytest.raises(SharedFull, match="EXECUTOR_SHARED_TOTAL_MB") as refused:
            await shares.open("third", "one")
        assert isinstance(refused.value, NoSharedDirectory)
        assert (await note(shares, "small", "one")).exists()
        assert not (await note(shares, "other", "two")).exists()
        shares.rest("big")
        with pytest.raises(SharedFull):
            await shares.open("third", "one")
        shares.close("big")
        assert (await shares.open("third", "one")).is_new


async def test_a_restart_knows_whose_directories_there_are(tmp_path: Path) -> None:
    async def owner_of(run_id: str) -> str | None:
        return {"big": "one"}.get(run_id)

    before = SharedDirectories(tmp_path, SMALL, (Ext4(),), 0)
    shares = WorkspaceShares(before, 8 * MIB)
    await shares.open("over", "one")
    await write(shares, "big", "one", 9)
    await before.settle(10)
    async with directories(tmp_path) as shared:
        shares = WorkspaceShares(shared, 8 * MIB)
        assert await shares.sweep(owner_of) == 1
        with pytest.raises(SharedFull):
            await shares.open("third", "one")
        assert (await shares.open("big", "one")).is_new is False
        assert (await shares.open("other", "two")).is_new


async def parked(service: LocalService, approvals: Approvals) -> str:
    """A run that has a directory and waits; it has written nothing, the engine is a fake one."""
    run = await approvals.start(gated(), told(), same_worker=True)
    await approvals.waits(run, parked=True)
    return run


async def test_runs_that_wait_for_approval_are_bounded_in_what_they_hold(tmp_path: Path) -> None:
    """Each holds the little of an empty directory; the one over the bound fails, the others go on."""
    async with local_service(tmp_path, shared_mb=16, shared_total_mb=1) as service:
        approvals = Approvals(service)
        shared = service.service.shared
        assert shared is not None
        waiting, held = [], 0
        while held < MIB:
            waiting.append(await parked(service, approvals))
            held += shared.held(waiting[-1])
        mounted = [
            str(tmp_path / "shared" / os.readlink(tmp_path / "shared" / "runs" / run)) for run in waiting
        ]
        await gone(lambda: [path for path in mounts_below(tmp_path) if path.startswith(tuple(mounted))])
        refused = await service.ended(await approvals.start(gated(), told(), same_worker=True))
        assert (refused["status"], refused["reason"]) == ("failure", "infrastructure")
        assert "EXECUTOR_SHARED_TOTAL_MB" in refused["result"]["error"]["message"]
        assert len(waiting) > 1

        for run in waiting:
            await approvals.approve(await approvals.waits(run))
        for run in waiting:
            assert (await service.ended(run))["status"] == "success"
        await gone(lambda: list((tmp_path / "shared" / "runs").iterdir()))
        assert await shared.sweep(nobody) == 0
        again = await parked(service, approvals)
        await approvals.approve(await approvals.waits(again))
        assert (await service.ended(again))["status"] == "success"
