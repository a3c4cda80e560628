"""Who may call: tokens with rights, for workspaces, until a time; of each there is only a hash."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from executor.api.context import who
from executor.jobs.job import now_us
from executor.workspace.tokens import OF_JOB, Right, Token, sign_for_job
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
SCRIPT = {"language": "python3", "content": '[{"result": 1}]'}
RUN, CREATE, LIST = "/api/w/main/jobs/run/preview", "/api/users/tokens/create", "/api/users/tokens/list"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as made:
        yield made


async def made(service: LocalService, by: str | None = None, **body: Any) -> str:
    """The text of a new token."""
    response = await service.http.post(CREATE, json=body, headers=bearing(by))
    assert response.status_code == 201, response.text
    return response.text


def bearing(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


async def status(service: LocalService, token: str, method: str, path: str, **more: Any) -> int:
    return (await service.http.request(method, path, headers=bearing(token), **more)).status_code


def problem(response: httpx.Response) -> tuple[int, str | None]:
    return response.status_code, response.json().get("field")


async def test_a_right_includes_those_below_it_and_no_more(service: LocalService) -> None:
    needs = {
        Right.READ: ("GET", "/api/w/main/jobs/list", {}),
        Right.RUN: ("POST", RUN, {"json": SCRIPT}),
        Right.ADMIN: ("POST", "/api/w/main/scripts/create", {"json": {"path": "f/a/b", **SCRIPT}}),
    }
    for right in Right:
        token = await made(service, right=right)
        for needed, (method, path, more) in needs.items():
            expected = {True: {200, 201, 409}, False: {403}}[right.includes(needed)]
            assert await status(service, token, method, path, **more) in expected, (right, needed)
    response = await service.http.post(RUN, json=SCRIPT, headers=bearing(await made(service, right="read")))
    assert problem(response) == (403, "Authorization")
    assert "`run`" in response.json()["detail"]


async def test_a_token_of_a_workspace_is_for_that_one_alone(service: LocalService) -> None:
    for name in ("red", "blue"):
        assert (await service.http.post("/api/workspaces/create", json={"id": name})).status_code == 201
    token = await made(service, workspace_id="red")
    assert await status(service, token, "POST", "/api/w/red/jobs/run/preview", json=SCRIPT) == 201
    for other in ("blue", "main", "nowhere"):  # whether there is one is not theirs to know
        assert await status(service, token, "GET", f"/api/w/{other}/jobs/list") == 403
    listed = await service.http.get("/api/workspaces/list", headers=bearing(token))
    assert [found["id"] for found in listed.json()] == ["red"]
    assert await status(service, token, "GET", "/api/workspaces/get/blue") == 403
    assert await status(service, token, "POST", "/api/workspaces/create", json={"id": "green"}) == 403
    assert await status(service, token, "POST", "/api/workspaces/set_policy/red", json={"policy": {}}) == 403


async def test_a_secret_s_value_needs_more_than_reading(service: LocalService) -> None:
    body = {"path": "u/admin/key", "value": "s3cr3t", "is_secret": True, "description": ""}
    assert (await service.http.post("/api/w/main/variables/create", json=body)).status_code == 201
    for right, expected in (("read", 403), ("run", 200)):
        token = await made(service, right=right)
        for path in ("variables/get_value/u/admin/key", "variables/get/u/admin/key"):
            assert await status(service, token, "GET", f"/api/w/main/{path}") == expected


async def test_a_token_makes_none_that_may_do_more(service: LocalService) -> None:
    await service.http.post("/api/workspaces/create", json={"id": "red"})
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    mine = await made(service, right="run", workspace_id="red", user="ada", expiration=soon)
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"right": "admin", "expiration": soon}, "right"),
        ({"workspace_id": "main", "expiration": soon}, "workspace_id"),
        ({"user": "bob", "expiration": soon}, "user"),
        ({"expiration": later}, "expiration"),
        ({}, "expiration"),
    ]
    for wrong, field in wrongs:
        response = await service.http.post(CREATE, json=wrong, headers=bearing(mine))
        assert problem(response) == (403, field)
    theirs = await made(service, by=mine, right="read", expiration=soon)
    me = (await service.http.get("/api/w/red/users/whoami", headers=bearing(theirs))).json()
    assert (me["username"], me["right"], me["is_admin"]) == ("ada", "read", False)
    wrongs = [
        ({"scopes": ["jobs:run"]}, "scopes"),
        ({"right": "root"}, "right"),
        ({"user": "a b"}, "user"),
        ({"expiration": "2001-01-01T00:00:00Z"}, "expiration"),
    ]
    for wrong, field in wrongs:
        response = await service.http.post(CREATE, json=wrong)
        assert problem(response) == (400, field), response.text


async def test_a_token_ends_by_time_and_by_deletion(service: LocalService) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    brief, other = await made(service, expiration=soon), await made(service)
    whoami = "/api/w/main/users/whoami"
    assert await status(service, brief, "GET", whoami) == 200
    async with asyncio.timeout(30):
        while await status(service, brief, "GET", whoami) != 401:
            await asyncio.sleep(0.05)
    assert datetime.now(UTC).isoformat() >= soon
    ada = await made(service, user="ada", right="read")
    path = f"/api/users/tokens/delete/{other[:10]}"
    assert await status(service, ada, "DELETE", path) == 404  # it is not hers
    assert await status(service, other, "GET", whoami) == 200
    assert await status(service, other, "DELETE", path) == 200
    assert await status(service, other, "GET", whoami) == 401


async def test_tokens_are_kept_as_hashes_and_over_a_restart(tmp_path: Path) -> None:
    async with local_service(tmp_path) as service:
        token = await made(service, label="nightly", right="run", user="ada")
        listed = (await service.http.get(LIST)).json()
        assert [(one["label"], one["user"], one["token_prefix"]) for one in listed] == [
            ("nightly", "ada", token[:10])
        ]
        assert token not in str(listed)
    with sqlite3.connect(next(tmp_path.glob("*.db"))) as database:
        assert token not in "\n".join(database.iterdump())
    async with local_service(tmp_path) as service:
        job = await service.http.post(RUN, json=SCRIPT, headers=bearing(token))
        assert (await service.job(job.text))["created_by"] == "ada"
        assert (await service.http.get(LIST)).json()[0]["last_used_at"] is not None


async def test_whom_nobody_knows(service: LocalService) -> None:
    for wrong in ("nope", "job-", "job-e30.00", "job-W10.é", "\ud800".encode("utf-8", "surrogatepass")):
        headers = {b"Authorization": b"Bearer " + (wrong if isinstance(wrong, bytes) else wrong.encode())}
        response = await service.http.get("/api/w/main/jobs/list", headers=headers)
        assert problem(response) == (401, "Authorization")


async def test_a_job_s_token_holds_while_it_runs(service: LocalService) -> None:
    job_id = await service.run({"sleep": 30})
    await service.started(job_id)
    key, minute = service.context.workspaces.get("main").key, now_us() + 60_000_000
    token = Token("", "ada", Right.RUN, ("main",), expires_at=minute, job_id=job_id)
    text = sign_for_job(key, token)
    whoami = "/api/w/main/users/whoami"
    assert (await service.http.get(whoami, headers=bearing(text))).json()["username"] == "ada"
    for wrong in (
        sign_for_job(b"another key", token),
        sign_for_job(key, Token("", "ada", Right.RUN, ("main",), expires_at=now_us() - 1, job_id=job_id)),
        sign_for_job(key, Token("", "ada", Right.RUN, ("main",), expires_at=minute, job_id="another")),
        sign_for_job(key, Token("", "ada", Right.RUN, ("other",), expires_at=minute, job_id=job_id)),
        text[:-1],
        text.replace("job-", "job-A", 1),
    ):
        assert await status(service, wrong, "GET", whoami) == 401
    assert await status(service, text, "POST", CREATE, json={}) == 403
    await service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json={})
    await service.ended(job_id)
    assert await status(service, text, "GET", whoami) == 401


def routes(found: list[BaseRoute]) -> Iterator[APIRoute]:
    for route in found:
        if isinstance(route, APIRoute):
            yield route
        yield from routes(getattr(getattr(route, "original_router", None), "routes", []))


def asks_who(dependant: Any) -> bool:
    return dependant.call is who or any(map(asks_who, dependant.dependencies))


async def test_every_route_that_asks_who_calls_says_what_it_needs(service: LocalService) -> None:
    rights = service.app.state.rights
    asking = [route for route in routes(service.app.routes) if asks_who(route.dependant)]
    assert len(asking) > 50
    assert [route.path for route in asking if route.endpoint not in rights] == []


def forged(fields: str) -> str:
    """A job's token that nobody signed, whose payload is this text."""
    return OF_JOB + urlsafe_b64encode(fields.encode()).decode().rstrip("=") + ".00"


