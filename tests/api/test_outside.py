"""Nothing leads out of a workspace: every route, asked with another workspace's ids, paths and references.

The routes are those of the application itself, so that a new one is asked by itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select

from executor.storage.tables import metadata
from tests.api.test_tokens import routes
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
MARK = "belongs-to-blue"
HIDDEN = [
    *((method, "/api/w/{workspace}/job_helpers/{rest}") for method in ("GET", "POST", "DELETE")),
    *((method, "/api/w/{workspace}/oidc/token/{rest}") for method in ("GET", "POST")),
    *((method, "/approve/{workspace}/{job}/{resume_id}/{signature}") for method in ("GET", "POST")),
]
"""Routes that are not in the OpenAPI document."""
QUIET = {"audit"}
"""Refused attempts on a workspace are noted there."""


@dataclass
class Theirs:
    """What the workspace `blue` has, by what a route may call it."""

    values: dict[str, str] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)


@dataclass
class Neighbours:
    """A service with the workspaces `red` and `blue`; `http` has red's administrator's token."""

    service: LocalService
    http: httpx.AsyncClient
    theirs: Theirs
    mine: Theirs

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Nobody has to wait for a job that does not end."""
        return await self.http.request(method, path, timeout=10, **more)

    async def rows(self, workspace: str) -> dict[str, list[str]]:
        """Every row of a workspace's, by table."""
        return await self.service.context.desk.database.read(_rows_of, workspace)


def _rows_of(connection: Connection, workspace: str) -> dict[str, list[str]]:
    jobs = select(metadata.tables["jobs"].c.id).where(metadata.tables["jobs"].c.workspace_id == workspace)
    found: dict[str, list[str]] = {}
    for table in metadata.sorted_tables:
        for column, values in (
            ("workspace_id", [workspace]),
            ("job_id", jobs),
            ("run_id", jobs),
            ("flow_id", jobs),
        ):
            if column in table.c and table.name not in QUIET:
                rows = connection.execute(select(table).where(table.c[column].in_(values)))
                found[table.name] = sorted(str(tuple(row)) for row in rows)
                break
    return found


async def fill(service: LocalService, workspace: str) -> Theirs:
    """One of everything, each with the workspace's mark in it."""
    mark, theirs = f"belongs-to-{workspace}", Theirs()
    base, path = f"/api/w/{workspace}", f"f/{workspace}/thing"

    async def post(route: str, body: Any) -> str:
        response = await service.http.post(base + route, json=body)
        assert response.status_code == 201, response.text
        return response.text

    code = json.dumps([{"log": mark}, {"result": mark}])
    script = await post("/scripts/create", {"path": path, "language": "bash", "content": code})
    await post("/flows/create", {"path": path, "summary": mark, "value": {"modules": []}})
    await post("/variables/create", {"path": path, "value": mark, "is_secret": False, "description": mark})
    await post("/resources/create", {"path": path, "value": {"x": mark}, "resource_type": "any"})
    args = {"language": "bash", "content": code, "args": {"x": mark}}
    ended = await post("/jobs/run/preview", args)
    later = await post("/jobs/run/preview?scheduled_in_secs=99999", args)
    module = {
        "id": "a",
        "summary": mark,
        "value": {"type": "identity"},
        "suspend": {"required_events": 1, "timeout": 9999},
    }
    flow = await post("/jobs/run/preview_flow", {"value": {"modules": [module]}, "args": {"x": mark}})
    while True:
        shown = (await service.http.get(f"{base}/jobs_u/get/{flow}")).json()
        waiting = [one["job"] for one in (shown["flow_status"] or {}).get("modules", []) if one.get("job")]
        if waiting and shown["suspend"]:
            break
    await service.http.post(f"{base}/jobs/flow/user_states/{flow}/key", json=mark)
    signature = (await service.http.get(f"{base}/jobs/job_signature/{waiting[0]}/7")).text
    token = (
        await service.http.post(
            "/api/users/tokens/create", json={"workspace_id": workspace, "user": "ada", "right": "admin"}
        )
    ).text
    while (await service.http.get(f"{base}/jobs_u/completed/get/{ended}")).status_code != 200:
        pass
    theirs.jobs = [ended, later, flow, waiting[0]]
    theirs.values = {
        "workspace": workspace,
        "path": path,
        "rest": path,
        "hash": script,
        "flow": flow,
        "node": "a",
        "step": "a",
        "n": "0",
        "key": "key",
        "job": waiting[0],
        "resume_id": "7",
        "signature": signature,
        "token_prefix": token[:10],
        "token": token,
    }
    return theirs


