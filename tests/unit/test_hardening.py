"""What confines a container, for every language and any limits, and the same in Docker's words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.runtimes import Manifest, Runtime, scan
from executor.sandbox import seccomp
from executor.sandbox.dockerspec import container_config, host_config
from executor.sandbox.hardening import (
    JOB_UID,
    MASKED,
    MIB,
    READ_ONLY,
    effective_limits,
    harden,
    harden_holder,
    widen,
)
from executor.sandbox.spec import Bind, ContainerSpec, Volume
from executor.script import Limits, resolve_limits
from executor.settings import LimitBounds

BOUNDS = LimitBounds()
API = docker.APIClient(version="1.41", base_url="unix:///nonexistent")


def runtime_of(memory_mb: int, pids: int, tmp_mb: int) -> Runtime:
    """A language that is not bundled, with this need of its own."""
    minimum = {"memory_mb": memory_mb, "pids": pids, "tmp_mb": tmp_mb}
    said = {
        "title": "T",
        "source": "main.x",
        "runner": ["x"],
        "label": "x run",
        "limits": {"minimum": minimum},
    }
    return Runtime("x", Path("/nonexistent"), Manifest.model_validate(said))


runtimes = st.sampled_from(list(scan())) | st.builds(
    runtime_of, st.integers(1, 512), st.integers(1, 256), st.integers(1, 64)
)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Any limits that a caller can get."""
    asked: dict[str, Any] = {}
    for key in LimitBounds.model_fields:
        most = getattr(BOUNDS, key).maximum
        given = st.integers(1, int(most))
        if key in ("timeout_s", "cpus"):
            given = given | st.floats(0, most, exclude_min=True)  # type: ignore[operator]
        if draw(st.booleans()):
            asked[key] = draw(given)
    return resolve_limits(asked, BOUNDS)


@given(runtimes, limits())
def test_no_job_has_a_privilege_or_a_way_to_one(runtime: Runtime, asked: Limits) -> None:
    """Nobody's user, no capabilities, none to gain, nothing of the host's to write on."""
    hard = harden(runtime, asked)
    assert hard.uid == hard.gid == JOB_UID != 0
    assert hard.capabilities == ()
    assert hard.no_new_privileges is True
    assert hard.read_only_root is True
    assert hard.ipc == "private"
    assert hard.log_driver == "none"
    assert hard.core_bytes == 0
    assert hard.seccomp == "own"
    assert (hard.masked, hard.read_only) == (MASKED, READ_ONLY)


@given(runtimes, limits())
def test_the_network_is_the_manifest_s(runtime: Runtime, asked: Limits) -> None:
    """Limits never buy a network."""
    assert harden(runtime, asked).network == runtime.manifest.network


@given(runtimes, limits())
def test_what_is_given_is_what_was_asked_or_what_the_language_needs(runtime: Runtime, asked: Limits) -> None:
    """Never less than asked, never more than the greater of the two, and never without a bound."""
    hard, least = harden(runtime, asked), runtime.manifest.limits.minimum
    assert hard.memory_bytes == max(asked.memory_mb, least.memory_mb) * MIB > 0
    assert hard.pids == max(asked.pids, least.pids) > 0
    assert hard.cpus >= asked.cpus
    assert hard.cpus == max(asked.cpus, 0.01), "less than a hundredth of a core is no bound the kernel knows"
    assert hard.swap_bytes == 0
    assert 0 < hard.open_files <= 65536
    assert hard.queue_bytes == 0
    assert 0 < hard.locked_bytes <= MIB
    assert 0 < hard.terminals <= 64


@given(runtimes, limits())
def test_every_writable_place_is_bounded_and_the_job_s_alone(runtime: Runtime, asked: Limits) -> None:
    """Bytes and inodes of each tmpfs end; a file cannot be bigger than the place it is in."""
    hard = harden(runtime, asked)
    *places, shm = hard.tmpfs
    assert [tmpfs.path for tmpfs in places] == ["/job", "/tmp", "/shared"]
    assert (shm.path, shm.mode, shm.executable) == ("/dev/shm", "1777", False)
    assert 0 < shm.size_bytes <= places[0].size_bytes
    assert 0 < shm.inodes <= 4096
    for tmpfs in places:
        assert tmpfs.size_bytes == max(asked.tmp_mb, runtime.manifest.limits.minimum.tmp_mb) * MIB
        assert 0 < tmpfs.inodes <= 256 * 1024
        assert tmpfs.mode == "0700"
        assert hard.file_bytes <= tmpfs.size_bytes


@given(runtimes, limits(), st.integers(1, 1 << 40))
def test_a_shared_directory_changes_nothing_but_its_own_place(
    runtime: Runtime, asked: Limits, size: int
) -> None:
    """The private one goes, and a file may be as big as the directory; everything else stays as it was."""
    alone, sharing = harden(runtime, asked), harden(runtime, asked, size)
    assert {tmpfs.path for tmpfs in sharing.tmpfs} == {"/job", "/tmp", "/dev/shm"}
    assert sharing.file_bytes == max(alone.file_bytes, size)
    tmpfs = tuple(place for place in alone.tmpfs if place.path != "/shared")
    assert sharing == replace(alone, tmpfs=tmpfs, file_bytes=sharing.file_bytes)


