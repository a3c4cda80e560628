"""Running what is stored: which version, which arguments, and what the job says of it."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.runtimes import bundled
from tests.service import TOKEN, LocalService, local_service

pytestmark = pytest.mark.anyio
BASE = "/api/w/main"
ECHO = '[{"echo": true}]'
SECRET = "Zx81-correct-horse"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def post(service: LocalService, route: str, body: Any = None, **query: Any) -> httpx.Response:
    return await service.http.post(f"{BASE}/{route}", json={} if body is None else body, params=query)


async def stored(service: LocalService, path: str = "f/x/echo", content: str = ECHO, **more: Any) -> str:
    """Store a script of fake steps; its hash."""
    body = {"path": path, "language": "python3", "content": content, **more}
    response = await post(service, "scripts/create", body)
    assert response.status_code == 201, response.text
    return response.text


async def stored_flow(service: LocalService, path: str, value: dict[str, Any], **more: Any) -> None:
    response = await post(service, "flows/create", {"path": path, "value": value, **more})
    assert response.status_code == 201, response.text


def step(content: str = ECHO, **transforms: Any) -> dict[str, Any]:
    """A module that runs a script of fake steps; its args are expressions."""
    given = {name: {"type": "javascript", "expr": expr} for name, expr in transforms.items()}
    value = {"type": "rawscript", "language": "python3", "content": content, "input_transforms": given}
    return {"id": "a", "value": value}


# ------------------------------------------------------------ scripts


async def test_a_script_runs_by_path(service: LocalService) -> None:
    """Its job says which version; the answer is the bare id."""
    hash = await stored(service, tag="heavy", priority=5, timeout=7, lock="x")
    response = await post(service, "jobs/run/p/f/x/echo", {"a": 1})
    assert response.status_code == 201
    assert str(uuid.UUID(response.text)) == response.text
    job = await service.ended(response.text)
    assert job["result"] == {"a": 1}
    expected = {
        "job_kind": "script",
        "script_path": "f/x/echo",
        "script_hash": hash,
        "tag": "heavy",
        "priority": 5,
        "raw_lock": "x",
    }
    assert {key: job[key] for key in expected} == expected
    assert job["limits"]["timeout_s"] == 7


async def test_the_latest_version_runs_by_path_and_each_by_hash(service: LocalService) -> None:
    first = await stored(service, content='[{"result": 1}]')
    second = await stored(service, content='[{"result": 2}]', parent_hash=first)
    assert (await post(service, "jobs/run_wait_result/p/f/x/echo")).json() == 2
    for hash, result in ((first, 1), (second, 2)):
        assert (await post(service, f"jobs/run_wait_result/h/{hash}")).json() == result
    job = await service.ended((await post(service, f"jobs/run/h/{first}")).text)
    assert (job["script_hash"], job["result"]) == (first, 1)


@pytest.mark.parametrize("route", ["p/f/x/nothing", "h/00112233", "f/f/x/nothing", "p/hub/1/a/b"])
@pytest.mark.parametrize("run", ["run", "run_wait_result"])
async def test_what_is_not_stored_is_404(service: LocalService, run: str, route: str) -> None:
    response = await post(service, f"jobs/{run}/{route}")
    assert response.status_code == 404, response.text
    assert (await service.get("jobs/list")).json() == []


async def test_the_query_s_tag_and_timeout_win(service: LocalService) -> None:
    await stored(service, tag="heavy", timeout=7)
    response = await post(service, "jobs/run/p/f/x/echo", tag="light", timeout=9)
    job = await service.job(response.text)
    assert (job["tag"], job["limits"]["timeout_s"]) == ("light", 9)
    refused = await post(service, "jobs/run/p/f/x/echo", timeout=10**6)
    assert (refused.status_code, refused.json()["field"]) == (400, "query.timeout")


async def test_a_script_s_own_timeout_above_the_maximum_does_not_count(service: LocalService) -> None:
    """As a module's does not: the script was stored when more was allowed."""
    await stored(service, timeout=10**6)
    response = await post(service, "jobs/run/p/f/x/echo")
    assert (await service.job(response.text))["limits"]["timeout_s"] == 300


async def test_the_same_request_again_runs_nothing_new(service: LocalService) -> None:
    """The idempotency key counts with path and args."""
    await stored(service)
    await stored(service, "f/x/other")
    job_id = str(uuid.uuid4())
    first = await post(service, "jobs/run/p/f/x/echo", {"a": 1}, job_id=job_id)
    again = await post(service, "jobs/run/p/f/x/echo", {"a": 1}, job_id=job_id)
    assert (first.text, again.status_code, again.text) == (job_id, 201, job_id)
    for route, args in (("f/x/echo", {"a": 2}), ("f/x/other", {"a": 1})):
        other = await post(service, f"jobs/run/p/{route}", args, job_id=job_id)
        assert (other.status_code, other.json()["field"]) == (409, "job_id")


