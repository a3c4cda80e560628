"""`flow_status` while a run is walked and after (docs/openflow.md section 3.4), and cancellation (3.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.flows.running import (
    Flows,
    branchall,
    branchone,
    const,
    echo,
    fails,
    forloop,
    ident,
    modules_of,
    retry,
    script,
    static,
    types_of,
    whileloop,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio

LONG = script("x", {"sleep": 30}, {"result": 1})


async def seen(flows: Flows, run: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The run's job as soon as it looks so."""
    async with asyncio.timeout(30):
        while True:
            job = await flows.service.job(run)
            if holds(job):
                return job
            await asyncio.sleep(0.01)


async def cancelled(flows: Flows, run: str, reason: str = "enough") -> dict[str, Any]:
    """Cancel a run; its job once it has ended."""
    response = await flows.service.http.post(
        f"/api/w/main/jobs_u/queue/cancel/{run}", json={"reason": reason}
    )
    assert response.status_code == 200, response.text
    return await flows.service.ended(run)


async def test_a_script_on_its_way(flows: Flows) -> None:
    """The module has the script's job, and is in progress once that runs."""
    run = await flows.start(const("a", 1), {**LONG, "id": "b"}, ident("c"))
    job = await seen(flows, run, lambda job: modules_of(job)["b"]["type"] == "InProgress")
    assert job["flow_status"]["step"] == 1
    assert types_of(job) == {"a": "Success", "b": "InProgress", "c": "WaitingForPriorSteps"}
    inner = await flows.service.job(modules_of(job)["b"]["job"])
    assert (inner["flow_step_id"], inner["parent_job"], inner["type"]) == ("b", run, "QueuedJob")
    await cancelled(flows, run)


async def test_a_script_that_waits_for_a_slot(flows: Flows) -> None:
    """Its module waits for an executor, and is in progress when it gets one."""
    blocking = await flows.start(forloop("l", [1, 2, 3, 4], LONG, parallel=True))
    await seen(flows, blocking, lambda job: len(modules_of(job)["l"].get("flow_jobs", [])) == 4)
    await asyncio.sleep(0.1)
    run = await flows.start({**LONG, "id": "b"})
    job = await seen(flows, run, lambda job: "job" in modules_of(job)["b"])
    assert types_of(job) == {"b": "WaitingForExecutor"}
    await cancelled(flows, blocking)
    await seen(flows, run, lambda job: modules_of(job)["b"]["type"] == "InProgress")
    await cancelled(flows, run)


async def test_a_loop_in_turn(flows: Flows) -> None:
    """Its place, its items, the jobs of its iterations and how they ended."""
    body = branchone("b", ("flow_input.iter.index == 1", [LONG]), default=[ident("y")])
    run = await flows.start(forloop("l", ["p", "q", "r"], body))
    job = await seen(flows, run, lambda job: len(modules_of(job)["l"].get("flow_jobs", [])) == 2)
    shown = modules_of(job)["l"]
    assert shown["type"] == "InProgress"
    assert shown["iterator"] == {"index": 1, "itered": ["p", "q", "r"]}
    assert shown["flow_jobs_success"] == [True, None]
    iteration = await flows.service.job(shown["flow_jobs"][1])
    assert (iteration["job_kind"], iteration["parent_job"]) == ("flowpreview", run)
    assert iteration["args"] == {"iter": {"index": 1, "value": "q"}}
    assert modules_of(iteration)["b"]["branch_chosen"] == {"type": "branch", "branch": 0}
    job = await cancelled(flows, run)
    assert job["status"] == "canceled"


async def test_a_parallel_loop(flows: Flows) -> None:
    """The number of items in place of the items."""
    run = await flows.start(forloop("l", [1, 2], LONG, parallel=True))
    job = await seen(flows, run, lambda job: len(modules_of(job)["l"].get("flow_jobs", [])) == 2)
    shown = modules_of(job)["l"]
    assert (shown["type"], shown["parallel"], shown["iterator"]["itered_len"]) == ("InProgress", True, 2)
    assert "itered" not in shown["iterator"]
    await cancelled(flows, run)