@asynccontextmanager
async def neighbours(folder: Path) -> AsyncIterator[Neighbours]:
    async with local_service(folder, wait_s=0.2) as service:
        for name in ("red", "blue"):
            await service.http.post("/api/workspaces/create", json={"id": name})
        mine, theirs = await fill(service, "red"), await fill(service, "blue")
        transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {mine.values['token']}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
            yield Neighbours(service, http, theirs, mine)


def asked(at: Neighbours, **fixed: str) -> Iterator[tuple[str, str, str]]:
    """Method, template and path of every route, once for each of their jobs where it takes one by `id`."""
    described = at.service.app.openapi()["paths"]
    known = [(method.upper(), path) for path, methods in described.items() for method in methods]
    last = [one for one in known if one[1].endswith("/create")]  # one's own thing may have the same name
    for method, template in [*(one for one in known if one not in last), *HIDDEN, *last]:
        if "getupdate_sse" not in template:  # asked below: it may take its time
            for job in at.theirs.jobs if "{id}" in template else [""]:
                values = {**at.theirs.values, "id": job, **fixed}
                yield method, template, template.format_map(values)


def bodies(at: Neighbours, schema: dict[str, Any], method: str, template: str) -> list[Any]:
    """Bodies that name what is theirs wherever the route takes a name; none for a route without a body."""
    operation = schema["paths"].get(template, {}).get(method.lower(), {})
    if method in ("GET", "DELETE") and "requestBody" not in operation:
        return [None]
    content = operation.get("requestBody", {}).get("content", {})
    known = content.get("application/json", {}).get("schema", {}).get("properties", {})
    theirs, path = at.theirs, at.theirs.values["path"]
    reach: dict[str, Any] = {
        "path": path,
        "workspace_id": "blue",
        "id": "blue",
        "language": "bash",
        "content": json.dumps([{"result": 1}]),
        "args": {"v": f"$var:{path}", "r": f"$res:{path}"},
        "parent_hash": theirs.values["hash"],
        "value": {
            "modules": [{"id": "a", "value": {"type": "script", "path": path, "input_transforms": {}}}]
        },
        "restarted_from": {"flow_job_id": theirs.jobs[2], "step_id": "a"},
        "policy": {},
    }
    one = {name: value for name, value in reach.items() if name in known} if known else dict(reach["args"])
    nested = {**one, "value": f"$var:{path}"} if "value" in known else one
    return [one, nested, theirs.jobs, {}, {**one, "workspace_id": "blue", "workspace": "blue"}]


def strange_query(at: Neighbours, template: str) -> dict[str, str]:
    """Parameters that name what is theirs."""
    job = at.theirs.jobs[2]
    found = {"parent_job": job, "root_job": job, "workspace": "blue", "workspace_id": "blue"}
    return found if "/jobs/run" in template else {"workspace": "blue", "workspace_id": "blue"}


def ids(theirs: Theirs) -> list[str]:
    """What may not be learnt; their flow's id is known, as what I submit names it as a parent."""
    return [
        *(job for job in theirs.jobs if job != theirs.values["flow"]),
        theirs.values["signature"],
        theirs.values["token"],
    ]