@pytest.mark.parametrize(
    "fields",
    [
        "[" * 20_000,
        '[["main"],[1],"u","read",99999999999999999999]',
        '[["main"],{"a":1},"u","read",99999999999999999999]',
        '[[["main"]],"j","u","read",99999999999999999999]',
    ],
)
async def test_a_forged_job_s_token_is_a_wrong_one(service: LocalService, fields: str) -> None:
    response = await service.http.get(
        "/api/w/main/jobs/list", headers={"Authorization": f"Bearer {forged(fields)}"}
    )
    assert response.status_code == 401


async def test_a_token_ends_none_that_outlives_it(service: LocalService) -> None:
    """Such as a job's own, which would lock out who submitted it."""
    long = await service.http.post("/api/users/tokens/create", json={"workspace_id": "main", "right": "run"})
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    short = await service.http.post(
        "/api/users/tokens/create", json={"workspace_id": "main", "right": "run", "expiration": soon}
    )
    with_short = {"Authorization": f"Bearer {short.text}"}
    seen = (await service.http.get("/api/users/tokens/list", headers=with_short)).json()
    assert [token["token_prefix"] for token in seen] == [short.text[: len(seen[0]["token_prefix"])]]
    prefix = long.text[: len(seen[0]["token_prefix"])]
    response = await service.http.delete(f"/api/users/tokens/delete/{prefix}", headers=with_short)
    assert response.status_code == 404
    assert (await service.http.delete(f"/api/users/tokens/delete/{prefix}")).status_code == 200


async def test_who_may_only_read_leaves_room_for_others_tokens(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.api.tokens.TOKENS_OF_USER_MAX", 2)
    body = {"user": "ada", "workspace_id": "main", "right": "read"}
    first = await service.http.post("/api/users/tokens/create", json=body)
    as_ada = {"Authorization": f"Bearer {first.text}"}
    asked = [await service.http.post("/api/users/tokens/create", json={}, headers=as_ada) for _ in range(2)]
    assert [response.status_code for response in asked] == [201, 400]
    assert (await service.http.post("/api/users/tokens/create", json=body)).status_code == 201


@pytest.mark.parametrize("expiration", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_an_end_out_of_range_is_named(service: LocalService, expiration: str) -> None:
    response = await service.http.post("/api/users/tokens/create", json={"expiration": expiration})
    assert (response.status_code, response.json()["field"]) == (400, "expiration")
