"""Approvals over HTTP: signed URLs, events, and what the flow makes of them (docs/openflow.md 1.10)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from tests.approving import Approvals, events, gated, identity, path_of, script, told
from tests.service import local_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def approvals(tmp_path: Path) -> AsyncIterator[Approvals]:
    async with local_service(tmp_path) as service:
        approving = Approvals(service)
        async with approving.stranger:
            yield approving


async def test_an_approval_resumes_the_flow_with_its_payload(approvals: Approvals) -> None:
    """The step right behind the gate sees it; the one after that sees nothing."""
    run = await approvals.start(gated(), told("b"), told("c"))
    job = await approvals.waits(run)
    await approvals.approve(job, {"go": "on"}, approver="ruben")
    ended = await approvals.service.ended(run)
    assert ended["success"], ended["result"]
    assert ended["result"] == events([], [])
    b = await approvals.service.job(await approvals.job_of(run, "b"))
    assert b["result"] == events([{"go": "on"}], ["ruben"])
    a = ended["flow_status"]["modules"][0]
    assert a["approvers"] == [{"resume_id": 0, "approver": "ruben"}]


async def test_the_signature_is_the_documented_one(approvals: Approvals) -> None:
    """HMAC-SHA256 of job, resume id and approver under the workspace's key; URLs have their documented form."""
    run = await approvals.start(gated(), told())
    job = await approvals.waits(run)
    key = approvals.service.context.workspaces.get("main").key
    for approver, resume_id in ((None, 0), ("Zoë & co", 4_294_967_295), ("", 7)):
        signed = uuid.UUID(job).bytes + resume_id.to_bytes(4, "big") + (approver or "").encode()
        sig = hmac.new(key, signed, hashlib.sha256).hexdigest()
        query = {} if approver is None else {"approver": approver}
        got = await approvals.service.get(f"jobs/job_signature/{job}/{resume_id}", **query)
        assert (got.status_code, got.text) == (200, sig)
        urls = (await approvals.service.get(f"jobs/resume_urls/{job}/{resume_id}", **query)).json()
        tail = f"{job}/{resume_id}/{sig}" + ("?approver=Zo%C3%AB%20%26%20co" if approver else "")
        assert urls == {
            "approvalPage": f"http://127.0.0.1:8000/approve/main/{tail}",
            "resume": f"http://127.0.0.1:8000/api/w/main/jobs_u/resume/{tail}",
            "cancel": f"http://127.0.0.1:8000/api/w/main/jobs_u/cancel/{tail}",
        }


async def test_urls_begin_as_clients_reach_us(tmp_path: Path) -> None:
    """EXECUTOR_BASE_URL, behind a proxy."""
    async with local_service(tmp_path, base_url="https://flows.example/executor/") as service:
        approvals = Approvals(service)
        job = await approvals.waits(await approvals.start(gated(), told()))
        urls = (await service.get(f"jobs/resume_urls/{job}/1")).json()
        assert urls["resume"].startswith(f"https://flows.example/executor/api/w/main/jobs_u/resume/{job}/1/")


async def test_another_signature_opens_nothing(approvals: Approvals) -> None:
    """Of another approver, id, job, action or workspace, or none; whether the job exists is not told."""
    run = await approvals.start(gated(), told())
    job = await approvals.waits(run)
    sig = (await approvals.urls(job, 1, "ann"))["resume"].split("?")[0].rsplit("/", 1)[1]
    wrong = [
        f"main/jobs_u/resume/{job}/1/{sig}",
        f"main/jobs_u/resume/{job}/1/{sig}?approver=bob",
        f"main/jobs_u/resume/{job}/2/{sig}?approver=ann",
        f"main/jobs_u/resume/{uuid.uuid4()}/1/{sig}?approver=ann",
        f"nowhere/jobs_u/resume/{job}/1/{sig}?approver=ann",
        f"main/jobs_u/resume/{job}/1/{sig[:-1]}?approver=ann",
        f"main/jobs_u/cancel/{job}/1/é?approver=ann",
        f"main/jobs_u/get_flow/{job}/1/{'0' * 64}?approver=ann",
    ]
    for path in wrong:
        response = await approvals.stranger.get(f"/api/w/{path}")
        assert (response.status_code, response.json()["detail"]) == (401, "Invalid signature"), path
    assert (await approvals.service.job(run))["type"] == "QueuedJob"
    assert (
        await approvals.stranger.get(f"/api/w/main/jobs_u/resume/{job}/1/{sig}?approver=ann")
    ).status_code == 201