def betrays(at: Neighbours, response: httpx.Response) -> bool:
    """Whether an answer holds what is theirs, but for what the question had in it."""
    said = response.request.url.path + str(response.request.url.query)
    sent = said + response.request.content.decode()
    if response.request.url.path.endswith("/audit/list"):
        return MARK in response.text  # it lists the paths that I have just asked for
    return any(secret in response.text for secret in [MARK, *ids(at.theirs)] if secret not in sent)


async def test_every_route_of_another_workspace_is_forbidden(tmp_path: Path) -> None:
    """With a token that may do anything in its own; whether there is such a workspace is not told either."""
    async with neighbours(tmp_path) as at:
        before, schema, count = await at.rows("blue"), at.service.app.openapi(), 0
        for method, template, path in asked(at):
            if "{workspace}" not in template or "{signature}" in template:
                continue
            for body in bodies(at, schema, method, template):
                response = await at.ask(method, path, json=body, params=strange_query(at, template))
                assert response.status_code == 403, (method, path, body, response.text)
                elsewhere = path.replace("/w/blue/", "/w/nowhere/")
                other = await at.ask(method, elsewhere, json=body)
                assert other.text.replace("nowhere", "blue") == response.text
                count += 1
        assert count > 200
        assert await at.rows("blue") == before


async def test_no_route_of_one_s_own_workspace_leads_into_another(tmp_path: Path) -> None:
    """Ids, paths, hashes, signatures and references of theirs are nothing here; what they have stays as it was."""
    async with neighbours(tmp_path) as at:
        before, schema = await at.rows("blue"), at.service.app.openapi()
        assert sum(map(len, before.values())) > 15
        wrong = []
        for method, template, path in asked(at, workspace="red"):
            for body in bodies(at, schema, method, template):
                response = await at.ask(method, path, json=body, params=strange_query(at, template))
                assert response.status_code < 500 or "run_wait_result" in path, (method, path, response.text)
                assert not betrays(at, response), (method, path, body, response.text)
                if named_by_url(template) and response.is_success and response.text != "false":
                    wrong.append((method, path, body, response.text))
        assert wrong == []
        for job in at.theirs.jobs:
            followed = await at.ask("GET", f"/api/w/red/jobs_u/getupdate_sse/{job}")
            assert followed.text == 'data: {"type":"notfound"}\n\n'
            assert MARK not in followed.text
        own = await settled(at)
        assert await at.rows("blue") == before
        assert MARK not in str(own)


def named_by_url(template: str) -> bool:
    """Whether what the route is about is named in its path, so that theirs must not be found here."""
    names = ("{id}", "{job}", "{hash}", "{flow}", "{token_prefix}")
    by_path = "{path}" in template and "cancel_persistent" not in template
    return by_path or any(name in template for name in names)


async def settled(at: Neighbours) -> dict[str, list[str]]:
    """My rows, once what I submitted has ended."""
    for _ in range(500):
        listed = await at.ask("GET", "/api/w/red/jobs/queue/list", params={"per_page": 1000})
        if all(job["id"] in at.mine.jobs for job in listed.json()):
            break
    return await at.rows("red")


async def test_an_instance_s_routes_show_only_one_s_own(tmp_path: Path) -> None:
    """Lists of workspaces, tokens and acts."""
    async with neighbours(tmp_path) as at:
        for path in ("/api/workspaces/list", "/api/users/tokens/list", "/api/w/red/audit/list"):
            response = await at.ask("GET", path)
            assert response.status_code == 200
            assert "blue" not in response.text
        for method, path, expected in (
            ("GET", "/api/audit/list", 403),
            ("GET", "/api/workspaces/get/blue", 403),
            ("POST", "/api/workspaces/set_policy/blue", 403),
            ("POST", "/api/workspaces/create", 403),
            ("DELETE", f"/api/users/tokens/delete/{at.theirs.values['token_prefix']}", 404),
        ):
            body: dict[str, Any] | None = {"policy": {}} if method == "POST" else None
            assert (await at.ask(method, path, json=body)).status_code == expected


