"""The life of shared directories on this host's real file systems: made, found again, removed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.errors import NoRoom, NoSharedDirectory
from executor.sandbox.hardening import JOB_UID
from executor.sandbox.shared import Kind, SharedDirectories, SharedDirectory, Size
from executor.sandbox.shareddisk import Ext4, HostTmpfs, image_bytes, tool
from tests.docs import ROOT
from tests.shared.bench import (
    SMALL,
    directories,
    everybody,
    everything_in,
    gone,
    loops_below,
    mounts_below,
    nobody,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]

KINDS: dict[str, Callable[[], Kind]] = {"ext4": Ext4, "tmpfs": HostTmpfs}
MOUNTED = pytest.mark.parametrize("kind", KINDS)


def files(run: SharedDirectory) -> Path:
    assert run.files is not None
    return run.files


def left(folder: Path) -> list[str]:
    """Everything that a folder of shared directories holds but its own structure."""
    inside = [str(path.relative_to(folder)) for path in everything_in(folder) if path.name != "runs"]
    return sorted([*inside, *mounts_below(folder), *loops_below(folder)])


@MOUNTED
async def test_a_run_has_one_directory_however_often_it_is_opened(tmp_path: Path, kind: str) -> None:
    """Also when several steps open it at once."""
    async with directories(tmp_path, KINDS[kind]()) as shared:
        seen = await asyncio.gather(*(shared.open("run") for _ in range(5)), shared.open("other"))
        assert len({run.files for run in seen}) == 2
        assert all(run.is_new for run in seen)
        (files(seen[0]) / "note").write_text("x")
        again = await shared.open("run")
        assert (again.files, again.is_new, again.kind) == (seen[0].files, False, kind)
        assert (files(again) / "note").read_text() == "x"
        assert list(files(seen[-1]).iterdir()) == []


@MOUNTED
async def test_a_closed_directory_is_gone_and_a_new_one_is_empty(tmp_path: Path, kind: str) -> None:
    async with directories(tmp_path, KINDS[kind]()) as shared:
        first = await shared.open("run")
        (files(first) / "note").write_text("x")
        shared.close("run")
        shared.close("run")
        shared.close("never opened")
        second = await shared.open("run")
        assert second.is_new
        assert list(files(second).iterdir()) == []
        shared.close("run")
        await shared.settle(10)
        await gone(left, tmp_path)


async def test_closing_while_it_opens_leaves_nothing(tmp_path: Path) -> None:
    """A run that is cancelled at once."""
    async with directories(tmp_path) as shared:
        opening = asyncio.create_task(shared.open("run"))
        await asyncio.sleep(0)
        shared.close("run")
        await opening
        await gone(left, tmp_path)


@MOUNTED
async def test_nothing_of_the_host_is_in_it_and_it_is_the_jobs_user_s_alone(
    tmp_path: Path, kind: str
) -> None:
    async with directories(tmp_path, KINDS[kind]()) as shared:
        run = await shared.open("run")
        seen = files(run).stat()
        assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o7777) == (JOB_UID, JOB_UID, 0o700)
        assert list(files(run).iterdir()) == []
        (options,) = [
            line.split()[5]
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if line.split()[4] == str(files(run).parent)
        ]
        assert {"rw", "nodev", "nosuid"} <= set(options.split(","))


@MOUNTED
@pytest.mark.parametrize("size", [Size.of(16, 1), SMALL, Size.of(64, 100_000)], ids=str)
async def test_it_holds_as_much_as_was_asked_and_hardly_more(tmp_path: Path, kind: str, size: Size) -> None:
    """In bytes and in files; asked for more files than it can have, it has as many as it can."""
    async with directories(tmp_path, KINDS[kind](), size=size) as shared:
        here = os.statvfs(files(await shared.open("run")))
        assert size.bytes <= here.f_bavail * here.f_frsize <= size.bytes * 1.25 + (4 << 20)
        assert size.files <= here.f_favail <= size.files * 1.25 + 1024


@MOUNTED
async def test_its_bounds_hold_and_no_other_is_affected(tmp_path: Path, kind: str) -> None:
    """No space for a byte, no inode for a file; the other run's directory has both."""
    async with directories(tmp_path, KINDS[kind]()) as shared:
        full, other = await shared.open("full"), await shared.open("other")
        with pytest.raises(OSError, match="No space") as caught, (files(full) / "big").open("wb") as big:
            while True:
                big.write(bytes(1024 * 1024))
        assert caught.value.errno == errno.ENOSPC
        (files(full) / "big").unlink()
        with pytest.raises(OSError, match="No space"):
            for n in range(100_000):
                (files(full) / str(n)).touch()
        (files(other) / "data").write_bytes(bytes(SMALL.bytes // 2))


async def only_kept(run_id: str) -> bool:
    return run_id == "kept"


async def test_a_restart_finds_what_was_written(tmp_path: Path) -> None:
    """After an orderly stop nothing is mounted; the living run's contents are there again."""
    first = SharedDirectories(tmp_path, SMALL, (Ext4(),), 1)
    (files(await first.open("kept")) / "note").write_text("x")
    await first.open("ended")
    await first.settle(10)
    assert mounts_below(tmp_path) == []
    await gone(loops_below, tmp_path)
    async with directories(tmp_path) as second:
        assert await second.sweep(only_kept) == 1
        again = await second.open("kept")
        assert (again.is_new, (files(again) / "note").read_text()) == (False, "x")
        assert (await second.open("ended")).is_new


def kill_a_user_of(folder: Path, after_s: float) -> None:
    command = [sys.executable, "-m", "tests.shared.killed", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
    time.sleep(0.3)  # a tool that it had started may end its work


async def test_a_kill_at_any_moment_leaves_only_what_a_sweep_removes(tmp_path: Path) -> None:
    """The run that lives on keeps its contents; of the others nothing is mounted, attached or on the disk."""
    chance = random.Random(11)
    for n in range(3):
        folder = tmp_path / str(n)
        await asyncio.to_thread(kill_a_user_of, folder, chance.uniform(0, 0.3))
        assert mounts_below(folder) != []

        async with directories(folder) as shared:
            await shared.sweep(only_kept)
            run = await shared.open("kept")
            assert (files(run) / "note").read_text() == "written before the kill"
            await gone(lambda folder=folder: mounts_below(folder)[1:] + loops_below(folder)[1:])
            shared.close("kept")
            await gone(left, folder)


@MOUNTED
async def test_removal_waits_for_who_reads(tmp_path: Path, kind: str) -> None:
    """A download may be under way in the service itself; closing does not wait, the removal does."""
    async with directories(tmp_path, KINDS[kind]()) as shared:
        run = await shared.open("run")
        (files(run) / "note").write_text("x")
        with (files(run) / "note").open() as reading:
            shared.close("run")
            await asyncio.sleep(0.5)
            assert reading.read() == "x"
            assert mounts_below(tmp_path) != []
        await gone(left, tmp_path)


async def test_spares_are_made_once_one_was_needed_and_given_up_at_the_end(tmp_path: Path) -> None:
    """Before the first run needs a directory, nothing of the host is occupied."""
    async with directories(tmp_path, spares=2) as shared:
        assert left(tmp_path) == []
        await shared.open("run")
        async with asyncio.timeout(30):
            while len(mounts_below(tmp_path)) < 3:
                await asyncio.sleep(0.01)
        spares = set(mounts_below(tmp_path))
        second = await shared.open("second")
        assert str(files(second).parent) in spares, "it was there already"
        assert await shared.sweep(everybody) == 0, "spares are no leftovers"
        shared.close("run")
        shared.close("second")
        await shared.settle(10)
        await gone(left, tmp_path)


async def test_lost_contents_are_told(tmp_path: Path) -> None:
    """A tmpfs does not outlive the host's stop: the run's next directory says that it is new."""
    async with directories(tmp_path, HostTmpfs()) as shared:
        run = await shared.open("run")
        tool("umount", files(run).parent)
        again = await shared.open("run")
        assert again.is_new
        assert again.files != run.files


async def test_sync_is_for_the_whole_directory(tmp_path: Path) -> None:
    """Afterwards the image itself, read past the mount, has what was written."""
    async with directories(tmp_path) as shared:
        run = await shared.open("run")
        mark = os.urandom(32)
        (files(run) / "note").write_bytes(mark * 128)
        await run.sync()
        (image,) = tmp_path.glob("ext4-*/image")
        copy = tmp_path / "copy"
        tool("cp", "--sparse=always", image, copy)
        assert mark in copy.read_bytes()
        copy.unlink()


def features_of(image: Path) -> str:
    done = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("Filesystem features"))


async def test_a_power_cut_after_a_sync_loses_nothing(tmp_path: Path) -> None:
    """The image as it is at that moment mounts by itself, journal and all, with what was written."""
    async with directories(tmp_path) as shared:
        run = await shared.open("run")
        for n in range(100):
            (files(run) / str(n)).write_text(str(n))
        await run.sync()
        for n in range(100):
            (files(run) / f"later {n}").write_text(str(n))
        (image,) = tmp_path.glob("ext4-*/image")
        cut = tmp_path / "ext4-cut"
        cut.mkdir()
        tool("cp", "--sparse=always", image, cut / "image")
        assert "has_journal" in features_of(cut / "image")
        assert Ext4().find(cut)
        found = cut / "mount" / "files"
        assert [(found / str(n)).read_text() for n in range(100)] == [str(n) for n in range(100)]
        Ext4().remove(cut)


async def test_a_power_cut_right_after_the_first_open_leaves_an_empty_directory(tmp_path: Path) -> None:
    """Not one that cannot be found again."""
    async with directories(tmp_path) as shared:
        await shared.open("run")
        (image,) = tmp_path.glob("ext4-*/image")
        cut = tmp_path / "ext4-cut"
        cut.mkdir()
        tool("cp", "--sparse=always", image, cut / "image")
        assert Ext4().find(cut)
        assert list((cut / "mount" / "files").iterdir()) == []
        Ext4().remove(cut)


async def test_without_room_for_a_full_one_none_is_made(tmp_path: Path) -> None:
    """A sparse image that the disk cannot hold would lose what scripts write; the message says what to do."""
    small = tmp_path / "small"
    small.mkdir()
    tool("mount", "-t", "tmpfs", "-o", f"size={image_bytes(SMALL) - 4096}", "small", small)
    try:
        async with directories(small / "shared", Ext4(), HostTmpfs()) as shared:
            with pytest.raises(NoRoom, match="EXECUTOR_SHARED_MB"):
                await shared.open("run")
            tool("mount", "-o", f"remount,size={image_bytes(SMALL) + (1 << 20)}", small)
            run = await shared.open("run")
            assert run.kind == "ext4", "it was no reason for another kind"
    finally:
        tool("umount", small)


async def test_what_a_full_disk_did_not_keep_is_told_by_sync(tmp_path: Path) -> None:
    """The image is sparse: somebody else may fill the disk. The directory can still be closed."""
    small = tmp_path / "small"
    small.mkdir()
    tool("mount", "-t", "tmpfs", "-o", f"size={image_bytes(SMALL) + (1 << 20)}", "small", small)
    try:
        async with directories(small / "shared") as shared:
            run = await shared.open("run")
            await run.sync()
            with pytest.raises(OSError, match="No space"), (small / "others").open("wb") as others:
                while True:
                    others.write(bytes(1 << 20))
            with (files(run) / "data").open("wb") as data:
                data.write(bytes(range(256)) * 32 * 1024)
            with pytest.raises(NoSharedDirectory, match="what run run wrote cannot be kept"):
                await run.sync()
            shared.close("run")
            await gone(left, small / "shared")
    finally:
        tool("umount", small)


async def test_what_cannot_be_made_says_why_for_each_way(tmp_path: Path) -> None:
    def blind(_: Path) -> bool:
        return False

    async with directories(tmp_path, Ext4(blind), HostTmpfs(blind)) as shared:
        with pytest.raises(NoSharedDirectory) as caught:
            await shared.open("run")
        assert str(caught.value).count("the engine does not see what this service mounts") == 2
        await gone(left, tmp_path)


def test_a_user_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    """In a process of that user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        said = []
        for kind in (Ext4(), HostTmpfs()):
            try:
                kind.make(tmp_path, SMALL)
            except NoSharedDirectory as error:
                said.append(str(error))
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        first, second = json.load(answer)
    assert first == "ext4: only root can mount, and this service runs as user 65534"
    assert second.startswith("tmpfs: only root")


async def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes of the operator").write_text("x")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "astray").symlink_to("../../../etc")
    async with directories(tmp_path) as shared:
        assert await shared.sweep(nobody) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["notes of the operator", "runs"]
        assert list((tmp_path / "runs").iterdir()) == []
        for wrong in ("../x", "a/b", "", ".x", "x" * 129):
            with pytest.raises(AssertionError, match="BUG"):
                await shared.open(wrong)
