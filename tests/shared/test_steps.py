"""Steps of one run share a directory, whatever their languages; real containers on the real engine."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.errors import Unreadable
from executor.sandbox.reading import list_files, read_file
from executor.sandbox.shared import SharedDirectories, Size
from executor.sandbox.shareddisk import Ext4
from executor.script import Returned
from tests.shared.bench import RUNTIMES, Bench, bench, directories, gone, loops_below, mounts_below

pytestmark = [
    pytest.mark.engine,
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]

PYTHON_WRITES = """
def main(text):
    open('./shared/note', 'w').write(text)
    return open('/shared/note').read()
"""
BASH_READS = 'jq -Rs . < shared/note > result.json; printf " and bash" >> /shared/note'
DENO_APPENDS = """
export async function main() {
    await Deno.writeTextFile("./shared/note", " and deno", { append: true });
    return (await Deno.readTextFile("/shared/note")).toString();
}
"""
GO_READS = """package inner

import "os"

func main() (string, error) {
	text, err := os.ReadFile("shared/note")
	return string(text), err
}
"""


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[SharedDirectories]:
    async with directories(tmp_path / "shared") as made:
        yield made


@pytest.fixture
async def steps(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "containers") as made:
        yield made


async def test_every_language_sees_what_the_others_wrote(steps: Bench, shared: SharedDirectories) -> None:
    """`./shared` and `/shared` are one directory, and one user owns everything in it."""
    run = await shared.open("run")
    assert await steps.value(run, "python3", PYTHON_WRITES, text="python") == "python"
    assert await steps.value(run, "bash", BASH_READS) == "python"
    assert await steps.value(run, "deno", DENO_APPENDS) == "python and bash and deno"
    if "go" in RUNTIMES.by_name:
        assert await steps.value(run, "go", GO_READS) == "python and bash and deno"


async def test_without_a_directory_each_job_has_an_empty_one_of_its_own(steps: Bench) -> None:
    """What one job leaves in it no other job finds."""
    assert await steps.value(None, "python3", PYTHON_WRITES, text="x") == "x"
    assert await steps.value(None, "bash", "ls -A /shared | jq -Rs . > result.json") == ""


async def test_containers_at_the_same_time_share_it(steps: Bench, shared: SharedDirectories) -> None:
    """As the iterations of a parallel loop do: each waits for what the other writes, and both append."""
    run = await shared.open("run")
    talk = """
import pathlib, time
def main(me, other):
    shared = pathlib.Path("/shared")
    shared.joinpath(me).touch()
    until = time.monotonic() + 30
    while not shared.joinpath(other).exists():
        assert time.monotonic() < until, "the other one never came"
        time.sleep(0.01)
    for n in range(200):
        with shared.joinpath("log").open("a") as log:
            log.write(f"{me} {n}\\n")
"""
    await asyncio.gather(
        steps.value(run, "python3", talk, me="a", other="b"),
        steps.value(run, "python3", talk, me="b", other="a"),
    )
    assert run.files is not None
    lines = read_file(run.files, "log", 100_000).decode().splitlines()
    assert sorted(lines) == sorted(f"{me} {n}" for me in "ab" for n in range(200))


FULL = """
import errno, os
def main():
    try:
        with open("/shared/big", "wb") as big:
            while True:
                big.write(bytes(1024 * 1024))
    except OSError as error:
        return [errno.errorcode[error.errno], os.stat("/shared/big").st_size]
"""
MANY = """
import errno
def main():
    for n in range(1_000_000):
        try:
            open(f"/shared/{n}", "x").close()
        except OSError as error:
            return [errno.errorcode[error.errno], n]
"""


async def test_a_full_directory_is_the_script_s_trouble_alone(
    steps: Bench, shared: SharedDirectories
) -> None:
    """Neither the run's next step, nor another run, nor the host's disk is affected."""
    run, other = await shared.open("run"), await shared.open("other")
    code, size = await steps.value(run, "python3", FULL)
    assert code == "ENOSPC"
    assert 16 << 20 <= size <= 24 << 20
    assert await steps.value(run, "bash", "rm /shared/big; echo 1 > result.json") == 1
    code, files = await steps.value(run, "python3", MANY)
    assert code == "ENOSPC"
    assert 500 <= files <= 1600
    assert (
        await steps.value(other, "bash", "echo x > /shared/x; ls /shared | jq -Rs . > result.json") == "x\n"
    )
    assert await steps.value(run, "bash", "ls /shared | wc -l > result.json") == files


async def test_a_file_may_be_as_big_as_the_directory_and_bigger_than_the_job_s_memory(
    steps: Bench, tmp_path: Path
) -> None:
    """What is written goes to the disk; neither the memory limit nor the one of /tmp counts it."""
    async with directories(tmp_path / "big", size=Size.of(300, 100)) as shared:
        run = await shared.open("run")
        script = "head -c 290M /dev/zero > /shared/big; stat -c %s /shared/big > result.json"
        outcome = await steps.run(run, "bash", script, memory_mb=64, tmp_mb=8)
        assert isinstance(outcome, Returned), outcome
        assert int(outcome.value) == 290 << 20


HOSTILE = r"""
import ctypes, os, socket, stat
def attempt(act):
    try:
        act()
        return "done"
    except OSError as error:
        return os.strerror(error.errno)
