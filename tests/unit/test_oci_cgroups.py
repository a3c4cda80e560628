"""Control groups as files: trees of each version as hosts have them, and what is written there."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executor.runtimes import scan
from executor.sandbox.hardening import MIB, harden
from executor.sandbox.oci.cgroups import Cgroups
from executor.sandbox.oci.probe import candidates, judge_inside
from executor.script import resolve_limits
from executor.settings import LimitBounds

HARD = replace(harden(scan().by_name["bash"], resolve_limits({}, LimitBounds())), cpus=0.5)
CONTROLLERS = ("blkio", "cpu,cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd")


def grow(tree: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Version 1, as of a Debian 10: cpu and cpuacct are one tree under three names."""
    for name in CONTROLLERS:
        grow(tmp_path / name, {"cgroup.procs": "1\n", "executor/x/cgroup.procs": ""})
    for alias in ("cpu", "cpuacct"):
        (tmp_path / alias).symlink_to("cpu,cpuacct")
    grow(
        tmp_path,
        {
            "memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
            "memory/executor/x/memory.limit_in_bytes": f"{64 * MIB}\n",
            "memory/executor/x/memory.memsw.limit_in_bytes": f"{64 * MIB}\n",
            "memory/executor/x/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "cpu,cpuacct/executor/x/cpu.cfs_quota_us": "100000\n",
            "pids/executor/x/pids.max": "12\n",
        },
    )
    return tmp_path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Version 2, as of a Debian 12: recorded, since the hosts of these tests may have the other."""
    grow(
        tmp_path,
        {
            "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
            "cgroup.procs": "1\n",
            "executor/x/cgroup.procs": "",
            "executor/x/memory.max": f"{64 * MIB}\n",
            "executor/x/memory.swap.max": "0\n",
            "executor/x/memory.events": "low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\noom_group_kill 0\n",
            "executor/x/cpu.max": "100000 100000\n",
            "executor/x/pids.max": "12\n",
            "executor/x/cgroup.kill": "",
        },
    )
    return tmp_path


def test_versions_are_told_apart(first: Path) -> None:
    """Also where both are mounted: then crun has to be shown one only."""
    groups = Cgroups.of(first)
    assert (groups.version, groups.unified, groups.shown) == (1, None, "1")
    assert sorted(tree.name for tree in groups.trees) == sorted(CONTROLLERS)
    grow(first / "unified", {"cgroup.controllers": "hugetlb\n", "cgroup.procs": ""})
    hybrid = Cgroups.of(first)
    assert (hybrid.version, hybrid.unified, hybrid.shown) == (1, first / "unified", "1, hybrid")
    assert all(
        runtime.hidden == (first / "unified",) for runtime in candidates(hybrid) if runtime.name == "crun"
    )
    assert all(runtime.hidden == () for runtime in candidates(groups))


def test_a_host_without_control_groups_has_no_tree(tmp_path: Path) -> None:
    assert Cgroups.of(tmp_path).trees == ()
    assert Cgroups.of(tmp_path / "nothing").trees == ()


def test_the_second_version_is_one_tree(second: Path) -> None:
    groups = Cgroups.of(second)
    assert (groups.version, groups.trees, groups.unified) == (2, (second,), None)
    assert groups.limits_swap


def test_limits_of_the_first_version(first: Path) -> None:
    groups = Cgroups.of(first)
    assert groups.limits("x") == {"memory": str(64 * MIB), "cpu": "100000", "pids": "12"}
    groups.limit("x", HARD)
    assert groups.limits("x") == {"memory": str(HARD.memory_bytes), "cpu": "50000", "pids": str(HARD.pids)}
    swap = first / "memory/executor/x/memory.memsw.limit_in_bytes"
    assert swap.read_text() == f"{HARD.memory_bytes}\n"


def test_a_kernel_that_does_not_account_for_swap_is_not_told_of_it(first: Path) -> None:
    (first / "memory/memory.memsw.limit_in_bytes").unlink()
    (first / "memory/executor/x/memory.memsw.limit_in_bytes").unlink()
    groups = Cgroups.of(first)
    assert not groups.limits_swap
    groups.limit("x", HARD)
    assert groups.limits("x")["memory"] == str(HARD.memory_bytes)


def test_limits_of_the_second_version(second: Path) -> None:
    groups = Cgroups.of(second)
    groups.limit("x", HARD)
    assert groups.limits("x") == {"memory": str(HARD.memory_bytes), "cpu": "50000", "pids": str(HARD.pids)}
    assert (second / "executor/x/cpu.max").read_text() == "50000 100000\n"


def test_a_limit_without_its_file_is_an_error(second: Path) -> None:
    """A file that we would make ourselves limits nothing."""
    (second / "executor/x/pids.max").unlink()
    with pytest.raises(FileNotFoundError):
        Cgroups.of(second).limit("x", HARD)


@pytest.mark.parametrize(("version", "kills"), [("first", 2), ("second", 1)])
def test_ends_for_want_of_memory_are_counted(
    version: str, kills: int, request: pytest.FixtureRequest
) -> None:
    groups = Cgroups.of(request.getfixturevalue(version))
    assert groups.oom_kills("x") == kills
    assert groups.oom_kills("never-was") == 0


def test_the_second_version_has_a_kill_of_its_own(second: Path) -> None:
    Cgroups.of(second).kill("x")
    assert (second / "executor/x/cgroup.kill").read_text() == "1\n"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("version", ["first", "second"])
def test_processes_are_killed_one_by_one_where_that_is_the_only_way(
    version: str, request: pytest.FixtureRequest, sleeper: subprocess.Popen[bytes]
) -> None:
    """Also those in a group inside the container's."""
    tree: Path = request.getfixturevalue(version)
    (second_kill := tree / "executor/x/cgroup.kill").unlink(missing_ok=True)
    group = (tree / "pids" if version == "first" else tree) / "executor/x"
    grow(group, {"inner/cgroup.procs": f"{sleeper.pid}\n"})
    groups = Cgroups.of(tree)
    assert groups.is_alive("x")
    groups.kill("x")
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not second_kill.exists()


def test_groups_inside_go_with_the_group(tmp_path: Path) -> None:
    """Their files are the kernel's, and go with them."""
    grow(tmp_path, {"cgroup.controllers": ""})
    (tmp_path / "executor/x/a/b").mkdir(parents=True)
    Cgroups.of(tmp_path).remove("x")
    assert os.listdir(tmp_path / "executor") == []
    Cgroups.of(tmp_path).remove("x")


def test_the_probe_complains_of_all_that_is_not_as_it_should_be() -> None:
    own = {kind: f"{kind}:[1]" for kind in ("mnt", "net", "pid", "ipc", "uts")}
    fine = {
        "Uid": "65532 65532 65532 65532", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1",
        "Seccomp": "2", "root": "read-only", "tmp": "writable", "sys": "read-only", "dev": "read-only", "keys": "0", "pid1": "1",
        **{kind: f"{kind}:[2]" for kind in own},
    }  # fmt: skip
    assert list(judge_inside(fine, own)) == []
    for name, wrong in (("Uid", "0 0 0 0"), ("CapBnd", "f" * 16), ("Seccomp", "0"), ("root", "writable")):
        (complaint,) = judge_inside({**fine, name: wrong}, own)
        assert repr(wrong) in complaint
    (complaint,) = judge_inside({**fine, "net": "net:[1]"}, own)
    assert "host's net namespace" in complaint
    assert len(list(judge_inside({}, own))) == len(fine)