async def test_a_signature_opens_its_own_gate_alone(tmp_path: Path) -> None:
    """Another workspace's key, another id, another approver, another job: each is another signature."""
    async with neighbours(tmp_path) as at:
        mine, theirs = at.mine.values, at.theirs.values
        for workspace, job, resume_id, signature, query in (
            ("blue", theirs["job"], "7", mine["signature"], ""),
            ("red", theirs["job"], "7", theirs["signature"], ""),
            ("blue", theirs["job"], "8", theirs["signature"], ""),
            ("blue", theirs["job"], "7", theirs["signature"], "?approver=eve"),
            ("blue", mine["job"], "7", theirs["signature"], ""),
            ("blue", theirs["job"], "7", theirs["signature"][:-1], ""),
            ("nowhere", theirs["job"], "7", theirs["signature"], ""),
        ):
            tail = f"{job}/{resume_id}/{signature}{query}"
            for path in ("jobs_u/resume", "jobs_u/cancel", "jobs_u/get_flow"):
                assert (await at.ask("GET", f"/api/w/{workspace}/{path}/{tail}")).status_code == 401
            page = await at.ask("GET", f"/approve/{workspace}/{tail}")
            assert (page.status_code, MARK in page.text) == (403, False)
        tail = f"{theirs['job']}/7/{theirs['signature']}"
        assert (await at.ask("GET", f"/api/w/blue/jobs_u/resume/{tail}")).status_code == 201


UPWARD = (
    "../blue/{}",
    "..%2f..%2f..%2f..%2fblue%2f{}",
    "%2e%2e/%2e%2e/%2e%2e/w/blue/{}",
    "..%5c..%5cblue%5c{}",
    "%252e%252e%252fblue%252f{}",
    "..;/..;/blue/{}",
    "{}%00",
    "{}%00.txt",
    "%00{}",
    "/{}",
    "//blue/{}",
    "./{}",
    "{}/.",
    "{}/../../blue/thing",
    "{}%0d%0aX-Evil:%201",
    "%ff%fe",
    "x" * 5000,
    "a/" * 2000,
)


async def test_no_path_leads_up_and_over(tmp_path: Path) -> None:
    """Dots, escapes, NUL, backslashes, slashes, lengths: in what is stored, a path is a name and no way."""
    async with neighbours(tmp_path) as at:
        before, path = await at.rows("blue"), at.theirs.values["path"]
        for method, template, _ in asked(at):
            if "{path}" not in template:
                continue
            for tried in UPWARD:
                place = template.replace("{workspace}", "red").replace("{path}", tried.format(path))
                response = await at.ask(method, place, json={} if method == "POST" else None)
                assert 400 <= response.status_code < 500 or response.text in ("", "false"), (
                    place,
                    response,
                )
                assert not betrays(at, response), place
                assert "x-evil" not in response.headers
        for workspace in (
            "red/../blue",
            "red%2f..%2fblue",
            "BLUE",
            "blue%00",
            "blue%20",
            "%62lue%2f",
            "*",
            "%25",
        ):
            response = await at.ask("GET", f"/api/w/{workspace}/jobs/list")
            assert response.status_code in (403, 404), workspace
        assert await at.rows("blue") == before


