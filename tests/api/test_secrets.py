"""Secrets that come into a job: its log and its error show masks in their place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.jobs.job import now_us
from executor.jobs.redaction import MASK
from executor.workspace.tokens import Right, Token, sign_for_job
from tests.approving import Approvals, gated
from tests.flows.running import Flows, forloop, script
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
SECRET = 's3cr3t-"V4lue"-é'


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as made:
        body = {"path": "u/admin/key", "value": SECRET, "is_secret": True, "description": ""}
        assert (await made.http.post("/api/w/main/variables/create", json=body)).status_code == 201
        yield made


async def log_of(service: LocalService, job_id: str) -> str:
    return (await service.get(f"jobs_u/get_logs/{job_id}")).text


@pytest.mark.parametrize("kind", ["variable", "resource", "encrypted"])
async def test_a_secret_that_comes_in_is_masked(service: LocalService, kind: str) -> None:
    await service.http.post(
        "/api/w/main/resources/create",
        json={
            "path": "u/admin/db",
            "resource_type": "db",
            "value": {"deep": {"password": "$var:u/admin/key"}},
        },
    )
    sealed = (await service.http.post("/api/w/main/variables/encrypt", json=SECRET)).text
    reference = {
        "variable": "$var:u/admin/key",
        "resource": "$res:u/admin/db",
        "encrypted": f"$encrypted:{sealed}",
    }
    error = {
        "name": "Error",
        "message": f"bad token {SECRET}",
        "stack": f"at {SECRET}",
        "reason": "script_error",
        "extra": {SECRET: [SECRET]},
    }
    job_id = await service.run(
        {"log": "before "},
        *({"log": piece} for piece in (SECRET[:4], SECRET[4:], " after\n", json.dumps({"t": SECRET}))),
        {"error": error},
        {"exit": 1},
        args={"token": reference[kind]},
    )
    job = await service.ended(job_id)
    log = await log_of(service, job_id)
    assert f"before {MASK} after\n" in log
    assert f'{{"t": "{MASK}"}}' in log
    shown = job["result"]["error"]
    assert shown["message"] == f"bad token {MASK}"
    assert shown["reason"] == "script_error"
    for text in (log, json.dumps(job, ensure_ascii=False)):
        assert SECRET not in text
        assert json.dumps(SECRET)[1:-1] not in text


async def test_what_a_script_returns_is_its_own_choice(service: LocalService) -> None:
    job_id = await service.run({"result": SECRET}, args={"token": "$var:u/admin/key"})
    assert (await service.ended(job_id))["result"] == SECRET


async def test_a_job_has_a_token_of_its_own_which_ends_with_it(service: LocalService) -> None:
    first, second = [
        await service.run({"echo": True}, args={"all": {"token": "$WM_TOKEN", "key": "$var:u/admin/key"}})
        for _ in range(2)
    ]
    tokens = [(await service.ended(job_id))["result"]["all"]["token"] for job_id in (first, second)]
    assert all(token.startswith("job-") for token in tokens)
    assert tokens[0] != tokens[1]
    for token in tokens:
        answer = await service.http.get("/api/version", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200  # whoever asks
        answer = await service.http.get("/api/w/main/jobs/list", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "route", ["variables/get_value", "variables/get", "resources/get_value_interpolated"]
)
async def test_a_secret_that_a_job_reads_while_it_runs_is_masked_in_its_log(
    service: LocalService, route: str
) -> None:
    body = {"path": "u/admin/key", "resource_type": "db", "value": {"password": "$var:u/admin/key"}}
    assert (await service.http.post("/api/w/main/resources/create", json=body)).status_code == 201
    steps = ({"sleep": 0.5}, {"log": SECRET})
    reader, other = [await service.run(*steps) for _ in range(2)]
    await service.started(reader)
    key = service.context.workspaces.get("main").key
    token = Token("", "ada", Right.RUN, ("main",), expires_at=now_us() + 60_000_000, job_id=reader)
    answer = await service.http.get(
        f"/api/w/main/{route}/u/admin/key", headers={"Authorization": f"Bearer {sign_for_job(key, token)}"}
    )
    assert json.dumps(SECRET, ensure_ascii=False) in answer.text
    await service.ended(reader)
    await service.ended(other)
    assert await log_of(service, reader) == MASK
    assert await log_of(service, other) == SECRET, "it was not told, and may have made it up"


async def test_a_secret_that_an_expression_reads_is_masked_in_the_logs_of_its_run(
    service: LocalService,
) -> None:
    """From there on: in the step that gets it, and in those that get it from an earlier one."""
    flows = Flows(service)
    body = {"path": "u/admin/db", "resource_type": "db", "value": {"deep": {"password": "$var:u/admin/key"}}}
    await service.http.post("/api/w/main/resources/create", json=body)
    for expr in ("variable('u/admin/key')", "`x ${resource('u/admin/db').deep.password}`.slice(2)"):
        error = {"name": "Error", "message": f"bad {SECRET}", "stack": "", "extra": {}}
        job = await flows.run(
            script("first", {"log": SECRET}, {"echo": True}, args={"key": expr}),
            forloop("loop", [1], script("inside", {"log": f"<{SECRET}>"}, {"error": error})),
        )
        first, loop = job["flow_status"]["modules"]
        assert (await service.job(first["job"]))["result"] == {"key": SECRET}
        assert await log_of(service, first["job"]) == MASK
        part = await service.job(loop["flow_jobs"][0])
        inside = part["flow_status"]["modules"][0]["job"]
        assert await log_of(service, inside) == f"<{MASK}>"
        assert f"bad {MASK}" in json.dumps(job["result"], ensure_ascii=False)
        assert SECRET not in json.dumps(job["result"], ensure_ascii=False)


async def test_what_an_expression_says_of_a_secret_is_masked(service: LocalService) -> None:
    """Its message is a result of its own making."""
    job = await Flows(service).run(
        script("first", args={"key": "(() => { throw new Error('not ' + variable('u/admin/key')) })()"})
    )
    assert f"not {MASK}" in job["result"]["error"]["message"]
    assert SECRET not in json.dumps(job, ensure_ascii=False)


async def test_secrets_that_a_run_has_read_are_masked_after_it_was_put_down(service: LocalService) -> None:
    """By a walk that did not read them itself, but has them from results."""
    approvals = Approvals(service)
    fails = {"key": "(() => { throw new Error('not ' + results.first.key) })()"}
    run = await approvals.start(
        script("first", {"echo": True}, args={"key": "variable('u/admin/key')"}),
        gated("gate"),
        script("after", {"log": SECRET}, {"result": 1}),
        script("last", args=fails),
    )
    await approvals.approve(await approvals.waits(run, parked=True))
    job = await service.ended(run)
    after = job["flow_status"]["modules"][2]["job"]
    assert await log_of(service, after) == MASK
    assert f"not {MASK}" in job["result"]["error"]["message"]


async def test_another_run_s_secret_is_an_ordinary_text(service: LocalService) -> None:
    """Who has not read it may have made it up."""
    job = await Flows(service).run(script("first", {"log": SECRET}))
    assert await log_of(service, job["flow_status"]["modules"][0]["job"]) == SECRET