async def test_an_approver_s_url_is_another_workspace_s_no_more(approvals: Approvals) -> None:
    """Each workspace signs with a key of its own."""
    response = await approvals.service.http.post("/api/workspaces/create", json={"id": "other"})
    assert response.status_code == 201
    assert "key" not in response.json()
    keys = {approvals.service.context.workspaces.get(name).key for name in ("main", "other")}
    assert len(keys) == 2


@pytest.mark.parametrize("alphabet", [base64.urlsafe_b64encode, base64.b64encode])
async def test_a_link_can_carry_the_payload(approvals: Approvals, alphabet: Any) -> None:
    """GET with base64url JSON, padded or not."""
    run = await approvals.start(gated(), told())
    url = (await approvals.urls(await approvals.waits(run)))["resume"]
    payload = {"text": "ÿ?>ÿ??"}
    encoded = alphabet(json.dumps(payload, ensure_ascii=False).encode()).decode().rstrip("=")
    response = await approvals.stranger.get(url, params={"payload": encoded})
    assert (response.status_code, response.content) == (201, b"")
    assert (await approvals.service.ended(run))["result"] == events([payload], ["anonymous"])


async def test_a_malformed_payload_is_refused_and_changes_nothing(approvals: Approvals) -> None:
    """Base64 of no JSON, no base64, a body of no JSON, too large a body."""
    run = await approvals.start(gated(), told())
    url = (await approvals.urls(await approvals.waits(run)))["resume"]
    for payload in ("!!!", "e30x", "é"):
        response = await approvals.stranger.get(url, params={"payload": payload})
        assert (response.status_code, response.json()["field"]) == (400, "payload")
    for body, status in ((b"{", 400), (b"[" * 300 + b"]" * 300, 400), (b'"' + b"x" * 2**20 + b'"', 413)):
        assert (await approvals.stranger.post(url, content=body)).status_code == status
    assert (await approvals.stranger.post(url)).status_code == 201
    assert (await approvals.service.ended(run))["result"] == events([None], ["anonymous"])


async def test_an_event_is_sent_once(approvals: Approvals) -> None:
    """The second of one job and resume id is refused; another id counts."""
    run = await approvals.start(gated(required_events=2), told())
    job = await approvals.waits(run)
    await approvals.approve(job, 1, resume_id=5)
    for approver in (None, "somebody"):
        response = await approvals.send(job, 2, resume_id=5, approver=approver)
        assert (response.status_code, response.json()["detail"]) == (409, "resume request already sent")
    status = (await approvals.service.job(run))["flow_status"]["modules"][1]
    assert (status["type"], status["count"], status["job"]) == ("WaitingForEvents", 1, job)
    await approvals.approve(job, 2, resume_id=6)
    assert (await approvals.service.ended(run))["result"] == events([1, 2], ["anonymous"] * 2)
    assert (await approvals.send(job, 3, resume_id=5)).json()["detail"] == "resume request already sent"


async def test_early_events_count_and_nothing_is_suspended(approvals: Approvals) -> None:
    """While the gated step still runs, which usually sends the URLs."""
    run = await approvals.start(gated("a", {"sleep": 0.5}, {"result": 1}), told())
    job = await approvals.job_of(run, "a")
    await approvals.approve(job, "early", approver="self")
    ended = await approvals.service.ended(run)
    assert ended["result"] == events(["early"], ["self"])