async def test_a_request_is_recalled_whatever_was_stored_or_archived_since(service: LocalService) -> None:
    """The script's path is free by now, the flow has another input spec: the same request has the same answer."""
    script = {"path": "f/x/old", "language": "python3", "content": '[{"echo": true}]'}
    first = (await post(service, "scripts/create", script)).text
    spec = {"type": "object", "properties": {"b": {"default": 1}}}
    identity = {"modules": [{"id": "a", "value": {"type": "identity"}}]}
    flow = {"path": "f/x/flow", "value": identity, "schema": spec}
    await post(service, "flows/create", flow)
    routes = {"p/f/x/old": {"a": 1}, "f/f/x/flow": {"a": 1, "b": 1}}
    jobs = {}
    for route, result in routes.items():
        jobs[route] = str(uuid.uuid4())
        await post(service, f"jobs/run/{route}", {"a": 1}, job_id=jobs[route])
        assert (await service.ended(jobs[route]))["result"] == result
    moved = {**script, "path": "f/x/new", "parent_hash": first}
    assert (await post(service, "scripts/create", moved)).status_code == 201
    await post(service, "flows/update/f/x/flow", {**flow, "schema": {**spec, "required": ["c"]}})
    for route, result in routes.items():
        again = await post(service, f"jobs/run/{route}", {"a": 1}, job_id=jobs[route])
        assert (again.status_code, again.text) == (201, jobs[route])
        answer = await post(service, f"jobs/run_wait_result/{route}", {"a": 1}, job_id=jobs[route])
        assert (answer.status_code, answer.json()) == (200, result)
        other = await post(service, f"jobs/run/{route}", {"a": 2}, job_id=jobs[route])
        assert (other.status_code, other.json()["field"]) == (409, "job_id")
    assert (await post(service, "jobs/run/p/f/x/old", {"a": 1}, job_id=str(uuid.uuid4()))).status_code == 404


async def test_a_failed_script_answers_500_with_its_error(service: LocalService) -> None:
    await stored(service, content='[{"error": {"name": "E", "message": "boom"}}]')
    response = await post(service, "jobs/run_wait_result/p/f/x/echo")
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "boom"


async def test_the_input_spec_completes_and_checks_the_arguments(service: LocalService) -> None:
    schema = {
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"type": "number"}, "word": {"type": "string", "default": "hi"}},
    }
    await stored(service, schema=schema)
    await stored_flow(service, "f/x/flow", {"modules": []}, schema=schema)
    for route in ("p/f/x/echo", "f/f/x/flow"):
        run = f"jobs/run_wait_result/{route}"
        assert (await post(service, run, {"n": 1})).json() == {"n": 1, "word": "hi"}
        for args in ({}, {"n": "1"}):
            refused = await post(service, run, args)
            assert (refused.status_code, refused.json()["field"]) == (400, "args.n")
        unchecked = await post(service, run, {"n": "1"}, validate_args=False)
        assert unchecked.json() == {"n": "1", "word": "hi"}


async def test_a_workspace_can_switch_the_check_of_arguments_off(service: LocalService) -> None:
    """The query has the last word."""
    await service.http.post("/api/workspaces/create", json={"id": "lax", "policy": {"validate_args": False}})
    schema = {"properties": {"n": {"type": "number"}}}
    flow = {"path": "f/x/flow", "value": {"modules": []}, "schema": schema}
    await service.http.post("/api/w/lax/flows/create", json=flow)
    run = "/api/w/lax/jobs/run_wait_result/f/f/x/flow"
    assert (await service.http.post(run, json={"n": "1"})).json() == {"n": "1"}
    checked = await service.http.post(run, json={"n": "1"}, params={"validate_args": True})
    assert checked.status_code == 400


# ------------------------------------------------------------ flows


async def test_a_flow_runs_by_path(service: LocalService) -> None:
    await stored_flow(service, "f/x/flow", {"modules": [step(b="flow_input.a")], "priority": 3}, tag="t")
    job = await service.ended((await post(service, "jobs/run/f/f/x/flow", {"a": 1})).text)
    assert job["result"] == {"b": 1}
    assert (job["job_kind"], job["script_path"], job["tag"], job["priority"]) == ("flow", "f/x/flow", "t", 3)
    assert (await post(service, "jobs/run_wait_result/f/f/x/flow", {"a": 2})).json() == {"b": 2}


