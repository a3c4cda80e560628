"""What confines a container, as a script in a real one of either engine finds it."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from executor.containers import docker_parts
from executor.runtimes import scan
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER
from executor.sandbox.hardening import JOB_UID, MASKED, READ_ONLY, harden
from executor.sandbox.oci.bundle import NOBODY_S
from executor.sandbox.oci.cgroups import Cgroups
from executor.sandbox.spec import Bind, ContainerSpec, Hardening
from executor.script import resolve_limits
from executor.settings import LimitBounds, load
from tests.engines import BOTH
from tests.security import inside

pytestmark = pytest.mark.engine

RUNTIMES = scan()
PYTHON = RUNTIMES.by_name["python3"]
HARD = harden(PYTHON, resolve_limits({"memory_mb": 256, "tmp_mb": 8, "pids": 64}, LimitBounds()))
PLACES = {tmpfs.path: tmpfs for tmpfs in HARD.tmpfs}
ASKED = {
    "places": list(PLACES), "masked": list(MASKED), "read_only": list(READ_ONLY), "file_bytes": HARD.file_bytes,
}  # fmt: skip
REFUSED_AT_ALL = ("EPERM", "ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "EACCES")
LATER = {*range(329, 332), *range(444, 450), *range(451, 457), *range(462, 467), 468, 469}
"""Calls that this Docker refuses, or does not know, and later ones allow: pkey_*, landlock_*, futex_* and the like."""
NAMELESS = set(range(457, 462)) | {467}
"""statmount, listmount, lsm_* and open_tree_attr: refused by name where the host's libseccomp knows the names.
All but what anybody may see of himself takes CAP_SYS_ADMIN."""
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of calls are x86-64's")


@pytest.fixture(scope="module")
def luggage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This test's program, and one that belongs to root and has the setuid bit."""
    folder = tmp_path_factory.mktemp("luggage")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    shutil.copy(inside.__file__, folder / "inside.py")
    shutil.copy("/usr/bin/id", folder / "id")
    (folder / "id").chmod(0o4755)
    return folder


async def seen_in(engine_name: str, hardening: Hardening, luggage: Path, asked: Any) -> Any:
    """What the program finds in a container of this engine."""
    parts = docker_parts(load(engine=engine_name), RUNTIMES)
    spec = ContainerSpec(
        f"executor-test-{uuid.uuid4()}",
        parts.image_tag(PYTHON),
        hardening,
        {LABEL: "test-hardening", LABEL_ROLE: "job", LABEL_WORKER: "test"},
        (Bind(luggage, "/executor/in"),),
        entrypoint=("python3", "/executor/in/inside.py", json.dumps(asked)),
    )
    try:
        channel = await parts.engine.start(spec)
        assert parts.engine.maker(spec.name).engine == engine_name
        said = b""
        while data := await channel.receive():
            said += data
        channel.close()
        return json.loads(said)
    finally:
        await parts.engine.remove(spec.name)
        parts.engine.close()


@pytest.fixture(scope="module", params=BOTH)
def engine(request: pytest.FixtureRequest) -> str:
    """The engine whose container is looked at."""
    return str(request.param)


@pytest.fixture(scope="module")
def seen(engine: str, luggage: Path) -> Any:
    """One container for all that follows."""
    return asyncio.run(seen_in(engine, HARD, luggage, ASKED))


def test_a_script_is_nobody_and_has_no_way_to_be_more(seen: dict[str, Any]) -> None:
    status = seen["status"]
    assert status["Uid"].split() == status["Gid"].split() == [str(JOB_UID)] * 4
    assert status["Groups"] in ("", str(JOB_UID))
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert seen["setuid"] == str(JOB_UID)
    assert seen["others"] == ["1"]
    assert seen["interfaces"] == ["lo"]


def test_a_setuid_program_would_have_had_an_effect(luggage: Path) -> None:
    """Where new privileges are not refused; so the test above can fail."""
    lax = replace(HARD, no_new_privileges=False)
    assert asyncio.run(seen_in("docker", lax, luggage, {}))["setuid"] == "0"


