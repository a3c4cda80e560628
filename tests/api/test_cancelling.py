"""Cancelling over HTTP: a job with what it has started, a family by force, a path, a selection."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.jobs import runs, store
from executor.jobs.job import now_us
from tests.approving import Approvals, gated, told
from tests.flows.running import Flows, branchall, const, forloop, script
from tests.service import LocalService, local_service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]
ENDLESS = ({"log": "begun\n"}, {"sleep": 60})


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


@pytest.fixture
def flows(service: LocalService) -> Flows:
    return Flows(service)


async def post(service: LocalService, path: str, body: Any = None, **query: Any) -> Any:
    response = await service.http.post(f"/api/w/main/{path}", json=body, params=query)
    assert response.status_code == 200, response.text
    return response


async def begun(service: LocalService, flow: str, times: int = 1) -> None:
    """Wait until so many scripts of the flow run."""
    async with asyncio.timeout(30):
        while (await service.get(f"jobs_u/get_flow_all_logs/{flow}")).text.count("begun") < times:
            await asyncio.sleep(0.01)


async def states(service: LocalService) -> set[tuple[str, str]]:
    listed = (await service.get("jobs/list", per_page=1000)).json()
    return {(job["type"], job.get("status", "")) for job in listed}


CANCELED = {("CompletedJob", "canceled")}


async def test_force_cancel_of_a_step_ends_its_whole_run_at_once(tmp_path: Path) -> None:
    """The processes get their signal, but nobody waits for them: here they would have 60 s."""
    async with local_service(tmp_path, cancel_grace_s=60) as service:
        stubborn = script("w", *ENDLESS)  # a fake script does not mind its signal
        run = await Flows(service).start(forloop("loop", "[1,2]", stubborn, parallel=True), const("b", 1))
        await begun(service, run, 2)
        steps = (await service.get("jobs/list", job_kinds="preview")).json()
        answer = await post(service, f"jobs_u/queue/force_cancel/{steps[0]['id']}", {"reason": "now"})
        assert answer.text == steps[0]["id"]
        assert await states(service) == CANCELED
        job = await service.job(run)
        assert job["result"]["error"]["message"] == "Job canceled: now by admin"
        assert (job["canceled_by"], job["canceled_reason"], job["reason"]) == ("admin", "now", "cancelled")
        assert [module["type"] for module in job["flow_status"]["modules"]] == [
            "InProgress", "WaitingForPriorSteps",
        ]  # fmt: skip
        async with asyncio.timeout(30):
            while service.context.desk.flow_statuses or service.context.desk.cancel_asked:
                await asyncio.sleep(0.01)
        assert await Flows(service).result(const("after", 3)) == 3, "the service goes on"
        assert await service.job(run) == job, "nothing has touched the run since"


async def test_force_cancel_begins_at_the_top_parent(service: LocalService) -> None:
    """Up through jobs that clients have put under others; a client's circle ends too."""
    top = await service.run(*ENDLESS)
    middle = await service.run({"sleep": 60}, query={"parent_job": top})
    flow = {"value": {"modules": [script("a", *ENDLESS)]}}
    response = await service.http.post(
        "/api/w/main/jobs/run/preview_flow", json=flow, params={"parent_job": middle}
    )
    beside = await service.run({"result": 1}, query={"scheduled_in_secs": 60})
    await begun(service, response.text)
    await post(service, f"jobs_u/queue/force_cancel/{response.text}")
    for job_id in (top, middle, response.text):
        assert (await service.job(job_id))["status"] == "canceled"
    assert (await service.job(beside))["type"] == "QueuedJob"
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    for job_id, parent in ((one, other), (other, one)):
        await service.run(*ENDLESS, query={"job_id": job_id, "parent_job": parent})
    await post(service, f"jobs_u/queue/force_cancel/{other}")
    assert [(await service.job(job_id))["status"] for job_id in (one, other)] == ["canceled"] * 2


async def test_force_cancel_ends_a_run_that_waits_for_approval(service: LocalService) -> None:
    """It is rows only; a completed job stays as it is."""
    approvals = Approvals(service)
    run = await approvals.start(gated(), told())
    waited_for = await approvals.waits(run, parked=True)
    await post(service, f"jobs_u/queue/force_cancel/{run}")
    job = await service.job(run)
    assert (job["status"], job["flow_status"]["modules"][1]["type"]) == ("canceled", "WaitingForEvents")
    assert (await approvals.send(waited_for)).status_code == 409
    await post(service, f"jobs_u/queue/force_cancel/{run}", {"reason": "again"})
    assert await service.job(run) == job


