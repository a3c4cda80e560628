"""Who may call what, and how refusals look."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import TOKEN, LocalService, local_service

pytestmark = pytest.mark.anyio
OPEN = {"/health", "/ready", "/metrics", "/api/version"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


@pytest.fixture
async def stranger(service: LocalService) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_every_api_route_refuses_strangers(service: LocalService, stranger: httpx.AsyncClient) -> None:
    """All of them, found in the application itself, before anything is read or said."""
    ids = defaultdict(lambda: str(uuid.uuid4()), workspace="main", resume_id="0", signature="0" * 64)
    schema = service.app.openapi()
    asked = [(method, path) for path, methods in schema["paths"].items() for method in methods]
    assert {path for _, path in asked} >= OPEN
    for method, path in asked:
        response = await stranger.request(method, path.format_map(ids), content=b"nonsense")
        if path in OPEN:
            assert response.status_code == 200, path
            continue
        assert path.startswith("/api/"), path
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["field"] == ("signature" if "{signature}" in path else "Authorization")


async def test_an_unknown_workspace_is_not_told_from_a_known_one(stranger: httpx.AsyncClient) -> None:
    """Credentials come first."""
    for workspace in ("main", "nowhere"):
        assert (await stranger.get(f"/api/w/{workspace}/jobs/list")).status_code == 401


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"authorization": f"Bearer {TOKEN}"}},
        {"headers": {"authorization": f"bearer   {TOKEN} "}},
        {"headers": {"cookie": f"a=b; token={TOKEN}"}},
        {"params": {"token": TOKEN}},
        {"headers": {"authorization": "Basic eDp5"}, "params": {"token": TOKEN}},
    ],
)
async def test_a_token_is_taken_from_header_cookie_or_query(
    stranger: httpx.AsyncClient, given: dict[str, Any]
) -> None:
    """The three places of docs/openflow.md section 6."""
    assert (await stranger.get("/api/w/main/jobs/list", **given)).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"headers": {"authorization": "Bearer"}},
        {"headers": {"authorization": "Bearer wrong"}},
        {"headers": {"authorization": TOKEN}},
        {"headers": {"authorization": f"Basic {TOKEN}"}},
        {"headers": {"authorization": "Bearer é".encode()}},
        {"headers": {"authorization": b"Bearer \xff\xfe"}},
        {"headers": {"cookie": b"token=\xff"}},
        {"headers": {"cookie": "token="}},
        {"params": {"token": "ключ"}},
        {"params": {"token": "\0"}},
        {"params": {"token": ""}},
        {"params": {"token": TOKEN[:-1]}},
        {"params": {"token": TOKEN + "x"}},
        {"headers": {"authorization": "Bearer wrong"}, "params": {"token": TOKEN}},
    ],
    ids=[str(number) for number in range(15)],
)
async def test_no_token_or_a_wrong_one_is_401(stranger: httpx.AsyncClient, given: dict[str, Any]) -> None:
    """Of whatever characters it is made; a wrong header is not saved by a right query."""
    response = await stranger.get("/api/w/main/jobs/list", **given)
    assert response.status_code == 401, response.text
    assert TOKEN not in response.text


async def test_a_token_in_the_query_does_not_change_which_request_it_is(service: LocalService) -> None:
    """Idempotency is about what is asked, not about how one identifies oneself."""
    job_id = str(uuid.uuid4())
    for query in ({"job_id": job_id}, {"job_id": job_id, "token": TOKEN}):
        response = await service.submit({"result": 1}, query=query)
        assert (response.status_code, response.text) == (201, job_id)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/w/main/jobs/nothing", 404),
        ("GET", "/api/w/main/jobs/run/preview", 405),
        ("DELETE", "/api/w/main/jobs/list", 405),
        ("POST", "/health", 405),
    ],
)
async def test_what_is_not_there_is_a_problem_document(
    service: LocalService, method: str, path: str, status: int
) -> None:
    """As every other error is; 405 says what is allowed."""
    response = await service.http.request(method, path)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    assert bool(response.headers.get("allow")) is (status == 405)


async def test_what_a_caller_sends_is_not_sent_back_at_length(service: LocalService) -> None:
    """An error message shows the beginning of a wrong value, not megabytes of it."""
    huge = "x" * 200_000
    for body in (
        {"content": "x", "language": huge},
        {"content": "x", "language": "bash", "kind": huge},
        {"content": "x", "language": "bash", "limits": {"pids": huge}},
        {"content": "x", "language": "bash", "limits": {huge: 1}},
        {"content": "x", "language": "bash", "limits": {"pids": [huge]}},
        {huge: 1},
    ):
        response = await service.http.post("/api/w/main/jobs/run/preview", json=body)
        assert response.status_code == 400
        assert len(response.content) < 5_000
    response = await service.http.post("/api/workspaces/create", json={"id": "a", huge: 1})
    assert (response.status_code, len(response.content) < 5_000) == (400, True)