def test_the_oci_engine_maps_one_user_and_an_empty_root(seen: dict[str, Any], engine: str) -> None:
    expected = [["0", str(NOBODY_S), "1"], [str(JOB_UID), str(JOB_UID), "1"]]
    assert (seen["uid_map"] == expected) is (engine == "oci"), seen["uid_map"]


def test_every_place_that_can_be_written_to_is_known(seen: dict[str, Any]) -> None:
    assert seen["writable"] == sorted(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_ends_in_bytes_and_in_files(seen: dict[str, Any], place: str) -> None:
    """It is filled until the kernel refuses more: at its bound, not before and not after."""
    filled, tmpfs = seen["filled"][place], PLACES[place]
    assert (filled["why_no_byte"], filled["why_no_file"]) == ("ENOSPC", "ENOSPC")
    assert filled["bound"] == tmpfs.size_bytes
    assert tmpfs.size_bytes - 2 * inside.PIECE <= filled["bytes"] <= tmpfs.size_bytes
    assert tmpfs.inodes - 16 <= filled["files"] <= tmpfs.inodes


def test_there_are_no_core_dumps_no_queues_and_no_long_files(seen: dict[str, Any], engine: str) -> None:
    assert seen["limits"] == {
        "CORE": [0, 0],
        "FSIZE": [HARD.file_bytes] * 2,
        "NOFILE": [HARD.open_files] * 2,
        "MEMLOCK": [HARD.locked_bytes] * 2,
        "SIGPENDING": [HARD.signals] * 2,
    }
    assert seen["core"] is False
    assert seen["queue"] == "EMFILE"
    assert seen["long_file"] == "EFBIG"
    if engine == "oci":
        assert seen["terminals"] == HARD.terminals


def test_buffers_of_sockets_are_bounded(seen: dict[str, Any]) -> None:
    """Version 1 of the control groups does not count them as memory: a job could fill those of all the host."""
    bound = HARD.tcp_bytes if Cgroups.of().version == 1 else HARD.memory_bytes
    assert seen["buffers"] < 1.5 * bound


def test_what_waits_in_sockets_is_the_job_s_memory_or_nothing(seen: dict[str, Any]) -> None:
    """A bigger queue than usual, or one of errors, is granted in words only, as what is in it is counted as nobody's."""
    assert seen["promised"].pop("queue") <= 1 << 20
    assert set(seen["promised"].values()) == {0}


def test_what_is_masked_is_empty_and_what_is_read_only_refuses(seen: dict[str, Any]) -> None:
    assert set(seen["masked"].values()) <= {None, 0}
    assert 0 in seen["masked"].values()
    assert set(seen["read_only"].values()) == {True}


@x86
@pytest.mark.parametrize("name", inside.CALLS)
def test_a_call_is_refused(seen: dict[str, Any], name: str) -> None:
    """With arguments that would mean something."""
    assert seen["calls"][name] in REFUSED_AT_ALL
    if name == "clone3":
        assert seen["calls"][name] == "ENOSYS", "libraries fall back to clone at no other error"


@x86
def test_the_profile_refuses_what_docker_s_own_does(seen: dict[str, Any], luggage: Path) -> None:
    """Every call is made, with arguments that mean nothing, under Docker's default profile and under ours."""
    with closing(docker.from_env()) as client:
        said = client.containers.run(
            docker_parts(load(engine="docker"), RUNTIMES).image_tag(PYTHON),
            entrypoint=["python3", "/executor/in/inside.py", "{}"],
            volumes={str(luggage): {"bind": "/executor/in", "mode": "ro"}},
            user=f"{JOB_UID}:{JOB_UID}",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode="none",
            remove=True,
        )
    theirs = set(json.loads(said)["refused"])
    assert len(theirs) > 60
    assert theirs - set(seen["refused"]) - LATER - NAMELESS == set()