@given(runtimes, limits())
def test_raising_limits_to_the_language_s_need_is_done_once(runtime: Runtime, asked: Limits) -> None:
    """The same limits come out when they go in again; time and sizes of values are never touched."""
    raised = effective_limits(runtime, asked)
    assert effective_limits(runtime, raised) == raised
    untouched = ("timeout_s", "log_bytes", "result_bytes")
    assert [getattr(raised, key) for key in untouched] == [getattr(asked, key) for key in untouched]
    assert harden(runtime, raised) == harden(runtime, asked)


def spec_of(runtime: Runtime, asked: Limits) -> ContainerSpec:
    return ContainerSpec(
        name="executor-1",
        image="image",
        hardening=harden(runtime, asked),
        labels={"executor": "instance"},
        binds=(Bind(Path("/data/containers/executor-1"), "/executor/in"),),
    )


@given(runtimes, limits())
def test_docker_is_told_the_same(runtime: Runtime, asked: Limits) -> None:
    """The create call's host configuration grants exactly what `harden` decided."""
    spec = spec_of(runtime, asked)
    hard, told = spec.hardening, host_config(API, spec)
    assert told["CapDrop"] == ["ALL"]
    assert not told.get("CapAdd")
    assert told["SecurityOpt"] == ["no-new-privileges", f"seccomp={json.dumps(seccomp.profile())}"]
    assert (told["MaskedPaths"], told["ReadonlyPaths"]) == (list(MASKED), list(READ_ONLY))
    assert told["ReadonlyRootfs"] is True
    assert told["Memory"] == told["MemorySwap"] == hard.memory_bytes, "equal: no swap"
    assert told["PidsLimit"] == hard.pids > 0
    assert told["NanoCpus"] == pytest.approx(hard.cpus * 1e9, abs=1)
    assert told["NanoCpus"] >= 10_000_000, "less means no limit at all"
    assert told["NetworkMode"] == "none"
    assert told["IpcMode"] == "private"
    assert told["LogConfig"]["Type"] == "none"
    for granting in (
        "Privileged",
        "Devices",
        "Binds",
        "VolumesFrom",
        "PidMode",
        "UsernsMode",
        "PortBindings",
    ):
        assert not told.get(granting)
    ulimits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in told["Ulimits"]}
    assert ulimits["core"] == (0, 0)
    assert ulimits["nofile"] == (hard.open_files, hard.open_files)
    assert ulimits["msgqueue"] == (0, 0)
    assert ulimits["memlock"] == (hard.locked_bytes, hard.locked_bytes)
    assert ulimits["fsize"] == (hard.file_bytes, hard.file_bytes)


@given(runtimes, limits())
def test_docker_s_tmpfs_options_carry_every_bound(runtime: Runtime, asked: Limits) -> None:
    """An option that is missing would be unlimited, or root's."""
    spec = spec_of(runtime, asked)
    told = host_config(API, spec)["Tmpfs"]
    assert set(told) == {tmpfs.path for tmpfs in spec.hardening.tmpfs}
    for tmpfs in spec.hardening.tmpfs:
        options = told[tmpfs.path].split(",")
        assert {"nosuid", "nodev"} <= set(options)
        pairs = dict(option.split("=") for option in options if "=" in option)
        assert pairs["size"] == str(tmpfs.size_bytes)
        assert pairs["nr_inodes"] == str(tmpfs.inodes)
        assert pairs["mode"] == ("1777" if tmpfs.path == "/dev/shm" else "0700")
        assert pairs["uid"] == pairs["gid"] == str(JOB_UID)


def test_binds_are_read_only_and_the_only_mounts() -> None:
    """A container sees one directory of the host, and cannot write to it."""
    mounts = host_config(API, spec_of(runtime_of(16, 8, 1), resolve_limits({}, BOUNDS)))["Mounts"]
    (mount,) = mounts
    assert mount["Target"] == "/executor/in"
    assert (mount["Type"], mount["ReadOnly"]) == ("bind", True)


@pytest.mark.parametrize("kind", ["bind", "volume"])
def test_a_shared_directory_is_the_only_writable_mount(kind: str) -> None:
    """At /shared, from the host's folder or the engine's volume; nothing of the image is copied into it."""
    spec = spec_of(runtime_of(16, 8, 1), resolve_limits({}, BOUNDS))
    if kind == "bind":
        spec = replace(
            spec, binds=(*spec.binds, Bind(Path("/data/shared/x/files"), "/shared", writable=True))
        )
    else:
        spec = replace(spec, volumes=(Volume("executor-shared-x", "/shared"),))
    told = host_config(API, spec)["Mounts"]
    (mount,) = [mount for mount in told if not mount["ReadOnly"]]
    source = "/data/shared/x/files" if kind == "bind" else "executor-shared-x"
    assert (mount["Type"], mount["Target"], mount["Source"]) == (kind, "/shared", source)
    assert len(told) == 2
    if kind == "volume":
        assert mount["VolumeOptions"] == {"NoCopy": True}