async def test_cancel_ends_the_jobs_below(service: LocalService) -> None:
    """Also below one that has ended; those above and beside go on."""
    top = await service.run(*ENDLESS)
    middle = await service.run({"result": 1}, query={"parent_job": top})
    bottom = await service.run(*ENDLESS, query={"parent_job": middle})
    beside = await service.run(*ENDLESS, query={"parent_job": top})
    await service.ended(middle)
    await service.started(bottom)
    await post(service, f"jobs_u/queue/cancel/{middle}", {"reason": "enough"})
    assert (await service.ended(bottom))["canceled_reason"] == "enough"
    assert (await service.job(middle))["status"] == "success"
    assert (await service.job(beside))["type"] == "QueuedJob"
    await post(service, f"jobs_u/queue/cancel/{top}")
    for job_id in (top, beside):
        assert (await service.ended(job_id))["status"] == "canceled"


async def test_cancel_of_a_run_ends_what_its_steps_have_started(service: LocalService, flows: Flows) -> None:
    """A step may start jobs under its own id."""
    run = await flows.start(branchall("all", [script("a", *ENDLESS)]))
    await begun(service, run)
    step = next(job for job in (await service.get("jobs/list")).json() if job["flow_step_id"] == "a")
    child = await service.run(*ENDLESS, query={"parent_job": step["id"]})
    await post(service, f"jobs_u/queue/cancel/{run}")
    await service.ended(run)
    assert (await service.ended(child))["status"] == "canceled"


async def test_cancel_persistent_ends_what_a_path_runs(service: LocalService) -> None:
    """Waiting and running jobs, scripts and flows; answers their ids."""
    running = await service.run(*ENDLESS, path="f/x/y")
    waiting = await service.run({"result": 1}, path="f/x/y", query={"scheduled_in_secs": 60})
    other = await service.run({"result": 1}, path="f/x/yz", query={"scheduled_in_secs": 60})
    await service.started(running)
    answer = await post(service, "jobs_u/queue/cancel_persistent/f/x/y", {"reason": "off"})
    assert answer.text.split() == [running, waiting]
    assert (await service.ended(running))["canceled_reason"] == "off"
    assert (await service.job(other))["type"] == "QueuedJob"
    assert (await post(service, "jobs_u/queue/cancel_persistent/f/no/thing")).text == ""


@pytest.mark.parametrize("force", [False, True])
async def test_cancel_selection_answers_what_it_has_ended(service: LocalService, force: bool) -> None:
    """What has ended already, what there is not, and what comes twice is passed over."""
    ended = (await service.ended(await service.run({"result": 1})))["id"]
    chosen = [await service.run(*ENDLESS), await service.run({"result": 1}, query={"scheduled_in_secs": 60})]
    await service.started(chosen[0])
    body = [chosen[0], ended, str(uuid.uuid4()), chosen[1], chosen[0]]
    answer = await post(
        service, "jobs/queue/cancel_selection", body, **({"force_cancel": "true"} if force else {})
    )
    assert answer.json() == chosen
    for job_id in chosen:
        assert (await service.ended(job_id))["status"] == "canceled"
    assert (await service.job(ended))["status"] == "success"


@pytest.mark.parametrize("body", [{"a": 1}, ["nonsense"], [5], "text", [str(uuid.uuid4())] * 10_001])
async def test_a_selection_is_checked(service: LocalService, body: Any) -> None:
    response = await service.http.post("/api/w/main/jobs/queue/cancel_selection", json=body)
    assert (response.status_code, "remedy" in response.json()) == (400, True)


@pytest.mark.parametrize("route", ["cancel", "force_cancel"])
async def test_an_unknown_job_cannot_be_cancelled(service: LocalService, route: str) -> None:
    response = await service.http.post(f"/api/w/main/jobs_u/queue/{route}/{uuid.uuid4()}")
    assert response.status_code == 404


async def test_a_run_that_is_being_put_down_hears_of_its_cancellation(service: LocalService) -> None:
    """It is asked for while the walk writes that it only waits: then the run is not put down."""
    approvals = Approvals(service)
    run = await approvals.start(gated(), told())
    await approvals.waits(run, parked=True)
    database, desk = service.context.desk.database, service.context.desk
    job = await database.write(store.lease_one, run, "a worker", now_us())
    assert job is not None
    await database.write(runs.note_cancellation, run, "admin", "why", now_us())
    parking = runs.Parking(None, "{}", {})
    assert await database.write(runs.park, job, runs.Batch(), parking) is False
    assert (await desk.get("main", run)).state == "running"
