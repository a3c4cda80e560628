"""What a flow's scripts keep and tell while they run (docs/openflow.md section 5.2)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.jobs import gates
from tests.approving import Approvals, gated, script, told
from tests.service import local_service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]


@pytest.fixture
async def approvals(tmp_path: Path) -> AsyncIterator[Approvals]:
    async with local_service(tmp_path) as service:
        yield Approvals(service)


async def keep(approvals: Approvals, flow: str, key: str, value: Any) -> int:
    """POST a value; the answer's status."""
    url = f"/api/w/main/jobs/flow/user_states/{flow}/{key}"
    response = await approvals.service.http.post(url, json=value)
    if response.status_code == 200:
        assert response.text == "Flow job state updated"
    return response.status_code


async def kept(approvals: Approvals, flow: str, key: str) -> Any:
    """GET a value."""
    response = await approvals.service.get(f"jobs/flow/user_states/{flow}/{key}")
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_flow_keeps_values_and_shows_them_in_its_status(approvals: Approvals) -> None:
    """Any JSON under any key, the last one counts; null for a key without one."""
    run = await approvals.start(gated(), told())
    job = await approvals.waits(run, parked=True)
    assert "user_states" not in (await approvals.service.job(run))["flow_status"]
    values = {"a": {"deep": [1, None]}, "b/c": 0.5, "ü": None, "d": "text", "e": False}
    assert await keep(approvals, run, "a", "first") == 200
    for key, value in values.items():
        assert await keep(approvals, run, key, value) == 200
        assert await kept(approvals, run, key) == value
    assert await kept(approvals, run, "nothing") is None
    assert (await approvals.service.job(run))["flow_status"]["user_states"] == values
    await approvals.approve(job)
    ended = await approvals.service.ended(run)
    assert ended["flow_status"]["user_states"] == values
    assert await kept(approvals, run, "a") is None, "the flow is completed"


async def test_only_a_running_flow_keeps_values(approvals: Approvals) -> None:
    """404 with Windmill's text for a script, a completed flow, an unknown job; 400 for what is no JSON."""
    alone = await approvals.service.run({"result": 1})
    done = await approvals.start(script("a", {"result": 1}))
    await approvals.service.ended(done)
    for job in (alone, done, str(uuid.uuid4())):
        response = await approvals.service.http.post(f"/api/w/main/jobs/flow/user_states/{job}/k", json=1)
        assert (response.status_code, response.json()["detail"]) == (404, "Flow job not found")
    assert (await approvals.service.get(f"jobs/flow/user_states/{uuid.uuid4()}/k")).status_code == 404
    run = await approvals.start(gated(), told())
    url = f"/api/w/main/jobs/flow/user_states/{run}/k"
    for body, status in (
        (b"", 200),
        (b"{", 400),
        (b"NaN", 400),
        (b'{"a": [1e999]}', 400),
        (b'"' + b"x" * 2**20 + b'"', 413),
    ):
        assert (await approvals.service.http.post(url, content=body)).status_code == status


async def test_a_flow_keeps_a_bounded_number_of_values(
    approvals: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further key is refused with the limit; a known one can still change."""
    monkeypatch.setattr(gates, "STATES_MAX", 3)
    run = await approvals.start(gated(), told())
    assert [await keep(approvals, run, f"k{n}", n) for n in range(4)] == [200, 200, 200, 400]
    assert await keep(approvals, run, "k1", "new") == 200
    assert await kept(approvals, run, "k1") == "new"


async def test_every_job_knows_the_run_it_belongs_to(approvals: Approvals) -> None:
    """A JSON string; a job with nothing around it is its own root."""
    branch: dict[str, Any] = {"type": "branchone", "branches": [], "default": [script("x", {"result": 1})]}
    run = await approvals.start({"id": "b", "value": branch})
    await approvals.service.ended(run)
    part = await approvals.job_of(run, "b")
    (inner,) = (await approvals.service.get("jobs/list", parent_job=part)).json()
    alone = await approvals.service.run({"result": 1})
    for job, root in ((run, run), (part, run), (inner["id"], run), (alone, alone)):
        response = await approvals.service.get(f"jobs_u/get_root_job_id/{job}")
        assert (response.status_code, response.json()) == (200, root)
    assert (await approvals.service.get(f"jobs_u/get_root_job_id/{uuid.uuid4()}")).status_code == 404


async def test_progress_is_as_the_script_says(approvals: Approvals) -> None:
    """Null at first, it may go down; the flow's status has it from 0 to 99, and only while the step runs."""
    run = await approvals.start(script("a", {"sleep": 3}, {"result": 1}))
    job = await approvals.job_of(run, "a")
    assert (await approvals.service.get(f"job_metrics/get_progress/{job}")).json() is None
    for percent, shown in ((50, 50), (20, 20), (100, 99), (-5, 0)):
        body = {"percent": percent, "flow_job_id": run}
        response = await approvals.service.http.post(f"/api/w/main/job_metrics/set_progress/{job}", json=body)
        assert response.status_code == 200, response.text
        assert (await approvals.service.get(f"job_metrics/get_progress/{job}")).json() == percent
        assert (await approvals.service.job(run))["flow_status"]["modules"][0]["progress"] == shown
        assert (await approvals.service.get(f"jobs_u/getupdate/{job}")).json()["progress"] == percent
    ended = await approvals.service.ended(run)
    assert "progress" not in ended["flow_status"]["modules"][0]
    for wrong in ({}, {"percent": "5"}, {"percent": 1.5}):
        response = await approvals.service.http.post(
            f"/api/w/main/job_metrics/set_progress/{job}", json=wrong
        )
        assert (response.status_code, response.json()["field"]) == (400, "percent")