def test_the_container_has_one_stdin_and_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stdin ends with our connection; nothing of the service's environment or secrets is in it."""
    monkeypatch.setenv("EXECUTOR_TOKEN", "a-secret-token")
    told = container_config(API, spec_of(runtime_of(16, 8, 1), resolve_limits({}, BOUNDS)))
    assert (told["OpenStdin"], told["StdinOnce"], told["AttachStdin"]) == (True, True, True)
    assert told["Entrypoint"] is None, "the image's own"
    assert not told.get("Tty")
    assert not told.get("Env")
    assert not told.get("Volumes")
    assert not told.get("ExposedPorts")
    assert told["User"] == f"{JOB_UID}:{JOB_UID}"
    assert told["Labels"] == {"executor": "instance"}
    assert "a-secret-token" not in str(told)


def test_a_runner_that_is_not_the_image_s_own_is_told_to_the_engine() -> None:
    """A program runs in an image that knows nothing of its language."""
    spec = replace(spec_of(runtime_of(16, 8, 1), resolve_limits({}, BOUNDS)), entrypoint=("a", "b"))
    assert container_config(API, spec)["Entrypoint"] == ["a", "b"]


def test_a_job_that_joins_a_network_has_no_name_of_its_own() -> None:
    """Docker refuses a host name beside a joined network, whose owner's counts."""
    hard = harden(next(iter(scan())), resolve_limits({}, BOUNDS))
    config = container_config(API, ContainerSpec("n", "i", hard, network="container:executor-holder-1"))
    assert config["HostConfig"]["NetworkMode"] == "container:executor-holder-1"
    assert config["Hostname"] is None
    assert container_config(API, ContainerSpec("n", "i", hard))["Hostname"] == "job"


def test_a_holder_has_one_capability_and_nothing_to_write_on() -> None:
    """Root, as only root's capabilities count; but all else is as for jobs."""
    hard = harden_holder()
    host = host_config(API, ContainerSpec("n", "i", hard))
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["NET_ADMIN"])
    assert (hard.no_new_privileges, hard.read_only_root, hard.ipc, hard.swap_bytes) == (
        True,
        True,
        "private",
        0,
    )
    assert set(host["Tmpfs"]) == {"/dev/shm"}
    assert not host.get("PidMode"), "its processes are out of the jobs' sight"


@given(
    runtimes,
    limits(),
    st.none() | st.sampled_from(["0:0", "web", "1000:1000"]),
    st.booleans(),
    st.lists(st.sampled_from(["/data", "/var/lib", "/tmp", "/job"]), unique=True),
)
def test_an_image_that_the_script_chose_is_confined_alike(
    runtime: Runtime, asked: Limits, user: str | None, writable: bool, volumes: list[str]
) -> None:
    """Only what its header may ask for differs; every writable place still ends."""
    hard = harden(runtime, asked)
    wide = widen(hard, user=user, writable=writable, volumes=volumes)
    assert replace(wide, user="", read_only_root=True, root_bytes=None, tmpfs=hard.tmpfs) == hard
    assert (wide.user, wide.capabilities, wide.no_new_privileges) == (user or "", (), True)
    assert wide.read_only_root is (wide.root_bytes is None) is not writable
    assert wide.root_bytes in (None, hard.tmpfs[0].size_bytes)
    assert [t.path for t in wide.tmpfs] == sorted(
        {t.path for t in wide.tmpfs}, key=[t.path for t in wide.tmpfs].index
    )
    assert {t.path for t in wide.tmpfs} == {"/job", "/tmp", "/shared", "/dev/shm", *volumes}
    assert {(t.size_bytes, t.inodes) for t in wide.tmpfs} == {(t.size_bytes, t.inodes) for t in hard.tmpfs}
    assert {t.mode for t in wide.tmpfs if t.path != "/dev/shm"} == {"0700" if user is None else "1777"}
    told = host_config(API, replace(spec_of(runtime, asked), hardening=wide))
    assert told.get("StorageOpt") == ({"size": str(wide.root_bytes)} if writable else None)
    assert told["ReadonlyRootfs"] is not writable
    assert told["CapDrop"] == ["ALL"]
    config = container_config(
        API, replace(spec_of(runtime, asked), hardening=wide, environment={"HOME": "/tmp"})
    )
    assert (config["User"], config["Env"]) == (user or f"{JOB_UID}:{JOB_UID}", ["HOME=/tmp"])


def test_no_image_s_health_check_ever_runs() -> None:
    """It would be a second program beside the script."""
    told = container_config(API, spec_of(runtime_of(16, 8, 1), resolve_limits({}, BOUNDS)))
    assert told["Healthcheck"] == {"Test": ["NONE"]}
