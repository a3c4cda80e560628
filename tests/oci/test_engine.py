"""Containers of the oci engine, on the host's real runtimes: their life, their limits, their end."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.errors import EngineError, EngineTransient, ImageMissing
from executor.sandbox import kernel
from executor.sandbox.engine import Ended
from executor.sandbox.hardening import MASKED, MIB, harden_holder
from executor.sandbox.oci.engine import MOUNTS as TREES
from executor.sandbox.oci.engine import OciEngine
from executor.sandbox.oci.probe import choose, complaints
from executor.sandbox.oci.roots import Roots
from executor.sandbox.spec import Bind, ContainerSpec
from tests.engines import needs_root
from tests.oci.conftest import Bench, everything, traces
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.anyio, needs_root]

BIG = 50 * MIB


async def test_the_probe_finds_this_runtime_fit(bench: Bench) -> None:
    """A container came up as it was meant to be; of a runtime that cannot, it says why, and takes the next."""
    choice = await choose(bench.engine, bench.image)
    assert choice.runtime is not None
    assert choice.runtime.name == "crun", choice.obstacles


async def test_the_image_runs_as_it_does_on_docker(bench: Bench) -> None:
    """Its own entry point, environment, user and folder: it says that it is ready."""
    spec = bench.spec()
    channel = await bench.engine.start(spec)
    assert (await channel.receive()).startswith(b'{"type":"ready"}')
    channel.close()
    await until(lambda: not bench.engine.cgroups.is_alive(spec.name), timeout_s=10)
    await bench.engine.remove(spec.name)
    seen = await bench.found(
        r"""printf '{"home":"%s","host":"%s","folder":"%s","user":"%s:%s","umask":"%s","lines":%d}' \
        "$HOME" "$(cat /proc/sys/kernel/hostname) $HOSTNAME" "$PWD" $(id -u) $(id -G) $(umask) $(wc -l < /etc/hosts)"""
    )
    assert seen == {
        "home": "/tmp", "host": "job job", "folder": "/job", "user": "65532:65532", "umask": "0022", "lines": 2,
    }  # fmt: skip


async def test_nothing_is_left_of_a_container(bench: Bench) -> None:
    """Removed while it runs, after its end, twice, or never started: no process, group, mount or file."""
    running, ended = bench.spec(), bench.spec("true")
    for spec in (running, ended):
        (await bench.engine.start(spec)).close()
        assert traces(spec.name) != []
    for name in (running.name, ended.name, running.name, "executor-test-never-was"):
        await bench.engine.remove(name)
        assert traces(name) == []


async def test_what_is_removed_while_it_is_being_made_is_gone(bench: Bench) -> None:
    """At whatever moment the start is given up."""
    for pause in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        spec = bench.spec()
        starting = asyncio.create_task(bench.engine.start(spec))
        await asyncio.sleep(pause)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            (await starting).close()
        await bench.engine.remove(spec.name)
        await asyncio.sleep(0.05)
        assert traces(spec.name) == []


async def test_a_kill_ends_every_process_and_the_stream(bench: Bench) -> None:
    """Also those that have left their session, and at once."""
    spec = bench.spec("sh", "-c", "(setsid sleep 999 &) ; sleep 999 & echo begun; wait")
    channel = await bench.engine.start(spec)
    assert await channel.receive() == b"begun\n"
    assert await bench.engine.ended(spec.name) == Ended(oom_killed=False, running=True)
    began = time.monotonic()
    await bench.engine.kill(spec.name)
    assert await channel.receive() == b""
    assert time.monotonic() - began < 10
    channel.close()
    await until(lambda: not bench.engine.cgroups.is_alive(spec.name), timeout_s=5)
    await bench.engine.kill(spec.name)
    await bench.engine.remove(spec.name)


async def test_out_of_memory_is_known_after_the_end(bench: Bench) -> None:
    """The kernel ended PID 1 itself, so that nobody inside could say so."""
    spec = bench.spec("awk", 'BEGIN { s = "x"; while (1) s = s s }', memory_mb=32)
    channel = await bench.engine.start(spec)
    assert await everything(channel) == b""
    channel.close()
    await until(lambda: not bench.engine.cgroups.is_alive(spec.name), timeout_s=5)
    assert await bench.engine.ended(spec.name) == Ended(oom_killed=True, running=False)
    await bench.engine.remove(spec.name)
    assert await bench.engine.ended(spec.name) == Ended(oom_killed=False, running=False)


async def test_limits_are_in_force_and_can_be_changed(bench: Bench) -> None:
    """As the kernel tells; what has ended takes no limits."""
    spec = bench.spec(memory_mb=64, pids=40, cpus=0.5)
    channel = await bench.engine.start(spec)
    groups = bench.engine.cgroups
    assert groups.limits(spec.name) == {"memory": str(64 * MIB), "cpu": "50000", "pids": "40"}
    for memory, cpus, pids in ((128 * MIB, 1.0, 50), (48 * MIB, 0.25, 30)):
        other = replace(spec.hardening, memory_bytes=memory, cpus=cpus, pids=pids)
        assert await bench.engine.update(spec.name, other)
        expected = {"memory": str(memory), "cpu": str(int(cpus * 100_000)), "pids": str(pids)}
        assert groups.limits(spec.name) == expected
    channel.close()
    await bench.engine.remove(spec.name)
    assert not await bench.engine.update(spec.name, spec.hardening)


async def test_fifty_megabytes_go_in_and_out(bench: Bench) -> None:
    """Unchanged; the pipes hold a thousandth of that."""
    spec = bench.spec("head", "-c", str(BIG))
    channel = await bench.engine.start(spec)
    sent = os.urandom(MIB) * 50
    receiving = asyncio.create_task(everything(channel))
    await channel.send(sent)
    assert await receiving == sent
    await until(lambda: not bench.engine.cgroups.is_alive(spec.name), timeout_s=5)
    with pytest.raises(EngineTransient, match="stream is gone"):
        await channel.send(b"more")
    channel.close()
    await bench.engine.remove(spec.name)


async def test_a_directory_mounted_later_is_seen_inside(bench: Bench, tmp_path: Path) -> None:
    """Mounted before the start, and, where the host shares the mount, while the container runs."""
    outer = tmp_path / "outer"
    outer.mkdir()
    kernel.mount("test", outer, "tmpfs", 0)
    kernel.mount("none", outer, None, 0x100000)  # MS_SHARED
    try:
        (outer / "slot").mkdir()
        kernel.mount("before", outer / "slot", "tmpfs", 0)
        (outer / "slot" / "before").touch()
        spec = bench.spec(
            "sh", "-c", "ls /shared; read -r _; ls /shared", binds=(Bind(outer / "slot", "/shared"),)
        )
        channel = await bench.engine.start(spec)
        assert await channel.receive() == b"before\n"
        kernel.mount("later", outer / "slot", "tmpfs", 0)
        (outer / "slot" / "later").touch()
        await channel.send(b"\n")
        assert await everything(channel) == b"later\n"
        channel.close()
        await bench.engine.remove(spec.name)
    finally:
        kernel.unmount(outer)


async def test_a_container_joins_the_network_of_one_of_docker_s(bench: Bench) -> None:
    """It has the other's interfaces and no capability over them; once the other has ended, none may join."""
    holder = ContainerSpec(
        bench.spec().name, bench.image, harden_holder(), network="none", entrypoint=("sleep", "99")
    )
    try:
        channel = await bench.docker.start(holder)
        found = await bench.docker.process(holder.name)
        assert found is not None
        its = os.readlink(f"/proc/{found[0]}/ns/net")
        network = f"container:{holder.name}"
        for _ in range(2):
            assert (await bench.said("readlink", "/proc/self/ns/net", network=network)).strip() == its
        await bench.docker.kill(holder.name)
        assert await channel.receive() == b""
        channel.close()
        with pytest.raises(EngineError, match="does not run"):
            await bench.said("true", network=network)
    finally:
        await bench.docker.remove(holder.name)


