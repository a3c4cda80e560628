"""Reading single jobs and ending them: get, logs, args, results, cancel, delete."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.sandbox.fake import FakeEngine
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def post(service: LocalService, path: str, **more: Any) -> httpx.Response:
    return await service.http.post(f"/api/w/main/{path}", **more)


async def cancel(service: LocalService, job_id: str, **more: Any) -> httpx.Response:
    return await post(service, f"jobs_u/queue/cancel/{job_id}", **more)


async def test_a_queued_job_says_that_it_waits(service: LocalService) -> None:
    """`QueuedJob`, with what it will run."""
    steps = '[{"result": 1}]'
    job_id = await service.run({"result": 1}, args={"a": 1}, path="f/x/y", query={"scheduled_in_secs": 60})
    job = await service.job(job_id)
    assert (job["type"], job["running"], job["canceled"], job["suspend"]) == ("QueuedJob", False, False, 0)
    assert (job["id"], job["workspace_id"], job["job_kind"]) == (job_id, "main", "preview")
    assert (job["raw_code"], job["language"], job["script_path"]) == (steps, "python3", "f/x/y")
    assert (job["created_by"], job["permissioned_as"]) == ("admin", "u/admin")
    assert (job["args"], job["started_at"], job["logs"]) == ({"a": 1}, None, "")
    assert job["scheduled_for"] > job["created_at"]
    assert "result" not in job
    assert "success" not in job


async def test_a_running_job_says_so_and_shows_its_log(service: LocalService) -> None:
    """Up to this moment."""
    job_id = await service.run({"log": "so far"}, {"sleep": 60})
    await service.started(job_id)
    async with asyncio.timeout(30):
        while (job := await service.job(job_id))["logs"] != "so far":
            await asyncio.sleep(0.01)
    assert (job["type"], job["running"], job["attempt"]) == ("QueuedJob", True, 1)
    assert job["started_at"] is not None


async def test_a_completed_job_has_its_end(service: LocalService) -> None:
    """How, when, for how long, with how much memory, and how it was isolated."""
    job_id = await service.run({"sleep": 0.05}, {"result": 1})
    job = await service.ended(job_id)
    assert (job["type"], job["success"], job["status"], job["reason"]) == (
        "CompletedJob",
        True,
        "success",
        None,
    )
    assert (job["is_skipped"], job["deleted"], job["canceled"]) == (False, False, False)
    assert job["duration_ms"] >= 50
    assert job["mem_peak"] == 1, "in KiB, as Windmill has it"
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    assert (job["sandbox"]["network"], job["sandbox"]["image"]) == ("none", "image-of-python3")
    assert (await service.get(f"jobs_u/completed/get/{job_id}")).json() == job


async def test_logs_and_code_can_be_left_out(service: LocalService) -> None:
    """`no_logs`, `no_code`."""
    job_id = await service.run({"log": "x"}, {"result": 1})
    whole = await service.ended(job_id)
    less = (await service.get(f"jobs_u/get/{job_id}", no_logs=True, no_code=True)).json()
    assert set(whole) - set(less) == {"logs", "raw_code", "raw_lock"}


async def test_log_and_arguments_can_be_read_alone(service: LocalService) -> None:
    """The log as text, the arguments as they were given."""
    job_id = await service.run({"log": "ä\n"}, {"log": "b"}, {"result": 1}, args={"b": [1.5], "a": None})
    await service.ended(job_id)
    log = await service.get(f"jobs_u/get_logs/{job_id}")
    assert (log.text, log.headers["content-type"]) == ("ä\nb", "text/plain; charset=utf-8")
    args = await service.get(f"jobs_u/get_args/{job_id}")
    assert (args.text, args.headers["content-type"]) == ('{"b":[1.5],"a":null}', "application/json")


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, "x", [None], {"error": {"message": "mine"}}])
async def test_a_result_is_served_bare(service: LocalService, value: Any) -> None:
    """Whatever JSON it is; also one that looks like an error."""
    job_id = await service.run({"result": value})
    await service.ended(job_id)
    response = await service.get(f"jobs_u/completed/get_result/{job_id}")
    assert (response.status_code, response.json()) == (200, value)
    maybe = (await service.get(f"jobs_u/completed/get_result_maybe/{job_id}", get_started=False)).json()
    assert maybe == {"completed": True, "success": True, "result": value}


async def test_a_failure_is_a_result_that_says_why(service: LocalService) -> None:
    """Reading it is a success: 200."""
    job_id = await service.run({"error": {"name": "E", "message": "m"}})
    job = await service.ended(job_id)
    response = await service.get(f"jobs_u/completed/get_result/{job_id}")
    assert (response.status_code, response.json()) == (200, job["result"])
    assert (job["success"], job["status"], job["reason"]) == (False, "failure", "script_error")
    maybe = (await service.get(f"jobs_u/completed/get_result_maybe/{job_id}")).json()
    assert (maybe["completed"], maybe["success"], maybe["started"]) == (True, False, True)


async def test_what_is_not_completed_is_not_found_there(service: LocalService) -> None:
    """With the state it is in; `get_result_maybe` is for those who poll."""
    waiting = await service.run({"result": 1}, query={"scheduled_in_secs": 60})
    running = await service.run({"sleep": 60})
    for job_id, state in ((waiting, "queued"), (running, "running")):
        for route in ("completed/get", "completed/get_result"):
            response = await service.get(f"jobs_u/{route}/{job_id}")
            assert response.status_code == 404
            assert f"is {state}" in response.json()["detail"]
        maybe = (await service.get(f"jobs_u/completed/get_result_maybe/{job_id}")).json()
        expected = {"completed": False, "success": None, "result": None, "started": state == "running"}
        assert maybe == expected
        assert (await post(service, f"jobs/completed/delete/{job_id}")).status_code == 404


READING = [
    "jobs_u/get",
    "jobs_u/get_logs",
    "jobs_u/get_args",
    "jobs_u/getupdate",
    "jobs_u/completed/get",
    "jobs_u/completed/get_result",
    "jobs_u/completed/get_result_maybe",
]


@pytest.mark.parametrize("route", READING)
async def test_an_unknown_job_is_404_and_a_nonsense_id_400(service: LocalService, route: str) -> None:
    """Both name the id."""
    unknown = await service.get(f"{route}/{uuid.uuid4()}")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "id")
    nonsense = await service.get(f"{route}/nonsense")
    assert (nonsense.status_code, nonsense.json()["field"]) == (400, "id")


@pytest.mark.parametrize("result", [None, {"a": 1}, [1], 5])
async def test_a_stream_is_part_of_the_result(service: LocalService, result: Any) -> None:
    """In place of null, as `wm_stream` of an object, and nowhere else."""
    job_id = await service.run({"stream": "a"}, {"stream": "b\n"}, {"result": result})
    expected = {"null": "ab\n", "dict": {"a": 1, "wm_stream": "ab\n"}}
    key = "null" if result is None else type(result).__name__
    assert (await service.ended(job_id))["result"] == expected.get(key, result)
    update = (await service.get(f"jobs_u/getupdate/{job_id}")).json()
    assert (update["new_result_stream"], update["stream_offset"]) == ("ab\n", 3)


async def test_a_script_labels_its_job(service: LocalService) -> None:
    """With `wm_labels` of its result object."""
    job_id = await service.run({"result": {"wm_labels": ["a", "ä"], "n": 1}})
    job = await service.ended(job_id)
    assert (job["labels"], job["result"]["n"]) == (["a", "ä"], 1)


async def test_cancelling_a_queued_job_ends_it_at_once(service: LocalService) -> None:
    """It never runs."""
    job_id = await service.run({"result": 1}, query={"scheduled_in_secs": 60})
    response = await cancel(service, job_id, json={"reason": "no need"})
    assert (response.status_code, response.text) == (200, job_id)
    job = await service.job(job_id)
    assert (job["type"], job["status"], job["canceled"], job["success"]) == (
        "CompletedJob",
        "canceled",
        True,
        False,
    )
    assert (job["canceled_by"], job["canceled_reason"], job["reason"]) == ("admin", "no need", "cancelled")
    assert job["result"]["error"] == {
        "name": "Canceled",
        "message": "Job canceled: no need by admin",
        "canceler": "admin",
        "reason": "cancelled",
    }
    assert service.engine.started == []


async def test_cancelling_a_running_job_signals_and_then_kills_it(tmp_path: Path) -> None:
    """Within the grace period and a second; what it wrote stays."""
    engine = FakeEngine()
    async with local_service(tmp_path, engine, cancel_grace_s=0.3) as service:
        job_id = await service.run({"log": "kept"}, {"sleep": 60})
        await service.started(job_id)
        (container,) = engine.living.values()
        async with asyncio.timeout(1.3):
            await cancel(service, job_id)
            assert (await service.job(job_id))["canceled"] is True, "before it has ended, too"
            job = await service.ended(job_id)
        assert (job["status"], job["logs"], job["canceled_by"]) == ("canceled", "kept", "admin")
        assert container.signals == ["SIGINT"]
        assert engine.killed


async def test_a_script_that_heeds_the_signal_is_cancelled_all_the_same(tmp_path: Path) -> None:
    """Its result does not count any more."""
    async with local_service(tmp_path, cancel_grace_s=30) as service:
        job_id = await service.run({"sleep": 1}, {"result": 1})
        await service.started(job_id)
        await cancel(service, job_id, json={"reason": None})
        job = await service.ended(job_id)
        assert (job["status"], job["canceled_reason"]) == ("canceled", "no reason given")


async def test_cancelling_a_completed_job_changes_nothing(service: LocalService) -> None:
    """Its end is final."""
    job_id = await service.run({"result": 1})
    before = await service.ended(job_id)
    assert (await cancel(service, job_id)).text == job_id
    assert await service.job(job_id) == before


async def test_cancelling_twice_is_cancelling_once(service: LocalService) -> None:
    """One end, one result."""
    job_id = await service.run({"sleep": 60})
    await service.started(job_id)
    await asyncio.gather(*(cancel(service, job_id, json={"reason": f"r{n}"}) for n in range(5)))
    assert (await service.ended(job_id))["status"] == "canceled"


async def test_cancelling_at_the_very_start_is_not_missed(service: LocalService) -> None:
    """Whatever the job is doing when the request arrives."""
    for delay in (0, 0.001, 0.002, 0.004, 0.008):
        job_id = str(uuid.uuid4())
        submitting = asyncio.create_task(service.run({"sleep": 60}, query={"job_id": job_id}))
        await asyncio.sleep(delay)
        async with asyncio.timeout(30):
            while (await cancel(service, job_id)).status_code == 404:
                pass
        await submitting
        assert (await service.ended(job_id, timeout_s=3))["status"] == "canceled"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"reason": 1}', "reason"),
        (b"[]", "body"),
        (b"{", "body"),
        (b'{"reason": "%s"}' % (b"x" * 10_001), "reason"),
    ],
    ids=["number", "list", "cut", "long"],
)
async def test_a_wrong_cancellation_is_refused_and_cancels_nothing(
    service: LocalService, body: bytes, field: str
) -> None:
    """Naming the field."""
    job_id = await service.run({"sleep": 0.1}, {"result": 1})
    response = await cancel(service, job_id, content=body)
    assert (response.status_code, response.json()["field"]) == (400, field)
    assert (await service.ended(job_id))["status"] == "success"


async def test_cancelling_an_unknown_job_is_404(service: LocalService) -> None:
    """Nothing to end."""
    assert (await cancel(service, str(uuid.uuid4()))).status_code == 404


async def test_a_timeout_is_a_failure_that_names_its_limit(service: LocalService) -> None:
    """`canceled_by: "timeout"`, and yet not cancelled."""
    job_id = await service.run({"stopped": "timeout"}, limits={"timeout_s": 2.5})
    job = await service.ended(job_id)
    assert (job["status"], job["reason"], job["canceled"]) == ("failure", "timeout", False)
    assert (job["canceled_by"], job["canceled_reason"]) == ("timeout", "duration > 2.5")


async def test_deleting_scrubs_a_completed_job(service: LocalService) -> None:
    """Arguments, result, log, stream and labels go; that it ran and how it ended stays."""
    job_id = await service.run(
        {"log": "secret"}, {"stream": "secret"}, {"result": {"wm_labels": ["secret"]}}, args={"s": "secret"}
    )
    await service.ended(job_id)
    response = await post(service, f"jobs/completed/delete/{job_id}")
    job = response.json()
    assert (response.status_code, job["deleted"], job["success"]) == (200, True, True)
    assert (job["args"], job["result"], job["logs"], job["labels"]) == ({}, {}, "##DELETED##", None)
    assert await service.job(job_id) == job
    for route in ("get_logs", "get_args", "getupdate", "completed/get_result"):
        answer = await service.get(f"jobs_u/{route}/{job_id}")
        shown = answer.json().get("new_result_stream", "") if route == "getupdate" else answer.text
        assert "secret" not in (shown or "")
