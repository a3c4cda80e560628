"""kill -9 of what a service has started: running containers, waiting ones, children for expressions."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.engines import BOTH
from tests.faults.settling import End, eventually, settled
from tests.flows.running import js

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


def test_a_waiting_container_that_is_killed_is_replaced(service: RealService) -> None:
    """No job ever learns of it: those that come are served by others, at the first attempt."""
    service.settings["EXECUTOR_POOL_MAX"] = "4"
    service.start()
    eventually(lambda: len(service.containers()) >= 3, service.containers, 30)
    killed = []
    for name in (name.removeprefix("/") for name in service.containers()):
        for process in processes_of(name)[:1]:  # one that is still being made has none
            os.kill(process, signal.SIGKILL)
            killed.append(name)
    assert killed
    accepted = {service.submit("bash", f"echo {n}"): End(result=str(n)) for n in range(12)}
    settled(service, accepted)
    eventually(lambda: len(service.containers()) >= 3, service.containers, 30)
    assert not {name.removeprefix("/") for name in service.containers()} & set(killed)


def test_a_child_that_evaluates_is_killed_and_the_flow_goes_on(service: RealService) -> None:
    """The expression begins again on another child; its value is decided once."""
    service.start()
    spin = "(() => { let n = 0; for (let i = 0; i < 3e7; i++) n += i % 7; return n > 0; })()"
    step = {"type": "rawscript", "language": "bash", "content": 'x="$1"\necho "$x"'}
    flow = {"modules": [{"id": "a", "value": {**step, "input_transforms": {"x": js(spin)}}}]}
    response = service.http.post("/api/w/main/jobs/run/preview_flow", json={"value": flow})
    eventually(lambda: bool(busy_children(service)), lambda: "no child evaluates", 20)
    for child in busy_children(service):
        os.kill(child, signal.SIGKILL)
    settled(service, {response.text: End(result="true")})
    metrics = service.http.get("/metrics").text
    assert "executor_expression_children_lost_total 0.0" not in metrics


def busy_children(service: RealService) -> list[int]:
    """The children for expressions that compute right now."""
    found = []
    for child in children_of(service, "expressions"):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state == "R":
            found.append(child)
    return found