async def test_other_modules_with_bodies(flows: Flows) -> None:
    """A while-loop says so; a branchall shows its branch and their number."""
    run = await flows.start(whileloop("w", LONG))
    job = await seen(flows, run, lambda job: "flow_jobs" in modules_of(job)["w"])
    assert modules_of(job)["w"]["while_loop"] is True
    await cancelled(flows, run)
    run = await flows.start(branchall("b", [const("c", 1)], [LONG], parallel=False))
    job = await seen(flows, run, lambda job: len(modules_of(job)["b"].get("flow_jobs", [])) == 2)
    assert modules_of(job)["b"]["branchall"] == {"branch": 1, "len": 2}
    await cancelled(flows, run)


async def test_the_status_of_a_run_that_ended(flows: Flows) -> None:
    """It stays, for the run and for every flow job in it."""
    job = await flows.run(
        forloop("l", [1, 2], const("a", 1), ident("b")), fails("f", retry=retry(1)), ident("n")
    )
    status = job["flow_status"]
    assert status["step"] == 1
    assert status["cleanup_module"] == {"flow_jobs_to_clean": []}
    loop, failed, never = status["modules"]
    assert loop["job"] == loop["flow_jobs"][-1]
    assert (loop["skipped"], loop["failed_retries"], loop["approvers"]) == (False, [], [])
    assert len(failed["failed_retries"]) == 1
    assert never == {"type": "WaitingForPriorSteps", "id": "n"}
    for part in loop["flow_jobs"]:
        iteration = await flows.service.job(part)
        assert types_of(iteration) == {"a": "Success", "b": "Success"}
        assert iteration["flow_status"]["step"] == 2


async def test_the_fields_of_each_kind_of_module_at_the_end(flows: Flows) -> None:
    """Exactly those of the page's table, and what it says is also served."""
    job = await flows.run(
        const("script", 1),
        ident("identity"),
        ident("skipped", skip_if={"expr": "true"}),
        forloop("loop", [1, 2], const("a", 1)),
        forloop("side", [1, 2], const("b", 1), parallel=True),
        whileloop("while", const("c", 1), stop_after_if={"expr": "true"}),
        branchone("one", ("true", [const("d", 1)])),
        branchall("all", [const("e", 1)]),
        fails("failing", continue_on_error=True),
        forloop("failed", [1], fails("g")),
        ident("never"),
    )
    success = {"type", "id", "job", "approvers", "failed_retries", "skipped"}
    children = {"flow_jobs", "flow_jobs_success", "flow_jobs_duration"}
    failure = {"type", "id", "job", "failed_retries"}
    said = {
        "script": success,
        "identity": success,
        "skipped": success,
        "loop": success | children | {"parallel"},
        "side": success | children | {"parallel"},
        "while": success | children,
        "one": success | children | {"branch_chosen"},
        "all": success | children | {"parallel"},
        "failing": failure,
        "failed": failure | children | {"parallel"},
        "never": {"type", "id"},
    }
    assert {id: set(module) for id, module in modules_of(job).items()} == said
    assert set(job["flow_status"]) == {"step", "modules", "failure_module", "retry", "cleanup_module"}
    assert job["flow_status"]["failure_module"] == {"type": "WaitingForPriorSteps", "id": "failure"}


async def test_how_long_each_iteration_took(flows: Flows) -> None:
    """Beside the iterations' jobs; null for one that has not ended."""
    quick = branchone("b", ("flow_input.iter.index == 1", [LONG]), default=[ident("y")])
    run = await flows.start(forloop("l", [1, 2], quick))
    job = await seen(flows, run, lambda job: len(modules_of(job)["l"].get("flow_jobs", [])) == 2)
    shown = modules_of(job)["l"]
    first = await flows.service.job(shown["flow_jobs"][0])
    assert shown["flow_jobs_duration"]["started_at"][0] == first["started_at"]
    assert shown["flow_jobs_duration"]["duration_ms"] == [first["duration_ms"], None]
    await cancelled(flows, run)


async def test_a_later_attempt_shows_nothing_of_an_earlier_one(flows: Flows) -> None:
    """Neither what it chose nor what it went through."""
    tries: list[int] = []

    def once(args: dict[str, Any]) -> None:
        tries.append(1)
        raise ValueError("no")

    flows.functions["once"] = once
    expr = "(() => { if (results.x) null.y; return true })()"
    body = script("x", {"call": "once"}, continue_on_error=True)
    job = await flows.run(branchone("b", (expr, [body, fails("z")]), retry=retry(1)))
    assert len(tries) == 1
    shown = modules_of(job)["b"]
    assert (shown["type"], len(shown["failed_retries"])) == ("Failure", 1)
    assert not {"branch_chosen", "flow_jobs"} & set(shown)