async def test_a_disapproval_wins_at_once(approvals: Approvals) -> None:
    """Whoever else has approved; the failure is the held-back step's, and the failure module runs."""
    failure = script("failure", {"echo": True}, transforms={"name": "error.name", "message": "error.message"})
    run = await approvals.start(
        gated(required_events=3), told(retry={"constant": {"attempts": 3}}), failure_module=failure
    )
    job = await approvals.waits(run)
    await approvals.approve(job, 1, resume_id=1)
    await approvals.disapprove(job, resume_id=2, approver="ruben")
    ended = await approvals.service.ended(run)
    assert not ended["success"]
    assert ended["result"] == {"name": "SuspendedDisapproved", "message": "Disapproved by ruben"}
    types = [module["type"] for module in ended["flow_status"]["modules"]]
    assert types == ["Success", "Failure"]
    assert ended["flow_status"]["failure_module"]["parent_module"] == "b"
    late = await approvals.send(job, 1, resume_id=9)
    assert (late.status_code, "disapproved already" in late.json()["detail"]) == (409, True)


async def test_a_disapproval_is_not_caught_by_the_step_it_holds_back(approvals: Approvals) -> None:
    """Its `continue_on_error` is about its own run; what comes after must not run unapproved."""
    run = await approvals.start(gated(), told("b", continue_on_error=True), script("c", {"result": "ran"}))
    await approvals.disapprove(await approvals.waits(run))
    ended = await approvals.service.ended(run)
    assert (ended["success"], ended["result"]["error"]["name"]) == (False, "SuspendedDisapproved")
    assert [module["type"] for module in ended["flow_status"]["modules"]][1:] == [
        "Failure",
        "WaitingForPriorSteps",
    ]


async def test_an_anonymous_disapproval_is_by_unknown(approvals: Approvals) -> None:
    """As in the error's text."""
    run = await approvals.start(gated(), told())
    await approvals.disapprove(await approvals.waits(run))
    error = (await approvals.service.ended(run))["result"]["error"]
    assert (error["message"], error["reason"]) == ("Disapproved by unknown", "cancelled")


@pytest.mark.parametrize("timeout", [0.3, 1.5])
async def test_without_events_in_time_the_flow_fails(approvals: Approvals, timeout: float) -> None:
    """Held in memory for a short time, parked for a longer one; an event after it is refused."""
    run = await approvals.start(gated(timeout=timeout), told())
    job = await approvals.waits(run)
    ended = await approvals.service.ended(run)
    error = ended["result"]["error"]
    assert (error["name"], error["reason"]) == ("SuspendedTimedOut", "timeout")
    assert error["message"] == "Timed out waiting to be resumed"
    assert timeout * 1000 <= ended["duration_ms"] < timeout * 1000 + 1000
    assert (await approvals.send(job)).status_code == 409


@pytest.mark.parametrize("by", ["disapproval", "time"])
async def test_the_flow_may_go_on_without_approval(approvals: Approvals, by: str) -> None:
    """`continue_on_disapprove_timeout`: the error is the last of `resumes`, and `resume`."""
    run = await approvals.start(
        gated(required_events=2, timeout=0.6, continue_on_disapprove_timeout=True), told()
    )
    job = await approvals.waits(run)
    await approvals.approve(job, "yes", resume_id=1, approver="ann")
    if by == "disapproval":
        await approvals.disapprove(job, resume_id=2, approver="bob")
    ended = await approvals.service.ended(run)
    assert ended["success"]
    seen = ended["result"]
    name = "SuspendedDisapproved" if by == "disapproval" else "SuspendedTimedOut"
    assert seen["resumes"][0] == "yes"
    assert seen["resumes"][1]["error"]["name"] == name
    assert seen["resume"] == seen["resumes"][1]
    assert seen["approvers"] == ["ann"]


async def test_gates_at_the_end_of_bodies_and_of_the_flow(approvals: Approvals) -> None:
    """They hold back what comes after; in a loop once per iteration, each with a job of its own."""
    loop: dict[str, Any] = {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": ["x", "y"]},
        "modules": [gated("inner")],
    }
    run = await approvals.start({"id": "loop", "value": loop}, gated("last"))
    done: set[str] = set()
    for _ in range(2):
        job = await waits_inside(approvals, run, done)
        done.add(job)
        await approvals.approve(job)
    job = await approvals.waits(run)
    assert (await approvals.service.job(job))["flow_step_id"] == "last"
    await approvals.approve(job)
    ended = await approvals.service.ended(run)
    assert (ended["success"], ended["result"]) == (True, 1)
    assert [module["id"] for module in ended["flow_status"]["modules"]] == ["loop", "last", "last-v"]


