"""Submitting over HTTP: what is accepted, what is refused and how, and what comes back."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.api.bigargs import BIG_BYTES
from executor.jobs import store
from executor.sandbox.fake import FakeEngine
from tests.service import LocalService, local_service
from tests.waiting import until

pytestmark = pytest.mark.anyio
RUN = "/api/w/main/jobs/run/preview"
WAIT = "/api/w/main/jobs/run_wait_result/preview"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def test_a_job_runs_and_its_result_can_be_read(service: LocalService) -> None:
    job_id = await service.run({"log": "hi\n"}, {"echo": True}, args={"a": [1, "ä", None]})
    job = await service.ended(job_id)
    assert job["type"] == "CompletedJob"
    assert job["success"] is True
    assert job["result"] == {"a": [1, "ä", None]} == job["args"]
    assert job["logs"] == "hi\n"
    assert job["sandbox"]["engine"] == "fake"
    assert (await service.get(f"jobs_u/completed/get_result/{job_id}")).json() == job["result"]
    maybe = (await service.get(f"jobs_u/completed/get_result_maybe/{job_id}")).json()
    assert maybe == {"completed": True, "success": True, "started": True, "result": job["result"]}


async def test_waiting_for_the_result_gives_it_bare(service: LocalService) -> None:
    body = {"language": "python3", "content": '[{"result": [1, 2]}]'}
    response = await service.http.post(WAIT, json=body)
    assert (response.status_code, response.content) == (200, b"[1,2]")


async def test_a_failed_job_answers_500_with_its_error_and_reason(service: LocalService) -> None:
    body = {"language": "python3", "content": '[{"error": {"name": "E", "message": "boom"}}]'}
    response = await service.http.post(WAIT, json=body)
    assert response.status_code == 500
    assert response.json() == {"error": {"name": "E", "message": "boom", "reason": "script_error"}}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"language": "python3"}, "content"),
    ({"content": "x"}, "language"),
    ({"content": 1, "language": "python3"}, "content"),
    ({"content": "x", "language": "cobol"}, "language"),
    ({"content": "x", "language": ["python3"]}, "language"),
    ({"content": "x", "language": "python3", "args": []}, "args"),
    ({"content": "x", "language": "python3", "args": "{}"}, "args"),
    ({"content": "x", "language": "python3", "path": "a\nb"}, "path"),
    ({"content": "x", "language": "python3", "kind": "noop"}, "kind"),
    ({"content": "x", "language": "python3", "limits": {"timeout_s": -1}}, "limits.timeout_s"),
    ({"content": "x", "language": "python3", "limits": {"timeout_s": 0}}, "limits.timeout_s"),
    ({"content": "x", "language": "python3", "limits": {"timeout_s": "5"}}, "limits.timeout_s"),
    ({"content": "x", "language": "python3", "limits": {"timeout_s": True}}, "limits.timeout_s"),
    ({"content": "x", "language": "python3", "limits": {"timeout_s": 3601}}, "limits.timeout_s"),
    ({"content": "x", "language": "python3", "limits": {"memory_mb": 1e9}}, "limits.memory_mb"),
    ({"content": "x", "language": "python3", "limits": {"pids": 1.5}}, "limits.pids"),
    ({"content": "x", "language": "python3", "limits": {"disk": 1}}, "limits.disk"),
    ({"content": "x", "language": "python3", "limits": [1]}, "limits"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[str(i) for i in range(len(BAD))])
@pytest.mark.parametrize("route", [RUN, WAIT])
async def test_a_wrong_field_is_named_and_nothing_is_stored(
    service: LocalService, route: str, body: dict[str, Any], field: str
) -> None:
    response = await service.http.post(route, json=body)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["field"] == field
    assert problem["detail"].startswith(field)
    assert (await service.get("jobs/list")).json() == []


async def test_a_limit_above_its_maximum_is_told_the_maximum(service: LocalService) -> None:
    response = await service.submit(limits={"memory_mb": 4096})
    assert "2048" in response.json()["remedy"]


async def test_an_unknown_language_is_told_the_known_ones(service: LocalService) -> None:
    problem = (await service.submit(language="cobol")).json()
    assert "'cobol'" in problem["detail"]
    assert "python3" in problem["remedy"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"content": "\xff", "language": "python3"}',
        b'{"content": "x", "language": "python3", "args": {"n": NaN}}',
        b'{"content": "x", "language": "python3", "args": {"n": 1e999}}',
        b'{"content": "x", "language": "python3", "args": {"s": "\\ud800"}}',
        b'{"content": "x", "language": "python3", "args": {"deep": '
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}}",
    ],
)
async def test_a_body_that_is_not_strict_json_is_refused(service: LocalService, body: bytes) -> None:
    response = await service.http.post(RUN, content=body)
    assert response.status_code == 400, response.text
    assert response.json()["field"] in ("body", "args")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with local_service(tmp_path, request_mb=1) as service:
        response = await service.http.post(RUN, content=b"x" * (1024 * 1024 + 1))
        assert (response.status_code, response.json()["field"]) == (413, "body")

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100_000

        response = await service.http.post(RUN, content=chunks())
        assert response.status_code == 413


async def test_a_job_id_makes_a_submission_idempotent(service: LocalService) -> None:
    job_id = str(uuid.uuid4())
    for _ in range(3):
        response = await service.submit({"result": 1}, query={"job_id": job_id})
        assert (response.status_code, response.text) == (201, job_id)
    await service.ended(job_id)
    response = await service.submit({"result": 1}, query={"job_id": job_id})
    assert (response.status_code, response.text) == (201, job_id)
    assert len(service.engine.started) == 1, "it ran once"


async def test_a_job_id_used_for_another_request_is_a_conflict(service: LocalService) -> None:
    job_id = await service.run({"result": 1}, query={"job_id": str(uuid.uuid4())})
    response = await service.submit({"result": 2}, query={"job_id": job_id})
    assert (response.status_code, response.json()["field"]) == (409, "job_id")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"job_id": "nonsense"}, "job_id"),
        ({"scheduled_in_secs": -1}, "scheduled_in_secs"),
        ({"scheduled_in_secs": 10**30}, "scheduled_in_secs"),
        ({"scheduled_for": "tomorrow"}, "scheduled_for"),
        ({"scheduled_for": "9999-12-31T23:59:59Z"}, "scheduled_for"),
        ({"timeout": "nan"}, "query.timeout"),
        ({"timeout": 0}, "query.timeout"),
        ({"parent_job": "x"}, "parent_job"),
    ],
)
async def test_a_wrong_query_parameter_is_named(
    service: LocalService, query: dict[str, Any], field: str
) -> None:
    response = await service.submit({"result": 1}, query=query)
    assert (response.status_code, response.json()["field"]) == (400, field)


async def test_the_query_s_timeout_wins(service: LocalService) -> None:
    job_id = await service.run({"result": 1}, query={"timeout": 7}, limits={"timeout_s": 5})
    assert (await service.job(job_id))["limits"]["timeout_s"] == 7


async def test_a_scheduled_job_waits_for_its_time(service: LocalService) -> None:
    job_id = await service.run({"result": 1}, query={"scheduled_in_secs": 1})
    job = await service.job(job_id)
    assert (job["type"], job["running"]) == ("QueuedJob", False)
    assert (await service.ended(job_id))["success"] is True


async def test_a_full_queue_answers_429_and_stores_nothing(tmp_path: Path) -> None:
    async with local_service(tmp_path, queue_max=2, concurrency=1) as service:
        ids = [await service.run({"sleep": 0.3}, {"result": 1}) for _ in range(3)]
        response = await service.submit({"result": 1})
        assert response.status_code == 429
        assert "2 jobs are waiting" in response.json()["detail"]
        assert response.headers["retry-after"]
        for job_id in ids:
            assert (await service.ended(job_id))["success"] is True


async def test_at_most_concurrency_jobs_run_at_once_and_in_order(tmp_path: Path) -> None:
    async with local_service(tmp_path, concurrency=2) as service:
        ids = [await service.run({"sleep": 0.05}, {"result": n}) for n in range(8)]
        most = 0
        while (await service.get("jobs/queue/count")).json() != {"database_length": 0, "running": 0}:
            most = max(most, len(service.engine.living))
            await asyncio.sleep(0.005)
        jobs = [await service.job(job_id) for job_id in ids]
        assert [job["result"] for job in jobs] == list(range(8))
        starts = [job["started_at"] for job in jobs]
        assert starts == sorted(starts), "the queue is first in, first out"
        assert most <= 4, "two running, and at most two on their way out"


async def test_a_workspace_s_share_leaves_slots_to_others(tmp_path: Path) -> None:
    async with local_service(tmp_path, concurrency=2) as service:
        created = await service.http.post(
            "/api/workspaces/create", json={"id": "small", "policy": {"concurrency": 1}}
        )
        assert created.status_code == 201, created.text
        body = {"language": "python3", "content": '[{"sleep": 0.5}, {"result": 1}]'}
        for _ in range(3):
            await service.http.post("/api/w/small/jobs/run/preview", json=body)
        job_id = await service.run({"result": "mine"})
        assert (await service.ended(job_id, timeout_s=0.4))["result"] == "mine"
        count = (await service.http.get("/api/w/small/jobs/queue/count")).json()
        assert count == {"database_length": 2, "running": 1}


async def test_a_workspace_s_limits_bind_its_jobs(service: LocalService) -> None:
    policy = {"limits": {"memory_mb": 64}}
    await service.http.post("/api/workspaces/create", json={"id": "tiny", "policy": policy})
    body = {"language": "python3", "content": "[]", "limits": {"memory_mb": 65}}
    response = await service.http.post("/api/w/tiny/jobs/run/preview", json=body)
    assert (response.status_code, response.json()["field"]) == (400, "limits.memory_mb")
    body["limits"] = {}
    job_id = (await service.http.post("/api/w/tiny/jobs/run/preview", json=body)).text
    job = (await service.http.get(f"/api/w/tiny/jobs_u/get/{job_id}")).json()
    assert job["limits"]["memory_mb"] == 64


async def test_jobs_of_one_workspace_are_not_found_in_another(service: LocalService) -> None:
    await service.http.post("/api/workspaces/create", json={"id": "other"})
    job_id = await service.run({"result": 1})
    response = await service.http.get(f"/api/w/other/jobs_u/get/{job_id}")
    assert response.status_code == 404


async def test_a_client_that_leaves_cancels_the_job_it_waited_for(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with local_service(tmp_path, engine) as service:
        body = {"language": "python3", "content": '[{"sleep": 60}]'}
        async with asyncio.timeout(30):
            await _post_and_leave(service, body)
        (job,) = (await service.get("jobs/list")).json()
        ended = await service.ended(job["id"])
        assert ended["status"] == "canceled"
        assert "disconnected" in ended["canceled_reason"]


async def _post_and_leave(service: LocalService, body: dict[str, Any]) -> None:
    """Call the application as a server does whose client disconnects after 0.1 s."""
    import json

    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
    asyncio.get_running_loop().call_later(0.1, messages.put_nowait, {"type": "http.disconnect"})
    scope = {
        "type": "http",
        "method": "POST",
        "path": WAIT,
        "raw_path": WAIT.encode(),
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer test-token"), (b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "asgi": {"version": "3.0"},
    }

    async def send(_: Any) -> None:
        pass

    await service.app(scope, messages.get, send)


async def test_a_result_shapes_the_answer_it_asks_for(service: LocalService) -> None:
    async def answer(result: dict[str, Any]) -> Any:
        import json

        body = {"language": "python3", "content": json.dumps([{"result": result}])}
        return await service.http.post(WAIT, json=body)

    shaped = await answer({"windmill_status_code": 202, "windmill_headers": {"X-A": "b"}, "result": {"n": 1}})
    assert (shaped.status_code, shaped.json(), shaped.headers["x-a"]) == (202, {"n": 1}, "b")
    text = await answer({"windmill_content_type": "text/csv", "result": "a,b"})
    assert (text.text, text.headers["content-type"]) == ("a,b", "text/csv; charset=utf-8")
    evil = await answer({"windmill_headers": {"X-A": "b\r\nX-B: c", "Content-Length": "1"}, "result": "x"})
    assert (evil.status_code, evil.json()) == (200, "x")
    assert "x-b" not in evil.headers
    odd = await answer({"windmill_status_code": 99999, "result": 1})
    assert odd.status_code == 200


async def test_queued_jobs_follow_one_another_through_one_slot(tmp_path: Path) -> None:
    """Also after the queue had been empty: a slot that becomes free is looked at if somebody waits for it."""
    async with local_service(tmp_path, concurrency=1) as service:
        await service.ended(await service.run({"result": 0}))
        ids = [await service.run({"sleep": 0.05}, {"result": number}) for number in range(4)]
        results = [(await service.ended(job_id))["result"] for job_id in ids]
    assert results == [0, 1, 2, 3]


async def test_big_arguments_are_kept_as_they_came_and_make_a_request_the_same(service: LocalService) -> None:
    """The same bytes are the same request; another argument, or another script, is another one."""
    big: dict[str, Any] = {"a": "x" * BIG_BYTES, "b": [1.50, "é"]}
    query = {"job_id": str(uuid.uuid4())}
    for _ in range(2):
        assert (await service.submit({"result": 1}, args=big, query=query)).status_code == 201
    for steps, args in (({"result": 1}, {**big, "b": 2}), ({"result": 2}, big)):
        assert (await service.submit(steps, args=args, query=query)).status_code == 409
    job = await service.ended(query["job_id"])
    assert job["args"] == big


async def test_what_is_wrong_beside_big_arguments_is_said_as_ever(service: LocalService) -> None:
    big = {"a": "x" * BIG_BYTES}
    for body, field in (
        ({"language": "cobol"}, "language"),
        ({"limits": {"memory_mb": 10**9}}, "limits.memory_mb"),
    ):
        response = await service.submit({"result": 1}, args=big, **body)
        assert (response.status_code, response.json()["field"]) == (400, field)
    text = json.dumps({"language": "python3", "content": "[]", "args": big})
    for broken in (text[:-1], text.replace('"xx', '"\\ud800xx'), text.replace('"a":', '"b":1e999,"a":')):
        response = await service.http.post(RUN, content=broken.encode())
        assert response.status_code == 400, response.text


async def test_who_waits_is_told_the_end_without_its_being_read(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was known a moment ago, in this process; a flow's end is looked for once it has one."""
    worker: Any = service.context.desk.starter
    # Until it has looked at its queue, jobs are queued and not started at once.
    await until(lambda: worker._dispatch._is_asked and not worker._dispatch._claiming)
    read = service.context.desk.database.read
    acts = []

    async def noted(act: Any, *args: Any) -> Any:
        acts.append(act)
        return await read(act, *args)

    monkeypatch.setattr(service.context.desk.database, "read", noted)
    response = await service.http.post(WAIT, json={"language": "python3", "content": '[{"result": "once"}]'})
    assert (response.status_code, response.content) == (200, b'"once"')
    assert store.with_result not in acts
    step = {"type": "rawscript", "language": "python3", "content": '[{"result": 1}]', "input_transforms": {}}
    value = {"modules": [{"id": f"s{number}", "value": step} for number in range(8)]}
    response = await service.http.post(f"{WAIT}_flow", json={"value": value})
    assert (response.status_code, response.content) == (200, b"1")
    assert acts.count(store.with_result) <= 2


async def test_one_workspace_s_queue_is_not_another_s(tmp_path: Path) -> None:
    """Nor is what it has scheduled for years."""
    later = {"scheduled_in_secs": 300_000_000}
    async with local_service(tmp_path, queue_max=2) as service:
        await service.http.post("/api/workspaces/create", json={"id": "other"})
        answers = [await service.submit({"result": 1}, query=later) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        body = {"language": "python3", "content": "[]"}
        asked = await service.http.post("/api/w/other/jobs/run/preview", json=body, params=later)
        assert asked.status_code == 201


@pytest.mark.parametrize("timeout", ["1e999", "NaN", "-inf", "9" * 400])
async def test_a_time_limit_out_of_range_is_named_for_flows_too(service: LocalService, timeout: str) -> None:
    response = await service.http.post(
        "/api/w/main/jobs/run/preview_flow", json={"value": {"modules": []}}, params={"timeout": timeout}
    )
    assert response.status_code == 400
    assert "timeout" in response.json()["field"]