def main():
    os.chdir("/shared")
    found = {}
    found["device"] = attempt(lambda: os.mknod("device", 0o666 | stat.S_IFBLK, os.makedev(7, 0)))
    found["setuid"] = attempt(lambda: os.chmod(os.open("tool", os.O_CREAT | os.O_WRONLY), 0o6755))
    found["owner"] = attempt(lambda: os.chown("tool", 0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    def remount(flags):
        if libc.mount(b"none", b"/shared", None, 4096 | 32 | flags, None):
            raise OSError(ctypes.get_errno(), "")
    found["remount"] = attempt(lambda: remount(0))
    found["umount"] = "done" if libc.umount(b"/shared") == 0 else "refused"
    found["loops"] = [name for name in os.listdir("/dev") if "loop" in name]
    with open("/proc/self/mountinfo") as mounts:
        found["options"] = [line.split()[5].split(",") for line in mounts if line.split()[4] == "/shared"]
    found["above"] = sorted(os.listdir("/shared/.."))
    os.symlink("/etc/passwd", "passwd"); os.symlink("/", "root"); os.symlink("../../../image", "image")
    os.mkfifo("pipe"); socket.socket(socket.AF_UNIX).bind("socket")
    open(b"new\nline", "w").close(); open(b"\xff\xfe", "w").close(); open(b"x" * 255, "w").close()
    os.mkdir("sealed"); open("sealed/file", "w").write("x"); os.chmod("sealed/file", 0); os.chmod("sealed", 0)
    with open("sparse", "wb") as sparse: sparse.truncate(300 << 20)
    return found
"""


async def test_a_hostile_script_finds_nothing_to_hurt_us_with(steps: Bench, tmp_path: Path) -> None:
    """No devices, no rights by setuid, no other mount; and what it leaves is read without harm."""
    async with directories(tmp_path / "hostile", size=Size.of(400, 1000)) as shared:
        run = await shared.open("run")
        found = await steps.value(run, "python3", HOSTILE)
        assert found["device"] == found["owner"] == found["remount"] == "Operation not permitted"
        assert (found["umount"], found["loops"]) == ("refused", [])
        (options,) = found["options"]
        assert {"rw", "nodev", "nosuid"} <= set(options)
        assert "image" not in found["above"]
        assert run.files is not None
        listing = list_files(run.files, entries_max=100)
        kinds = {entry.path: entry.kind for entry in listing.entries}
        assert (kinds["passwd"], kinds["root"], kinds["image"]) == ("link", "link", "link")
        assert (kinds["pipe"], kinds["socket"]) == ("other", "other")
        assert {"new\nline", "\udcff\udcfe", "x" * 255} <= set(kinds)
        assert read_file(run.files, "sealed/file", 10) == b"x"
        for path in ("passwd", "root/etc/passwd", "image", "pipe", "socket", "sparse"):
            with pytest.raises(Unreadable):
                read_file(run.files, path, 1 << 20)


async def test_a_program_of_root_s_with_setuid_has_no_effect(steps: Bench, shared: SharedDirectories) -> None:
    """Were one ever there (only the host could put it there), it would run as the job's user."""
    run = await shared.open("run")
    assert run.files is not None
    assert await steps.value(run, "bash", "cp /usr/bin/id /shared/id; echo 1 > result.json") == 1
    os.chown(run.files / "id", 0, 0)
    (run.files / "id").chmod(0o6755)
    assert await steps.value(run, "bash", "/shared/id -u > result.json") == 65532


async def test_closing_waits_for_nobody_and_spares_who_still_runs(
    steps: Bench, shared: SharedDirectories, tmp_path: Path
) -> None:
    """A container that is still there keeps its files; with it the last of the directory goes."""
    run = await shared.open("run")
    script = "echo x > /shared/x; echo begun; sleep 3; jq -Rs . < /shared/x > result.json"
    begun = asyncio.Event()
    step = asyncio.create_task(steps.run(run, "bash", script, started=begun))
    await begun.wait()
    shared.close("run")
    await gone(mounts_below, tmp_path / "shared")
    assert len(loops_below(tmp_path / "shared")) == 1, "its container holds it"
    assert not step.done()
    outcome = await step
    assert isinstance(outcome, Returned), outcome
    assert json.loads(outcome.value) == "x\n"
    await gone(loops_below, tmp_path / "shared")


async def test_a_restart_of_the_service_keeps_it_for_the_next_step(steps: Bench, tmp_path: Path) -> None:
    first = SharedDirectories(tmp_path / "s", Size.of(16, 100), (Ext4(),))
    assert await steps.value(await first.open("run"), "python3", PYTHON_WRITES, text="before") == "before"
    await first.settle(20)
    async with directories(tmp_path / "s") as second:
        assert await steps.value(await second.open("run"), "bash", BASH_READS) == "before"