async def test_a_run_keeps_the_flow_it_began_with(service: LocalService) -> None:
    await stored_flow(service, "f/x/flow", {"modules": [step('[{"result": "old"}]')]})
    response = await post(service, "jobs/run/f/f/x/flow", scheduled_in_secs=1)
    body = {"path": "f/x/flow", "value": {"modules": [step('[{"result": "new"}]')]}}
    assert (await post(service, "flows/update/f/x/flow", body)).status_code == 200
    assert (await post(service, "jobs/run_wait_result/f/f/x/flow")).json() == "new"
    assert (await service.ended(response.text))["result"] == "old"


async def test_a_flow_s_steps_run_stored_scripts_and_flows(service: LocalService) -> None:
    """The latest version, or the one whose hash is named; what is missing fails the step alone."""
    first = await stored(service, content='[{"result": 1}]')
    await stored(service, content='[{"result": 2}]', parent_hash=first)
    await stored_flow(service, "f/x/inner", {"modules": [step(n="flow_input.n")]})
    modules = [
        {"id": "latest", "value": {"type": "script", "path": "f/x/echo"}},
        {"id": "first", "value": {"type": "script", "path": "f/x/echo", "hash": first}},
        {
            "id": "inner",
            "value": {
                "type": "flow",
                "path": "f/x/inner",
                "input_transforms": {"n": {"type": "javascript", "expr": "[results.latest, results.first]"}},
            },
        },
    ]
    await stored_flow(service, "f/x/outer", {"modules": modules})
    assert (await post(service, "jobs/run_wait_result/f/f/x/outer")).json() == {"n": [2, 1]}


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("script", "f/x/nothing", "there is no script 'f/x/nothing' in this workspace"),
        ("script", "hub/1/slack/post", "this version does not reach the hub"),
        ("flow", "f/x/nothing", "f/x/nothing"),
    ],
)
async def test_a_step_whose_script_is_not_stored_fails_alone(
    service: LocalService, kind: str, path: str, message: str
) -> None:
    """The flow can be stored; what is missing may come later."""
    module = {"id": "a", "value": {"type": kind, "path": path}, "continue_on_error": True}
    await stored_flow(service, "f/x/flow", {"modules": [module, {**step(e="results.a.error"), "id": "b"}]})
    error = (await post(service, "jobs/run_wait_result/f/f/x/flow")).json()["e"]
    assert error["reason"] == "bad_input"
    assert message in error["message"]


def preprocessed() -> dict[str, Any]:
    """A flow whose preprocessor gives back its raw arguments."""
    value = {"type": "rawscript", "language": "python3", "content": ECHO, "input_transforms": {}}
    return {"modules": [], "preprocessor_module": {"id": "preprocessor", "value": value}}


async def test_a_preprocessor_gets_the_request(service: LocalService) -> None:
    """As one arg, `event`, without credentials; what it returns is the flow's input."""
    await stored_flow(service, "f/x/flow", preprocessed(), schema={"required": ["n"]})
    response = await service.http.post(
        f"{BASE}/jobs/run/f/f/x/flow",
        params={"q": "1", "token": TOKEN},
        headers={"X-Event": "e", "Cookie": f"token={TOKEN}"},
        content='{"n": 1}',
    )
    job = await service.ended(response.text)
    assert job["preprocessed"] is True
    event = job["result"]["event"]
    assert (event["kind"], event["body"], event["raw_string"]) == ("webhook", {"n": 1}, '{"n": 1}')
    assert event["query"] == {"q": "1"}
    assert event["headers"]["x-event"] == "e"
    assert TOKEN not in json.dumps(job)


async def test_skip_preprocessor_gives_the_flow_the_arguments(service: LocalService) -> None:
    await stored_flow(service, "f/x/flow", preprocessed())
    run = "jobs/run_wait_result/f/f/x/flow"
    assert (await post(service, run, {"n": 1}, skip_preprocessor=True)).json() == {"n": 1}


# ------------------------------------------------------------ references in arguments


async def test_references_in_arguments_are_resolved_for_the_script_alone(service: LocalService) -> None:
    """What is stored and shown keeps the names; arrays and parts of texts are not looked at."""
    await post(service, "variables/create", {"path": "f/x/v", "value": SECRET, "is_secret": True})
    resource = {
        "path": "f/x/pg",
        "resource_type": "postgresql",
        "value": {"host": "db", "password": "$var:f/x/v"},
    }
    await post(service, "resources/create", resource)
    sealed = (await post(service, "variables/encrypt", SECRET)).text
    args = {
        "v": "$var:f/x/v",
        "database": "$res:f/x/pg",
        "sealed": f"$encrypted:{sealed}",
        "inner": {"deep": {"v": "$var:f/x/v", "who": "$WM_USERNAME", "unknown": "$WM_NOTHING"}},
        "list": ["$var:f/x/v"],
        "text": "a $var:f/x/v",
        "plain": "$WM_USERNAME",
    }
    expected = {
        **args,
        "v": SECRET,
        "database": {"host": "db", "password": SECRET},
        "sealed": SECRET,
        "inner": {"deep": {"v": SECRET, "who": "admin", "unknown": "$WM_NOTHING"}},
    }
    await stored(service)
    for route, body in (
        ("jobs/run/p/f/x/echo", args),
        ("jobs/run/preview", {"language": "python3", "content": ECHO, "args": args}),
    ):
        job = await service.ended((await post(service, route, body)).text)
        assert job["result"] == expected
        assert job["args"] == args
        assert (await service.get(f"jobs_u/get_args/{job['id']}")).json() == args


