"""The way that works here is the one that is used; each way really tried, on the real engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from executor.errors import EngineError
from executor.sandbox.shared import Kind, SharedDirectories, Size
from executor.sandbox.shareddisk import HostTmpfs, tool
from executor.script import Returned
from tests.docs import ROOT
from tests.shared.bench import SMALL, Bench, bench, directories, gone, kinds_of, mounts_below

pytestmark = [pytest.mark.engine, pytest.mark.anyio]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

WRITE = "echo written > /shared/note; echo true > result.json"
READ = "jq -Rs . < shared/note > result.json"
FILL = "head -c 1G /dev/zero > /shared/big || stat -c %s /shared/big > result.json"
FLAGS = "awk '$5 == \"/shared\" { print $6 }' /proc/self/mountinfo | jq -Rs . > result.json"


@pytest.fixture
async def steps(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "containers") as made:
        yield made


@pytest.fixture
def instance() -> str:
    return f"test-{uuid.uuid4()}"


def of_the_engine(instance: str) -> list[str]:
    """The containers and volumes that shared directories of this instance have."""
    client = docker.from_env()
    try:
        chosen = {"label": f"executor.shared={instance}"}
        holders = client.api.containers(all=True, filters=chosen)
        volumes = client.api.volumes(filters=chosen)["Volumes"] or []
        return [*(holder["Names"][0] for holder in holders), *(volume["Name"] for volume in volumes)]
    finally:
        client.close()


def volume_of(instance: str) -> Kind:
    return next(kind for kind in kinds_of(instance) if kind.name == "volume")


@ROOT_ONLY
async def test_the_host_s_way_comes_first_and_is_seen_by_the_engine(
    steps: Bench, tmp_path: Path, instance: str
) -> None:
    async with directories(tmp_path / "shared", *kinds_of(instance)) as shared:
        chosen = await shared.chosen()
        assert (chosen.kind, chosen.obstacles) == ("ext4", ())
        run = await shared.open("run")
        assert await steps.value(run, "bash", WRITE)
        assert run.files is not None
        assert (run.files / "note").read_text() == "written\n"


@ROOT_ONLY
async def test_a_tmpfs_serves_where_there_are_no_loop_devices(steps: Bench, tmp_path: Path) -> None:
    """Bounded alike; its size is its own, not the job's."""
    async with directories(tmp_path / "shared", HostTmpfs()) as shared:
        run, other = await shared.open("run"), await shared.open("other")
        assert await steps.value(run, "bash", WRITE)
        assert await steps.value(run, "bash", READ) == "written\n"
        assert {"nodev", "nosuid", "rw"} <= set((await steps.value(run, "bash", FLAGS)).strip().split(","))
        assert 15 << 20 < await steps.value(other, "bash", FILL) <= 16 << 20
        assert await steps.value(run, "bash", READ) == "written\n"


async def test_a_volume_of_the_engine_serves_who_cannot_mount(
    steps: Bench, tmp_path: Path, instance: str
) -> None:
    """It keeps its contents between two containers, is bounded, and goes with its holder."""
    async with directories(tmp_path / "shared", volume_of(instance)) as shared:
        run = await shared.open("run")
        assert (run.kind, run.files) == ("volume", None)
        assert (
            await steps.value(run, "python3", "def main():\n    open('./shared/note', 'w').write('x')")
            is None
        )
        assert await steps.value(run, "bash", READ) == "x"
        assert {"nodev", "nosuid", "rw"} <= set((await steps.value(run, "bash", FLAGS)).strip().split(","))
        assert await steps.value(run, "bash", "stat -c '\"%u %a\"' /shared > result.json") == "65532 700"
        assert 15 << 20 < await steps.value(run, "bash", FILL) <= 16 << 20
        assert len(of_the_engine(instance)) == 2
        shared.close("run")
        await gone(of_the_engine, instance)