async def test_retries_are_those_of_the_step_that_is_tried(flows: Flows) -> None:
    """A success forgets them; the module's own list stays."""
    job = await flows.run(fails("a", retry=retry(1), continue_on_error=True), const("b", 1))
    assert job["flow_status"]["retry"] == {"fail_count": 0, "failed_jobs": []}
    assert len(modules_of(job)["a"]["failed_retries"]) == 1
    job = await flows.run(const("a", 1), fails("b", retry=retry(2)))
    failed = job["flow_status"]["retry"]
    assert (failed["fail_count"], failed["failed_jobs"]) == (2, modules_of(job)["b"]["failed_retries"])


async def test_steps_are_told_from_runs_in_a_list(flows: Flows) -> None:
    """Iterations are steps too: they have a module; a run has none."""
    job = await flows.run(forloop("l", [1], const("a", 1)), const("b", 1))
    inside = {made["id"] for made in await flows.jobs(job)}
    assert len(inside) == 3
    for wanted in (True, False):
        answer = await flows.service.get("jobs/list", is_flow_step=wanted, per_page=1000)
        listed = {found["id"] for found in answer.json()}
        assert (inside <= listed, job["id"] in listed) == (wanted, not wanted)


# ------------------------------------------------------------ gates


async def test_a_flow_job_that_waits_says_for_what_and_until_when(flows: Flows) -> None:
    """The branch whose step is gated; the run, for all that it has inside; nobody when it is over."""
    gated = const("g", 1, suspend={"required_events": 2, "timeout": 50, "user_auth_required": True})
    after = script("late", {"sleep": 0.3}, {"result": 1})
    busy = script("busy", {"sleep": 1}, {"result": 1})
    run = await flows.start(branchall("b", [gated, after], [busy]))
    await seen(flows, run, lambda job: job.get("suspend") == 2)
    part = modules_of(await flows.service.job(run))["b"]["flow_jobs"][0]
    branch = await flows.service.job(part)
    waits = modules_of(branch)["late"]
    assert (waits["type"], waits["count"]) == ("WaitingForEvents", 2)
    assert branch["suspend"] == 2
    assert branch["flow_status"]["approval_conditions"]["user_auth_required"] is True
    whole = await flows.service.job(run)
    assert whole["suspend_until"] == branch["suspend_until"] > branch["started_at"]
    listed = {job["id"] for job in (await flows.service.get("jobs/list", suspended=True)).json()}
    assert {run, part} <= listed
    for resume_id in (1, 2):
        urls = (await flows.service.get(f"jobs/resume_urls/{waits['job']}/{resume_id}")).json()
        assert (await flows.service.http.post(urls["resume"])).status_code == 201
    await seen(flows, run, lambda job: job.get("suspend") == 0)
    branch = await flows.service.job(part)
    assert (branch["suspend"], branch["suspend_until"]) == (0, None)
    assert "approval_conditions" not in branch["flow_status"]
    job = await flows.service.ended(run)
    assert job["result"] == [1, 1]


async def test_a_run_that_goes_on_waits_no_more(flows: Flows) -> None:
    """Also when it was put down meanwhile."""
    gated = const("g", 1, suspend={"required_events": 1})
    run = await flows.start(gated, script("late", {"sleep": 1}, {"result": 1}))
    job = await seen(flows, run, lambda job: job.get("suspend") == 1)
    assert job["running"] is True
    listed = (await flows.service.get("jobs/list", running=True)).json()
    assert run in {job["id"] for job in listed}
    await flows.post(f"jobs/flow/resume/{run}")
    await seen(flows, run, lambda job: modules_of(job)["late"]["type"] == "InProgress")
    job = await flows.service.job(run)  # the row, read after that was shown
    assert job["suspend"] == 0
    await flows.service.ended(run)