async def waits_inside(approvals: Approvals, run: str, but: Collection[str] = ()) -> str:
    """The job, none of `but`, that a flow job inside a run waits for."""
    async with asyncio.timeout(30):
        while True:
            parts = (await approvals.service.get("jobs/list", parent_job=run)).json()
            for part in parts:
                if part["type"] == "QueuedJob" and part["job_kind"] == "flowpreview":
                    status = (await approvals.service.job(part["id"]))["flow_status"]
                    for module in (status or {"modules": []})["modules"]:
                        if module["type"] == "WaitingForEvents" and module["job"] not in but:
                            found: str = module["job"]
                            return found
            await asyncio.sleep(0.01)


async def test_a_step_that_had_nothing_to_do_is_gated_too(approvals: Approvals) -> None:
    """A loop over no items succeeds; a job stands in for it, which a token approves by the flow's id."""
    loop: dict[str, Any] = {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": []},
        "modules": [identity("x")],
    }
    run = await approvals.start({"id": "loop", "value": loop, "suspend": {"required_events": 1}}, told())
    job = await approvals.waits(run)
    assert (await approvals.service.job(job))["flow_step_id"] == "loop"
    await approvals.approve(job, "ok")
    assert (await approvals.service.ended(run))["result"] == events(["ok"], ["anonymous"])


async def test_a_skipped_step_and_one_that_asks_for_nothing_are_not_gated(approvals: Approvals) -> None:
    """Nor is one whose failure the flow has caught."""
    run = await approvals.start(
        {**gated("a"), "skip_if": {"expr": "true"}},
        gated("b", required_events=0),
        {**gated("c", {"error": {"name": "E", "message": "m"}}), "continue_on_error": True},
        told("d"),
    )
    ended = await approvals.service.ended(run)
    assert (ended["success"], ended["result"]) == (True, events([], []))
    for step in ("a", "b", "c"):
        job = await approvals.job_of(run, step)
        response = await approvals.send(job)
        assert (response.status_code, "asks for no approval" in response.json()["detail"]) == (409, True)


async def test_what_is_no_gated_step_cannot_be_approved(approvals: Approvals) -> None:
    """A job of no flow, and a flow itself: 404. Nobody knows the id: no URL either."""
    alone = await approvals.service.run({"result": 1})
    run = await approvals.start(gated(), told())
    for job in (alone, run):
        response = await approvals.send(job)
        assert (response.status_code, response.json()["field"]) == (404, "job")
    for route in ("resume_urls", "job_signature"):
        assert (await approvals.service.get(f"jobs/{route}/{uuid.uuid4()}/0")).status_code == 404
        assert (await approvals.service.get(f"jobs/{route}/{alone}/{2**32}")).status_code == 400


async def test_a_cancelled_flow_takes_no_approval(approvals: Approvals) -> None:
    """And nothing of it goes on."""
    run = await approvals.start(gated(), told())
    job = await approvals.waits(run)
    await approvals.service.http.post(f"/api/w/main/jobs_u/queue/cancel/{run}", json={"reason": "enough"})
    response = await approvals.send(job)
    assert (response.status_code, "has ended" in response.json()["detail"]) == (409, True)
    assert (await approvals.service.ended(run))["canceled"] is True


async def test_user_auth_required_asks_for_a_token_too(approvals: Approvals) -> None:
    """The approver is whoever the token belongs to, unless the URL names one."""
    run = await approvals.start(gated(user_auth_required=True), told())
    job = await approvals.waits(run)
    for action in ("resume", "cancel"):
        response = await approvals.send(job, action=action)
        assert (response.status_code, response.json()["field"]) == (401, "Authorization")
    url = (await approvals.urls(job))["resume"]
    assert (await approvals.stranger.get(url.replace("resume", "get_flow", 1))).status_code == 401
    wrong = await approvals.stranger.post(url, headers={"authorization": "Bearer wrong"})
    assert wrong.status_code == 401
    assert (await approvals.service.http.post(url, json="signed in")).status_code == 201
    assert (await approvals.service.ended(run))["result"] == events(["signed in"], ["admin"])