WRITABLE = "find / -path /proc -prune -o \\( -type d -o -type f \\) -writable -print 2>/dev/null | sort"
MOUNTS = "awk '{ print $5, $6 }' /proc/self/mountinfo"  # of two at one path the later one counts
DEVICES = "cd /dev; find . ! -type l -printf '%P %y %m %U:%G\\n' | sort"
PROC = "find /proc -maxdepth 2 ! -type c -writable -path '/proc/[a-z]*' ! -path '/proc/self*' ! -path '/proc/thread-self*' 2>/dev/null | sort"


@pytest.mark.parametrize("look", [WRITABLE, DEVICES, PROC])
async def test_what_a_script_can_write_is_what_it_can_on_docker(bench: Bench, look: str) -> None:
    """To the last file and device."""
    theirs = await on_docker(bench, look)
    assert theirs
    ours = (await bench.said("sh", "-c", look)).splitlines()
    assert set(ours) - set(theirs.splitlines()) - set(MASKED) == set()


async def test_what_is_mounted_is_mounted_as_on_docker(bench: Bench) -> None:
    """With options at least as narrow; the files of the network are in the image's tree."""

    def mounts(said: str) -> dict[str, set[str]]:
        found = (line.split() for line in said.splitlines())
        return {path: set(options.split(",")) - {"relatime"} for path, options in found}

    theirs, ours = mounts(await on_docker(bench, MOUNTS)), mounts(await bench.said("sh", "-c", MOUNTS))
    assert set(theirs) - set(ours) == {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    for path in theirs.keys() & ours.keys() - set(MASKED):
        # On the kernel's own file systems crun leaves out what means nothing there.
        is_kernel_s = path.startswith(("/proc/", "/sys/"))
        confining = {"ro"} if is_kernel_s else {"ro", "nosuid", "nodev", "noexec"}
        assert theirs[path] & confining <= ours[path] & confining, path


async def on_docker(bench: Bench, script: str) -> str:
    """What the shell script prints in docker's container of the same spec."""
    spec = bench.spec("sh", "-c", script)
    try:
        channel = await bench.docker.start(spec)
        said = b""
        while data := await channel.receive():
            said += data
        channel.close()
        return said.decode()
    finally:
        await bench.docker.remove(spec.name)


async def test_own_networks_are_empty_but_for_loopback(bench: Bench) -> None:
    """Two containers that run at once have two."""
    look = "readlink /proc/self/ns/net; tail -n +3 /proc/net/dev | cut -d: -f1; read -r _"
    specs = [bench.spec("sh", "-c", look) for _ in range(2)]
    channels = [await bench.engine.start(spec) for spec in specs]
    said = []
    for channel, spec in zip(channels, specs, strict=True):
        await channel.send(b"\n")
        said.append((await everything(channel)).decode().split())
        channel.close()
        await bench.engine.remove(spec.name)
    assert said[0][0] != said[1][0] != os.readlink("/proc/self/ns/net")
    assert [names for _, *names in said] == [["lo"], ["lo"]]


async def test_what_cannot_be_started_says_why(bench: Bench) -> None:
    """In the runtime's words; and an image that is not there is told as such."""
    spec = bench.spec("/no/such/program")
    with pytest.raises(EngineTransient, match="/no/such/program"):
        await bench.engine.start(spec)
    await bench.engine.remove(spec.name)
    assert traces(spec.name) == []
    with pytest.raises(ImageMissing, match="executor/none"):
        await bench.engine.start(replace(spec, image="executor/none:0"))


async def test_an_unpacked_image_does_as_well(bench: Bench, tmp_path: Path) -> None:
    """Where the layers are out of reach the tree is written once, owners and modes included."""

    class Elsewhere:
        """Docker, with its layers on another machine."""

        def __init__(self) -> None:
            self.unpacked = 0

        async def image(self, reference: str) -> Any:
            image = await bench.docker.image(reference)
            return None if image is None else replace(image, layers=())

        async def pin(self, image_id: str, name: str) -> None:
            raise AssertionError("there is nothing to pin")

        async def remove(self, name: str) -> None:
            raise AssertionError("there is nothing to remove")

        async def unpack(self, image_id: str, folder: Path) -> None:
            self.unpacked += 1
            await bench.docker.unpack(image_id, folder)

    store = Elsewhere()
    look = "cd /; find etc usr/bin executor ! -type d -printf '%p %m %U %s %l\n' | sort"
    mounted = await bench.said("sh", "-c", look)
    unpacked = ""
    for _ in range(2):
        bench.engine._roots = Roots(store, tmp_path / "mounts", tmp_path / "unpacked")
        unpacked = await bench.said("sh", "-c", look)
    assert store.unpacked == 1
    assert unpacked == mounted


async def test_a_new_host_has_user_namespaces_from_the_first_start_on(bench: Bench, tmp_path: Path) -> None:
    """What is below /run is made by the engine itself; root in a container, nobody outside, gets through to its tree."""
    home = Path(tempfile.mkdtemp(dir="/run"))
    home.chmod(0o755)
    run = home / "executor"
    try:
        roots = Roots(bench.docker, run / TREES, tmp_path / "unpacked")
        engine = OciEngine(roots, bench.namespaces, run)
        engine.use(bench.runtime, maps_users=True)
        assert await complaints(engine, bench.image) == []
        assert run.stat().st_mode & 0o777 == 0o711, "and nobody lists what is there"
    finally:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in sorted((place for place in mounts if place.startswith(f"{home}/")), reverse=True):
            kernel.unmount(Path(place))
        shutil.rmtree(home)


LEAVE = """
import asyncio, sys
from pathlib import Path
from tests.engines import needs_root
from tests.oci.conftest import Bench
async def main(runtime, instance, folder):
    bench = Bench(Path(folder), runtime)
    bench.instance = instance
    specs = [bench.spec("sleep", "99"), bench.spec()]
    kept = [await bench.engine.start(spec) for spec in specs]
    print(*(spec.name for spec in specs), flush=True)
    await asyncio.sleep(99)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_killed_service_left_is_found_and_removed(bench: Bench, tmp_path: Path) -> None:
    """jobinit ends with its service; what does not is ended by the next one."""
    argv = ["-c", LEAVE, bench.runtime.name, bench.instance, str(tmp_path)]
    service = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=subprocess.PIPE)
    assert service.stdout is not None
    sleeping, job = (await service.stdout.readline()).decode().split()
    service.kill()
    await service.wait()
    await until(lambda: not bench.engine.cgroups.is_alive(job), timeout_s=5)
    assert bench.engine.cgroups.is_alive(sleeping)
    left = await bench.engine.containers(bench.instance)
    assert {seen.name for seen in left} == {sleeping, job}
    assert {seen.worker for seen in left} == {"test"}
    for seen in left:
        await bench.engine.remove(seen.name)
        assert traces(seen.name) == []