async def test_a_restart_behind_a_gate_asks_anew(flows: Flows) -> None:
    """And shows who has approved this run, not the one before."""
    gated = const("g", 1, suspend={"required_events": 1})
    run = await flows.start(gated, echo("after", "approvers"))
    await seen(flows, run, lambda job: job.get("suspend") == 1)
    await flows.post(f"jobs/flow/resume/{run}")
    job = await flows.service.ended(run)
    assert modules_of(job)["g"]["approvers"] == [{"resume_id": 0, "approver": "admin"}]
    again = await flows.post(f"jobs/restart/f/{run}/from/after")
    job = await seen(flows, again, lambda job: job.get("suspend") == 1)
    assert modules_of(job)["g"]["approvers"] == []
    asking = modules_of(job)["after"]["job"]
    urls = (await flows.service.get(f"jobs/resume_urls/{asking}/7", approver="ann")).json()
    assert (await flows.service.http.post(urls["resume"])).status_code == 201
    job = await flows.service.ended(again)
    assert job["result"] == {"x": ["ann"]}
    assert modules_of(job)["g"]["approvers"] == [{"resume_id": 7, "approver": "ann"}]


# ------------------------------------------------------------ cancellation


@pytest.mark.parametrize(
    "module",
    [
        LONG,
        forloop("l", [1, 2], LONG),
        forloop("l", [1, 2, 3, 4, 5, 6, 7], LONG, parallel=True),
        branchall("b", [LONG], [const("y", 1), ident("z", sleep=static(60)), ident("zz")]),
        ident("s", sleep=static(60)),
        const("g", 1, suspend={"required_events": 1}),
        fails("r", retry=retry(3, 60)),
    ],
    ids=["script", "loop", "more than slots", "branches", "sleep", "gate", "retry"],
)
async def test_a_cancelled_run_ends_and_so_does_everything_in_it(
    flows: Flows, module: dict[str, Any]
) -> None:
    """No retry, no `continue_on_error`, no failure module; nothing goes on."""
    guarded = {"retry": retry(2), **module, "continue_on_error": True}
    run = await flows.start(guarded, ident("after"), failure_module=const("failure", {"recover": True}))
    await asyncio.sleep(0.2)
    job = await cancelled(flows, run)
    assert (job["status"], job["success"], job["canceled_by"]) == ("canceled", False, "admin")
    error = job["result"]["error"]
    assert (error["name"], error["reason"]) == ("Canceled", "cancelled")
    assert error["message"] == "Job canceled: enough by admin"
    inside = await flows.jobs(job)
    assert all(part["type"] == "CompletedJob" for part in inside)
    assert "failure" not in await flows.runs_of(job)
    assert types_of(job).get("after") in ("WaitingForPriorSteps", "WaitingForEvents")
    await until(lambda: not flows.service.engine.living)


async def test_the_parts_of_a_cancelled_run_keep_their_status(flows: Flows) -> None:
    """How far each had come can be read."""
    run = await flows.start(forloop("l", [1], const("a", 1), LONG))
    await seen(flows, run, lambda job: "flow_jobs" in modules_of(job)["l"])
    await asyncio.sleep(0.1)
    job = await cancelled(flows, run)
    iteration = await flows.service.job(modules_of(job)["l"]["flow_jobs"][0])
    assert iteration["status"] == "canceled"
    assert types_of(iteration)["a"] == "Success"


async def test_a_cancelled_step_cancels_its_run(flows: Flows) -> None:
    """It is nobody's failure to handle."""
    run = await flows.start({**LONG, "continue_on_error": True}, failure_module=echo("failure", "1"))
    job = await seen(flows, run, lambda job: modules_of(job)["x"]["type"] == "InProgress")
    await cancelled(flows, modules_of(job)["x"]["job"])
    job = await flows.service.ended(run)
    assert (job["status"], job["result"]["error"]["name"]) == ("canceled", "Canceled")
    assert await flows.runs_of(job) == {"x": 1}


async def test_a_run_that_waits_to_begin_can_be_cancelled(flows: Flows) -> None:
    """It never starts anything."""
    response = await flows.service.http.post(
        "/api/w/main/jobs/run/preview_flow",
        json={"value": {"modules": [const("a", 1)]}},
        params={"scheduled_in_secs": 60},
    )
    job = await cancelled(flows, response.text)
    assert job["status"] == "canceled"
    assert await flows.jobs(job) == []