TRICKS: tuple[dict[str, str], ...] = (
    {"Host": "blue"},
    {"X-Forwarded-Host": "blue", "X-Forwarded-Prefix": "/api/w/blue", "X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1;host=blue"},
    {"X-Original-URL": "/api/w/blue/jobs/list", "X-Rewrite-URL": "/api/w/blue/jobs/list"},
    {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE", "X-HTTP-Method": "DELETE"},
    {"X-Workspace": "blue", "X-Windmill-Workspace": "blue", "Windmill-Workspace": "blue"},
    {"X-User": "admin", "X-Remote-User": "admin", "X-Forwarded-User": "admin", "Remote-User": "admin"},
)


@pytest.mark.parametrize("headers", TRICKS)
async def test_no_header_leads_elsewhere(tmp_path: Path, headers: dict[str, str]) -> None:
    """Neither to another workspace, nor to another method, nor to another user."""
    async with neighbours(tmp_path) as at:
        before, mine = await at.rows("blue"), await at.rows("red")
        for path, expected in (
            ("/api/w/red/users/whoami", 200),
            ("/api/w/red/jobs/list", 200),
            (f"/api/w/red/variables/get/{at.mine.values['path']}", 200),
            ("/api/w/blue/jobs/list", 403),
            (f"/api/w/blue/variables/get/{at.theirs.values['path']}", 403),
        ):
            plain, tricky = await at.ask("GET", path), await at.ask("GET", path, headers=headers)
            assert (tricky.status_code, tricky.text) == (expected, plain.text)
        urls = f"/api/w/red/jobs/resume_urls/{at.mine.jobs[0]}/1"
        assert (await at.ask("GET", urls, headers=headers)).text == (await at.ask("GET", urls)).text
        assert (await at.rows("blue"), await at.rows("red")) == (before, mine)


async def test_references_end_at_the_workspace(tmp_path: Path) -> None:
    """`$var:` and `$res:` in a job's arguments, in a resource, in a flow; a script by path, by hash."""
    async with neighbours(tmp_path) as at:
        path, results = at.theirs.values["path"], []
        echo = json.dumps([{"result": "args"}])
        reference = {"language": "bash", "content": echo, "args": {"x": f"$var:{path}", "y": f"$res:{path}"}}
        inner = {"type": "script", "path": path, "input_transforms": {}}
        by_hash = {**inner, "hash": at.theirs.values["hash"]}
        flow = {"type": "flow", "path": path, "input_transforms": {}}
        code = {
            "type": "rawscript",
            "language": "bash",
            "content": echo,
            "input_transforms": {"x": {"type": "static", "value": f"$res:{path}"}},
        }
        expression = {
            **code,
            "input_transforms": {
                "x": {"type": "javascript", "expr": f"resource('{path}') + variable('{path}')"}
            },
        }
        asked = [("preview", reference)]
        asked += [
            ("preview_flow", {"value": {"modules": [{"id": "a", "value": value}]}})
            for value in (inner, by_hash, flow, code, expression)
        ]
        for kind, body in asked:
            response = await at.ask("POST", f"/api/w/red/jobs/run_wait_result/{kind}", json=body)
            results.append(response.text)
            assert response.status_code in (400, 404, 500), (kind, body, response.text)
        assert MARK not in str(results)
        assert MARK not in str(await settled(at))


async def test_one_s_id_is_nobody_else_s(tmp_path: Path) -> None:
    """A job id of theirs, sent with the same or another request, is refused and betrays no result."""
    async with neighbours(tmp_path) as at:
        code = json.dumps([{"log": MARK}, {"result": MARK}])
        same = {"language": "bash", "content": code, "args": {"x": MARK}}
        before = await at.rows("blue")
        for body in (same, {**same, "content": "[]"}):
            for kind in ("run", "run_wait_result"):
                path = f"/api/w/red/jobs/{kind}/preview?job_id={at.theirs.jobs[0]}"
                assert (await at.ask("POST", path, json=body)).status_code == 409
        assert await at.rows("blue") == before


async def test_every_route_with_a_workspace_is_in_the_walk(tmp_path: Path) -> None:
    """What the walk does not know by name would be asked about nothing."""
    async with neighbours(tmp_path) as at:
        walked = {template for _, template, _ in asked(at)}
        assert len([template for template in walked if "{workspace}" in template]) > 50
        assert set(at.service.app.openapi()["paths"]) - walked == {
            "/api/w/{workspace}/jobs_u/getupdate_sse/{id}"
        }
        hidden = [route for route in routes(at.service.app.routes) if not route.include_in_schema]
        pages = {"/docs", "/docs/oauth2-redirect", "/redoc"}
        assert sum(len(route.methods or ()) for route in hidden if route.path not in pages) == len(HIDDEN)