async def test_a_volume_is_found_again_and_swept(steps: Bench, tmp_path: Path, instance: str) -> None:
    """It outlives the service; what no run owns is removed with its holder."""
    first = SharedDirectories(tmp_path / "shared", SMALL, (volume_of(instance),), 1)
    assert await steps.value(await first.open("kept"), "bash", WRITE)
    await first.open("lost")
    await first.settle(20)

    async def only_kept(run_id: str) -> bool:
        return run_id == "kept"

    async with directories(tmp_path / "shared", volume_of(instance)) as second:
        assert await second.sweep(only_kept) == 1
        again = await second.open("kept")
        assert not again.is_new
        assert await steps.value(again, "bash", READ) == "written\n"
    assert of_the_engine(instance) == []


async def test_a_volume_without_its_holder_is_lost_and_told(tmp_path: Path, instance: str) -> None:
    """As after the engine's stop."""
    async with directories(tmp_path / "shared", volume_of(instance)) as shared:
        await shared.open("run")
        client = docker.from_env()
        (holder,) = client.api.containers(filters={"label": f"executor.shared={instance}"})
        client.api.kill(holder["Id"])
        client.close()
        assert (await shared.open("run")).is_new


async def test_a_volume_that_is_in_use_is_removed_afterwards(
    steps: Bench, tmp_path: Path, instance: str
) -> None:
    """The run is closed while a step still runs."""
    async with directories(tmp_path / "shared", volume_of(instance)) as shared:
        run = await shared.open("run")
        begun = asyncio.Event()
        script = "echo begun; sleep 2; echo x > /shared/x"
        step = asyncio.create_task(steps.run(run, "bash", script, started=begun))
        await begun.wait()
        shared.close("run")
        assert isinstance(await step, Returned)
        await gone(of_the_engine, instance)


OTHER_NAMESPACE = """
import asyncio, sys
from pathlib import Path
from executor import telemetry
from tests.shared.bench import bench, directories, kinds_of

telemetry.configure("error")

async def main(folder, instance):
    async with directories(Path(folder) / "shared", *kinds_of(instance)) as shared, bench(Path(folder) / "c") as steps:
        chosen = await shared.chosen()
        print(chosen.kind, *chosen.obstacles)
        run = await shared.open("run")
        print(await steps.value(run, "bash", "echo x > /shared/x; ls -A /shared | jq -R . > result.json"))

asyncio.run(main(*sys.argv[1:]))
"""


@ROOT_ONLY
def test_a_service_in_a_mount_namespace_of_its_own_uses_a_volume(tmp_path: Path, instance: str) -> None:
    """The engine does not see its mounts; scripts never get a bare directory of the host instead."""
    unshare = shutil.which("unshare")
    assert unshare is not None
    command = [unshare, "--mount", "--propagation", "private", sys.executable, "-c", OTHER_NAMESPACE]
    done = subprocess.run(
        [*command, str(tmp_path), instance], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    chosen, listed = done.stdout.splitlines()[-2:]
    assert chosen.startswith("volume ")
    assert chosen.count("the engine does not see what this service mounts") == 2
    assert listed == "x"
    assert of_the_engine(instance) == []
    assert mounts_below(tmp_path) == []


@ROOT_ONLY
async def test_a_mount_that_the_engine_does_not_see_ends_the_job_not_the_host(
    steps: Bench, tmp_path: Path
) -> None:
    """Should it vanish under a run, the engine refuses the container; nothing is written in its place."""
    async with directories(tmp_path / "shared", HostTmpfs(), size=Size.of(16, 10)) as shared:
        run = await shared.open("run")
        assert run.files is not None
        tool("umount", run.files.parent)
        with pytest.raises(
            EngineError, match=r"bind source path does not exist|No such file or directory|Permission denied"
        ):
            await steps.run(run, "bash", WRITE)
        assert list((tmp_path / "shared").rglob("note")) == []