async def test_a_flow_s_steps_see_references_resolved_and_its_expressions_do_not(
    service: LocalService,
) -> None:
    await post(service, "variables/create", {"path": "f/x/v", "value": SECRET})
    transforms = {"v": "flow_input.v", "length": "flow_input.v.length", "called": "variable('f/x/v')"}
    await stored_flow(service, "f/x/flow", {"modules": [step(**transforms)]})
    job = await service.ended((await post(service, "jobs/run/f/f/x/flow", {"v": "$var:f/x/v"})).text)
    assert job["result"] == {"v": SECRET, "length": len("$var:f/x/v"), "called": SECRET}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$var:f/x/nothing", "Variable f/x/nothing not found for `a`: "),
        ("$res:f/x/nothing", "Resource f/x/nothing not found for `a`: "),
        ("$res:nothing", "Argument `a` is an invalid resource path: nothing"),
        ({"b": {"c": "$var:f/x/nothing"}}, "Variable f/x/nothing not found for `a`: "),
        ("$res:f/x/loop", "Resource f/x/loop not usable for `a`: it refers to itself: f/x/loop → f/x/pool"),
        ("$encrypted:nonsense", "Encrypted value not usable for `a`: "),
    ],
)
async def test_a_reference_to_nothing_fails_the_job_before_it_has_a_container(
    service: LocalService, value: Any, message: str
) -> None:
    for path, other in (("f/x/loop", "f/x/pool"), ("f/x/pool", "f/x/loop")):
        body = {"path": path, "resource_type": "any", "value": {"other": f"$res:{other}"}}
        await post(service, "resources/create", body)
    job = await service.ended(await service.run({"echo": True}, args={"a": value, "b": 1}))
    assert (job["success"], job["reason"]) == (False, "bad_input")
    error = job["result"]["error"]
    assert (error["name"], error["reason"]) == ("ExecutionErr", "bad_input")
    assert error["message"].startswith(message)
    assert service.engine.started == []


async def test_what_another_workspace_encrypted_stays_closed(service: LocalService) -> None:
    """And so do its variables."""
    await service.http.post("/api/workspaces/create", json={"id": "other"})
    sealed = (await service.http.post("/api/w/other/variables/encrypt", json=SECRET)).text
    await service.http.post("/api/w/other/variables/create", json={"path": "f/x/v", "value": SECRET})
    for value in (f"$encrypted:{sealed}", "$var:f/x/v"):
        job = await service.ended(await service.run({"echo": True}, args={"a": value}))
        assert job["reason"] == "bad_input"
        assert SECRET not in json.dumps(job)


async def test_resources_that_a_script_s_text_names_come_with_its_arguments(tmp_path: Path) -> None:
    """As the language's manifest says they are named; those that there are, and no forged ones."""
    folder = tmp_path / "runtimes" / "sql"
    shutil.copytree(bundled("runtimes") / "bash", folder)
    manifest = (folder / "runtime.toml").read_text()
    pattern = r"""resources = ['"log": "use ([\w/]+)"']"""
    (folder / "runtime.toml").write_text(f"{pattern}\n{manifest}")
    (tmp_path / "data").mkdir()
    async with local_service(tmp_path / "data", runtimes=str(tmp_path / "runtimes")) as service:
        await post(service, "variables/create", {"path": "f/x/v", "value": SECRET})
        body = {"path": "f/x/pg", "resource_type": "any", "value": {"password": "$var:f/x/v"}}
        await post(service, "resources/create", body)
        content = '[{"log": "use f/x/pg"}, {"log": "use f/x/nothing"}, {"echo": true}]'
        args = {"a": 1, "_RESOURCES": {"f/x/nothing": {}}}
        run = {"language": "sql", "content": content, "args": args}
        job = await service.ended((await post(service, "jobs/run/preview", run)).text)
        assert job["result"] == {"a": 1, "_RESOURCES": {"f/x/pg": {"password": SECRET}}}
        assert job["args"] == args
