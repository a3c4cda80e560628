"""What the oci engine gives a container: the same as docker does, for every language and any limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.runtimes import Runtime, scan
from executor.sandbox import seccomp
from executor.sandbox.dockerspec import container_config
from executor.sandbox.hardening import harden, harden_holder, widen
from executor.sandbox.oci.bundle import Surroundings, config, obstacle
from executor.sandbox.oci.engine import apparmor_profile
from executor.sandbox.spec import Bind, ContainerSpec, ImageSeen, Volume
from executor.script import Limits, resolve_limits
from executor.settings import LimitBounds

API = docker.APIClient(version="1.41", base_url="unix:///nonexistent")
BASH = scan().by_name["bash"]
LIMITS = resolve_limits({}, LimitBounds())
IMAGE = ImageSeen(
    "sha256:0", entrypoint=("/executor/jobinit", "--"), command=("bash",), folder="/job",
    environment=("PATH=/opt/bin", "HOME=/tmp", "LANG=C"), is_ours=True,
)  # fmt: skip
AROUND = Surroundings("/executor/x")
limits = st.builds(
    Limits,
    timeout_s=st.floats(0.1, 3600),
    memory_mb=st.integers(1, 4096),
    cpus=st.floats(0.01, 64),
    pids=st.integers(1, 512),
    tmp_mb=st.integers(1, 1024),
    log_bytes=st.integers(1, 1 << 24),
    result_bytes=st.integers(1, 1 << 26),
)


def spec_of(runtime: Runtime = BASH, given: Limits = LIMITS, **more: Any) -> ContainerSpec:
    return ContainerSpec("x", "executor/x:0", harden(runtime, given), **more)


@given(st.sampled_from(list(scan())), limits)
def test_confinement_is_docker_s(runtime: Runtime, given: Limits) -> None:
    spec = spec_of(runtime, given)
    ours = config(spec, IMAGE, Path("/root"), AROUND)
    theirs = container_config(API, spec)
    host = theirs["HostConfig"]
    process, linux = ours["process"], ours["linux"]
    assert f"{process['user']['uid']}:{process['user']['gid']}" == theirs["User"]
    assert (process["capabilities"], host["CapDrop"]) == ({}, ["ALL"])
    assert process["noNewPrivileges"]
    assert ours["root"]["readonly"] is host["ReadonlyRootfs"] is True
    resources = linux["resources"]
    assert resources["memory"] == {"limit": host["Memory"], "swap": host["MemorySwap"]}
    assert resources["pids"] == {"limit": host["PidsLimit"]}
    quota, period = resources["cpu"]["quota"], resources["cpu"]["period"]
    assert quota / period == pytest.approx(host["NanoCpus"] / 1e9, abs=1e-5)
    assert quota >= 1000, "the kernel takes no less"
    assert resources["devices"] == [{"allow": False, "access": "rwm"}]
    mounts = {mount["destination"]: mount["options"] for mount in ours["mounts"]}
    for path, options in host["Tmpfs"].items():
        assert mounts[path] == options.split(",")
    assert f"max={spec.hardening.terminals}" in mounts["/dev/pts"]
    assert json.dumps(linux["seccomp"]) == host["SecurityOpt"][1].removeprefix("seccomp=")
    assert linux["maskedPaths"] == host["MaskedPaths"]
    assert set(linux["readonlyPaths"]) >= set(host["ReadonlyPaths"])
    rlimits = {(r["type"].removeprefix("RLIMIT_").lower(), r["soft"], r["hard"]) for r in process["rlimits"]}
    assert rlimits == {(u["Name"], u["Soft"], u["Hard"]) for u in host["Ulimits"]}


def test_every_namespace_is_the_container_s_own() -> None:
    """The network's is another container's if that was asked for, and then none of its settings change."""
    alone = config(spec_of(), IMAGE, Path("/root"), AROUND)["linux"]
    kinds = ("network", "mount", "uts", "pid", "ipc")
    assert alone["namespaces"] == [{"type": kind} for kind in kinds]
    assert alone["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    joined = config(spec_of(), IMAGE, Path("/root"), replace(AROUND, network="/proc/1/fd/7"))["linux"]
    assert joined["namespaces"][0] == {"type": "network", "path": "/proc/1/fd/7"}
    assert joined["namespaces"][1:] == alone["namespaces"][1:]
    assert joined["sysctl"] == {}


def test_the_image_says_what_runs_unless_the_spec_does() -> None:
    process = config(spec_of(), IMAGE, Path("/root"), AROUND)["process"]
    assert process["args"] == ["/executor/jobinit", "--", "bash"]
    assert process["cwd"] == "/job"
    assert process["env"] == ["PATH=/opt/bin", "HOSTNAME=job", "HOME=/tmp", "LANG=C"]
    other = spec_of(entrypoint=("true",), environment={"LANG": "de", "X": "1"}, folder="/")
    process = config(other, IMAGE, Path("/root"), AROUND)["process"]
    assert (process["args"], process["cwd"]) == (["true"], "/")
    assert {"LANG=de", "X=1"} <= set(process["env"])
    assert "LANG=C" not in process["env"]


def test_binds_are_read_only_unless_asked_and_directories_follow_the_host(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    binds = (Bind(tmp_path, "/in"), Bind(tmp_path, "/shared", writable=True), Bind(tmp_path / "file", "/f"))
    configuration = config(spec_of(binds=binds), IMAGE, Path("/root"), AROUND)
    options = {mount["destination"]: mount["options"] for mount in configuration["mounts"][-3:]}
    assert options["/in"] == ["rbind", "rslave", "ro", "nosuid", "nodev"]
    assert options["/shared"] == ["rbind", "rslave", "rw", "nosuid", "nodev"]
    assert options["/f"] == ["rbind", "rprivate", "ro", "nosuid", "nodev"]
    assert configuration["linux"]["rootfsPropagation"] == "rslave"


def test_without_accounting_of_swap_no_limit_is_asked_for() -> None:
    configuration = config(spec_of(), IMAGE, Path("/root"), replace(AROUND, limits_swap=False))
    assert "swap" not in configuration["linux"]["resources"]["memory"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"image": "sha256:1"}, "not ours"),
        ({"volumes": (Volume("v", "/shared"),)}, "volumes"),
        ({"network": "bridge-of-holders"}, "a network of the docker engine"),
        ({"hardening": widen(harden(BASH, LIMITS), user="app", writable=False, volumes=())}, "own user"),
        ({"hardening": widen(harden(BASH, LIMITS), user=None, writable=True, volumes=())}, "writable root"),
        ({"hardening": harden_holder()}, "capabilities"),
        ({"hardening": replace(harden(BASH, LIMITS), no_new_privileges=False)}, "new privileges"),
        ({"hardening": replace(harden(BASH, LIMITS), ipc="host")}, "IPC"),
    ],
)
def test_what_the_engine_cannot_make_it_refuses(change: dict[str, Any], why: str) -> None:
    """Above all it never leaves out what a spec grants or confines."""
    assert obstacle(spec_of()) is None
    assert obstacle(spec_of(network="container:holder")) is None
    assert why in str(obstacle(replace(spec_of(), **change)))


def test_the_filter_refuses_what_leads_out_of_a_container() -> None:
    """Those that Docker's default profile refuses, and that could do harm."""
    profile = seccomp.profile()
    assert profile is not None
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    refused = {name for rule in profile["syscalls"] if not rule["args"] for name in rule["names"]}
    assert refused >= {
        "mount", "umount2", "pivot_root", "move_mount", "unshare", "setns", "bpf", "keyctl", "add_key", "ptrace",
        "kexec_load", "init_module", "finit_module", "reboot", "swapon", "settimeofday", "open_by_handle_at",
        "perf_event_open", "userfaultfd", "io_uring_setup", "acct", "quotactl", "clone3", "process_vm_readv",
    }  # fmt: skip
    partly = {name for rule in profile["syscalls"] if rule["args"] for name in rule["names"]}
    assert partly == {
        "clone", "personality", "socket", "socketpair", "setsockopt", "mmap", "memfd_create", "shmget", "fcntl",
        "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
    }  # fmt: skip
    nothing = [rule["names"] for rule in profile["syscalls"] if rule["errnoRet"] == seccomp.NOTHING]
    assert nothing == [["setsockopt"]] * 5 + [["sync", "syncfs"]], "of no use, or the service's affair"
    holder = seccomp.profile(netlink=True)
    assert holder is not None
    firsts = [each["syscalls"][len(seccomp.CLONE_NEW) + 3]["args"][0] for each in (profile, holder)]
    assert [first["value"] for first in firsts] == [seccomp.FAMILIES["AF_INET6"], seccomp.AF_NETLINK]
    assert len(refused) < 120, "a long one costs every container"


def test_docker_s_apparmor_profile_is_used_where_it_is_loaded(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    assert apparmor_profile(profiles) is None
    profiles.write_text("/usr/sbin/ntpd (enforce)\ndocker-default-not (enforce)\n")
    assert apparmor_profile(profiles) is None
    profiles.write_text("/usr/sbin/ntpd (enforce)\ndocker-default (enforce)\n")
    name = apparmor_profile(profiles)
    assert name == "docker-default"
    process = config(spec_of(), IMAGE, Path("/root"), replace(AROUND, apparmor=name))["process"]
    assert process["apparmorProfile"] == "docker-default"