async def test_a_token_resumes_a_flow_by_its_id(approvals: Approvals) -> None:
    """Also what waits in a flow job inside; a flow that does not wait is refused."""
    branch: dict[str, Any] = {"type": "branchone", "branches": [], "default": [gated("x"), told("y")]}
    run = await approvals.start(gated(), {"id": "b", "value": branch})
    url = f"/api/w/main/jobs/flow/resume/{run}"
    await approvals.waits(run)
    assert (await approvals.stranger.post(url)).status_code == 401
    assert (await approvals.service.http.post(url, json=1)).status_code == 201
    await waits_inside(approvals, run)
    assert (await approvals.service.http.post(url, json={"n": 2})).status_code == 201
    assert (await approvals.service.ended(run))["result"] == events([{"n": 2}], ["admin"])
    assert (await approvals.service.http.post(url, json=1)).status_code == 409
    for job in (str(uuid.uuid4()), await approvals.job_of(run, "a")):
        assert (await approvals.service.http.post(f"/api/w/main/jobs/flow/resume/{job}")).status_code == 404


async def test_suspended_flows_are_listed(approvals: Approvals) -> None:
    """With the events that are missing, and until when they are waited for."""
    run = await approvals.start(gated(required_events=3), told())
    await approvals.approve(await approvals.waits(run, parked=True))
    async with asyncio.timeout(30):
        while (await approvals.service.job(run))["suspend"] != 2:
            await asyncio.sleep(0.01)
    listed = (await approvals.service.get("jobs/list", suspended=True)).json()
    assert [job["id"] for job in listed] == [run]
    others = (await approvals.service.get("jobs/list", suspended=False)).json()
    assert others
    assert run not in [job["id"] for job in others]


async def test_two_gates_at_once_are_told_apart(approvals: Approvals) -> None:
    """A flow's id is not enough then; each branch goes on by its own job."""
    branches = [{"modules": [gated("x"), told("x2")]}, {"modules": [gated("y"), told("y2")]}]
    run = await approvals.start({"id": "all", "value": {"type": "branchall", "branches": branches}})
    async with asyncio.timeout(30):
        while (await approvals.service.job(run))["suspend"] != 2:
            await asyncio.sleep(0.01)
    response = await approvals.service.http.post(f"/api/w/main/jobs/flow/resume/{run}")
    assert response.status_code == 409
    jobs = sorted(set(response.json()["detail"].split("jobs ")[1].split(", ")))
    assert len(jobs) == 2
    for job in jobs:
        await approvals.approve(job, job)
    results = (await approvals.service.ended(run))["result"]
    assert sorted(result["resume"] for result in results) == jobs


async def test_get_flow_shows_the_flow_and_its_gate_but_no_code(approvals: Approvals) -> None:
    """What a page of one's own needs."""
    form = {"schema": {"type": "object", "properties": {"n": {"type": "number"}}}}
    secret = {"result": "a secret of the script"}
    run = await approvals.start(gated("a", secret, required_events=2, resume_form=form), told())
    job = await approvals.waits(run)
    await approvals.approve(job, resume_id=1, approver="ann")
    url = (await approvals.urls(job))["resume"].replace("resume", "get_flow", 1)
    said = (await approvals.stranger.get(url)).json()
    assert (said["job"]["id"], said["job"]["script_path"]) == (run, "u/test/flow")
    assert said["approvers"] == [{"resume_id": 1, "approver": "ann"}]
    assert (said["state"], said["required_events"]) == ("waiting", 2)
    assert said["job"]["raw_flow"]["modules"][0]["suspend"]["resume_form"] == form
    assert "a secret" not in json.dumps(said)


def test_a_url_s_path_keeps_its_query() -> None:
    """The helper above does what it says."""
    assert path_of("http://x/a/b?c=d") == "/a/b?c=d"
