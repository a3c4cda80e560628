"""What must hold after a fault, whatever it was: one statement for all tests of this folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import docker
import httpx

from executor.sandbox.engine import LABEL
from executor.sandbox.oci.cgroups import FOLDER, Cgroups
from executor.sandbox.oci.engine import RUN, STATES
from tests.acceptance.service import RealService
from tests.shared.bench import loops_below, mounts_below

END_S = 120.0
GONE_S = 20.0
READY_S = 30.0
ANY = object()
"""A result that is not looked at."""


@dataclass(frozen=True)
class End:
    """The one final state that a job must reach, and how many runs that may take."""

    status: str = "success"
    reason: str | None = None
    result: Any = ANY
    attempts: Collection[int] = (1,)


def settled(service: RealService, accepted: Mapping[str, End], *, end_s: float = END_S) -> None:
    """The service has recovered by itself: see the comments, from above to below.

    `accepted` are the jobs and flow runs that the service said yes to, with the end that is right.
    """
    ready_again(service)
    first = {job_id: service.ended(job_id, end_s) for job_id in accepted}
    for job_id, end in accepted.items():  # each has one final state, with the right reason
        job = first[job_id]
        seen = (job["status"], job.get("reason"))
        assert seen == (end.status, end.reason), (job_id, seen, job["attempt"], job["result"])
        assert end.result is ANY or job["result"] == end.result, (job_id, job["result"])
        assert job["attempt"] in end.attempts, (job_id, job["attempt"])
        log = service.http.get(f"/api/w/main/jobs_u/get_logs/{job_id}").text
        assert log.count("--- RUN") <= job["attempt"] - 1  # nothing ran more often than its row says
    hello = service.submit("bash", "echo hello")  # a new job works
    assert service.ended(hello)["result"] == "hello"
    again = {job_id: service.job(job_id) for job_id in accepted}
    assert again == first, "what has ended is final"
    assert waits_or_runs(service) == (0, 0)  # none that nobody knows of either
    nothing_left(service, [*accepted, hello])


def ready_again(service: RealService, within_s: float = READY_S) -> None:
    """`/ready` says 200, at once or soon."""
    eventually(lambda: readiness(service)[0] == 200, lambda: readiness(service), within_s)


def readiness(service: RealService) -> tuple[int, list[str]]:
    """The status of `/ready`, 0 while nobody answers, and what it says is wrong."""
    try:
        response = service.http.get("/ready", timeout=20)
    except httpx.TransportError as error:
        return 0, [repr(error)]
    checks = response.json()["checks"]
    return response.status_code, [f"{one['name']}: {one['detail']}" for one in checks if not one["ok"]]


def waits_or_runs(service: RealService) -> tuple[int, int]:
    """How many jobs of the workspace wait, and how many run, steps of flows among them."""
    counts = service.http.get("/api/w/main/jobs/queue/count").json()
    return counts["database_length"], counts.get("running", 0)


def nothing_left(service: RealService, job_ids: Collection[str]) -> None:
    """No container, group, runtime state, mount, loop device, volume, slot or shared directory stays behind.

    The pool's containers are not left over: they wait.
    """
    eventually(lambda: not leftovers(service, job_ids), lambda: leftovers(service, job_ids), GONE_S)


def leftovers(service: RealService, job_ids: Collection[str]) -> list[str]:
    """What a service that has nothing to do still holds, but for what waits in its pool."""
    if service.settings.get("EXECUTOR_POOL_MAX", "0") == "0":
        left = [*service.containers(), *service.folders()]
    else:
        left = [name for name in service.containers() if any(job_id in name for job_id in job_ids)]
    left += [path for path in mounts_below(service.folder) if "/slots" not in path]
    left += loops_below(service.folder)
    left += [str(path) for path in (service.folder / "shared" / "runs").glob("*")]
    left += [path for path in groups_and_states() if any(job_id in path for job_id in job_ids)]
    return left + volumes(service)


def groups_and_states() -> list[str]:
    """All control groups of our containers and all runtime states on this host."""
    groups = [path for tree in Cgroups.of().trees for path in (tree / FOLDER).glob("*") if path.is_dir()]
    return [str(path) for path in (*groups, *(RUN / STATES).glob("*/*"))]


def volumes(service: RealService) -> list[str]:
    """The volumes that the engine holds for the service."""
    client = docker.from_env(environment={**os.environ, **service.settings})
    try:
        found = client.volumes.list(filters={"label": f"{LABEL}={service.instance}"})
        return [f"volume {volume.name}" for volume in found]
    finally:
        client.close()


def eventually(holds: Callable[[], bool], told: Callable[[], object], within_s: float) -> None:
    """It holds, at the latest after so many seconds; else an AssertionError with what `told` gives."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)
