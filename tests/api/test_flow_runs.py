"""Flow runs over HTTP: what is said of one that waits, and restarts as submissions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.approving import Approvals, gated, told
from tests.flows.running import Flows, const, script
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def test_a_run_that_waits_for_approval_has_started(service: LocalService) -> None:
    """By every route that says so, though nothing of it runs; and until when it waits is told."""
    approvals = Approvals(service)
    run = await approvals.start(gated(), told())
    await approvals.waits(run, parked=True)
    job = await service.job(run)
    assert (job["running"], job["suspend"]) == (True, 1)
    assert job["suspend_until"] > job["started_at"]
    assert (await service.get(f"jobs_u/getupdate/{run}")).json()["running"] is True
    maybe = (await service.get(f"jobs_u/completed/get_result_maybe/{run}")).json()
    assert (maybe["completed"], maybe["started"]) == (False, True)


async def restart(service: LocalService, run: str, **query: Any) -> Any:
    url = f"/api/w/main/jobs/restart/f/{run}/from/b"
    return await service.http.post(url, params=query)


async def test_a_restart_is_a_submission_like_others(service: LocalService) -> None:
    """Repeated with its `job_id` it runs nothing new; for another request the id is refused."""
    flows = Flows(service)
    run = await flows.run(const("a", 1), const("b", 2), args={"x": 1})
    job_id = str(uuid.uuid4())
    for _ in range(2):
        response = await restart(service, run["id"], job_id=job_id, tag="again")
        assert (response.status_code, response.text) == (201, job_id)
    again = await service.ended(job_id)
    assert (again["result"], again["tag"], again["args"]) == (2, "again", {"x": 1})
    assert len((await service.get("jobs/list", job_kinds="flowpreview")).json()) == 2
    other = await restart(service, again["id"], job_id=job_id)
    assert (other.status_code, other.json()["field"]) == (409, "job_id")


async def test_a_restart_runs_its_steps_though_the_flow_s_result_is_kept(service: LocalService) -> None:
    """`cache_ttl` of a flow answers those who ask for its result, not those who want it done again."""
    flows, numbers = Flows(service), iter(range(1, 9))
    flows.functions["count"] = lambda _: next(numbers)
    modules = [const("a", 1), script("b", {"call": "count"})]
    first = await flows.run(*modules, cache_ttl=60)
    assert (await flows.run(*modules, cache_ttl=60))["result"] == 1
    again = await service.ended((await restart(service, first["id"])).text)
    assert again["result"] == 2
    from_b = {"flow_job_id": first["id"], "step_id": "b"}
    body = {"value": {"modules": modules, "cache_ttl": 60}, "args": {}, "restarted_from": from_b}
    response = await service.http.post("/api/w/main/jobs/run/preview_flow", json=body)
    assert (await service.ended(response.text))["result"] == 3


async def test_a_part_of_a_step_s_result_is_found_by_its_path(service: LocalService) -> None:
    """Null where there is none; a number that cannot be read leaves the result to be asked for whole."""
    flows = Flows(service)
    wild = '{"wild": [1e999]}'
    frame = f'{{"type":"result","value":{wild}}}'
    run = await flows.run(const("a", {"b": [{"c": 1}]}), script("w", {"garbage": frame}))
    for path, expected in (("b.0.c", 1), ("b.0", {"c": 1}), ("b.7", None), ("b.c", None), ("x.y", None)):
        found = await service.get(f"jobs/result_by_id/{run['id']}/a", json_path=path)
        assert (found.status_code, found.json()) == (200, expected), path
    refused = await service.get(f"jobs/result_by_id/{run['id']}/w", json_path="wild")
    assert (refused.status_code, refused.json()["field"]) == (400, "json_path")
    assert (await service.get(f"jobs/result_by_id/{run['id']}/w")).text == wild
