"""kill -9 of what a service has started: running containers, waiting ones, children for expressions."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.engines import BOTH
from tests.faults.settling import End, eventually, settled
from tests.flows.running import ident, js

pytestmark = [pytest.mark.engine, pytest.mark.faults]


def processes_of(name: str) -> list[int]:
    """The processes of a container, PID 1 of it first: they have its name in their control group's path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if name in (process / "cgroup").read_text():
                found.append(int(process.name))
        except OSError:
            continue
    return sorted(found)


def children_of(service: RealService, word: str) -> list[int]:
    """The service's child processes whose command line has the word."""
    assert service.process is not None
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = (path.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if parent == service.process.pid and word in line:
            found.append(int(path.parent.name))
    return found


def docker_pid(name: str) -> int:
    """PID 1 of a container of Docker's, as the host numbers it."""
    import docker

    client = docker.from_env()
    try:
        return int(client.api.inspect_container(name)["State"]["Pid"])
    finally:
        client.close()


def first_process(service: RealService, job_id: str, engine: str) -> int:
    """PID 1 of the job's container."""
    name = service.job(job_id)["sandbox"]["container"]
    return docker_pid(name) if engine == "docker" else processes_of(name)[0]


@pytest.mark.parametrize("engine", BOTH)
def test_a_running_container_that_is_killed_is_run_again(service: RealService, engine: str) -> None:
    """Nobody knows what it has done: the run was lost, not the job; others beside it notice nothing."""
    service.settings["EXECUTOR_ENGINE"] = engine
    service.start()
    hurt = service.submit("bash", "echo up\nsleep 2\necho done\n")
    spared = service.submit("bash", "echo up\nsleep 2\necho done\n")
    service.running(hurt)
    eventually(lambda: bool(service.job(hurt).get("sandbox")), lambda: service.job(hurt), 5)
    os.kill(first_process(service, hurt, engine), signal.SIGKILL)
    settled(
        service,
        {hurt: End(result="done", attempts=(2,)), spared: End(result="done")},
    )
