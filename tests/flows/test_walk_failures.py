"""Failures: the failure module (docs/openflow.md section 1.9), expressions (2.6), error objects (3.2), results (3.3)."""

from __future__ import annotations

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
    js,
    modules_of,
    script,
    stop,
    types_of,
    whileloop,
)

pytestmark = pytest.mark.anyio

HANDLER = echo("failure", "error.message")
RECOVERS = const("failure", {"recover": True, "v": 1})


# ------------------------------------------------------------ the failure module


async def test_a_failure_modules_result_is_the_flows(flows: Flows) -> None:
    """The flow stays failed."""
    job = await flows.run(const("a", 1), fails("b"), const("c", 3), failure_module=HANDLER)
    assert (job["success"], job["status"], job["result"]) == (False, "failure", {"x": "boom"})
    assert types_of(job) == {"a": "Success", "b": "Failure", "c": "WaitingForPriorSteps"}
    shown = job["flow_status"]["failure_module"]
    assert (shown["type"], shown["parent_module"], shown["id"]) == ("Success", "b", "failure")
    assert job["flow_status"]["step"] == 3


async def test_a_failure_module_may_recover_the_flow(flows: Flows) -> None:
    """With `recover: true` in its object, nothing else."""
    job = await flows.run(fails("b"), failure_module=RECOVERS)
    assert (job["success"], job["result"]) == (True, {"recover": True, "v": 1})
    for other in ({"recover": "yes"}, [{"recover": True}], '{"recover": true}', {"x": {"recover": True}}):
        job = await flows.run(fails("b"), failure_module=const("failure", other))
        assert (job["success"], job["result"]) == (False, other)


async def test_what_a_failure_module_sees(flows: Flows) -> None:
    """The failure, the results, the input, when and what the run is."""
    names = {
        "before": "previous_result.error.message",
        "message": "error.message",
        "step": "error.step_id",
        "a": "results.a",
        "b": "results.b.error.name",
        "input": "flow_input.i",
        "began": "typeof started_at",
        "job": "flow_job_id",
    }
    job = await flows.run(
        const("a", 1),
        fails("b"),
        args={"i": 7},
        failure_module=script("failure", {"echo": True}, args=names),
    )
    assert job["result"] == {
        "before": "boom",
        "message": "boom",
        "step": "b",
        "a": 1,
        "b": "Trouble",
        "input": 7,
        "began": "number",
        "job": job["id"],
    }


async def test_a_failure_module_that_fails(flows: Flows) -> None:
    """Its error is the flow's; it is not run on itself."""
    job = await flows.run(fails("a"), failure_module=fails("failure", "worse"))
    assert (job["success"], job["result"]["error"]["message"]) == (False, "worse")
    assert job["flow_status"]["failure_module"]["type"] == "Failure"
    assert await flows.runs_of(job) == {"a": 1, "failure": 1}


async def test_no_failure_module_without_a_failure(flows: Flows) -> None:
    """Its status stays as it was."""
    job = await flows.run(const("a", 1), failure_module=HANDLER)
    assert job["flow_status"]["failure_module"] == {"type": "WaitingForPriorSteps", "id": "failure"}


@pytest.mark.parametrize(
    ("module", "result"),
    [
        (forloop("o", [1, 2], fails("x")), [{"x": "boom"}]),
        (forloop("o", [1, 2], fails("x"), parallel=True), [{"x": "boom"}, {"x": "boom"}]),
        (whileloop("o", fails("x")), {"x": "boom"}),
        (branchone("o", ("true", [fails("x")])), {"x": "boom"}),
        (branchall("o", [const("y", 1)], [fails("x")]), [1, {"x": "boom"}]),
        (branchall("o", [fails("x")], [const("y", 1)], parallel=False), [{"x": "boom"}]),
        (branchone("o", ("true", [forloop("l", [1], fails("x"))])), [{"x": "boom"}]),
    ],
    ids=["loop", "parallel loop", "while", "branchone", "branchall", "in turn", "nested"],
)
async def test_a_failure_module_runs_once_at_the_innermost_level(
    flows: Flows, module: dict[str, Any], result: Any
) -> None:
    """The levels above fail with its result; in a loop or branchall it is the element."""
    job = await flows.run(module, ident("after"), failure_module=HANDLER)
    assert (job["success"], job["result"]) == (False, result)
    assert types_of(job) == {"o": "Failure", "after": "WaitingForPriorSteps"}
    handlers = [
        inner for inner in await flows.jobs(job) if (inner["flow_step_id"] or "").startswith("failure")
    ]
    assert len(handlers) == str(result).count("boom")
    assert all(inner["parent_job"] != job["id"] for inner in handlers)
    assert job["flow_status"]["failure_module"]["type"] == "WaitingForPriorSteps"


async def test_a_copied_failure_module_has_an_id_of_its_own(flows: Flows) -> None:
    """The branch's or iteration's number is put behind it."""
    job = await flows.run(forloop("l", [1, 2], fails("x"), parallel=True), failure_module=HANDLER)
    assert await flows.runs_of(job) == {"l": 2, "x": 2, "failure-0": 1, "failure-1": 1}


async def test_recovery_inside_a_loop_or_branch(flows: Flows) -> None:
    """The iteration or branch succeeds, and the flow goes on."""
    job = await flows.run(
        forloop("l", [1, 2], fails("x")), echo("after", "results.l"), failure_module=RECOVERS
    )
    assert (job["success"], job["result"]["x"]) == (True, [{"recover": True, "v": 1}] * 2)
    job = await flows.run(branchone("b", ("true", [fails("x")])), ident("after"), failure_module=RECOVERS)
    assert (job["success"], types_of(job)["b"]) == (True, "Success")


async def test_a_failure_beside_the_steps_of_a_body_is_handled_outside(flows: Flows) -> None:
    """A failing iterator or predicate belongs to the flow that has the module."""
    job = await flows.run(
        forloop("l", "nonsense.x", ident("x")), failure_module=echo("failure", "error.step_id")
    )
    assert job["result"] == {"x": "l"}
    assert job["flow_status"]["failure_module"]["parent_module"] == "l"


async def test_a_stop_with_a_message_inside_a_branch_is_a_failure_outside(flows: Flows) -> None:
    """The branch fails; without a failure module so does the flow."""
    stopping = const("x", 1, stop_after_if=stop("true", error_message="enough"))
    job = await flows.run(branchone("b", ("true", [stopping])), ident("after"))
    assert (job["success"], job["result"]["error"]["message"]) == (False, "enough")
    assert types_of(job) == {"b": "Failure", "after": "WaitingForPriorSteps"}
    job = await flows.run(forloop("l", [1, 2], stopping))
    assert [item["error"]["name"] for item in job["result"]] == ["EarlyStopError"]


async def test_engine_trouble_is_not_handled(flows: Flows) -> None:
    """An InternalError ends the flow: no retry, no forgiveness, no failure module."""
    image = "image-of-python3"
    flows.service.engine.missing_images.add(image)
    try:
        again = {"constant": {"attempts": 3}}
        job = await flows.run(
            const("a", 1, retry=again, continue_on_error=True), ident("b"), failure_module=HANDLER
        )
    finally:
        flows.service.engine.missing_images.discard(image)
    assert (job["success"], job["result"]["error"]["name"]) == (False, "InternalError")
    assert job["result"]["error"]["reason"] == "infrastructure"
    assert await flows.runs_of(job) == {"a": 1}


# ------------------------------------------------------------ expressions that fail


@pytest.mark.parametrize(
    ("module", "expr"),
    [
        (script("m", {"result": 1}, args={"x": "missing_name"}), "missing_name"),
        (script("m", {"result": 1}, timeout=js("missing_name")), "missing_name"),
        (forloop("m", "null.x", ident("i")), "null.x"),
        (forloop("m", [1], ident("i"), parallel=True, parallelism=js("null.y")), "null.y"),
        (branchone("m", ("previous_result.a.b.c", [])), "previous_result.a.b.c"),
        (ident("m", skip_if={"expr": "null.z"}), "null.z"),
        (const("m", 1, stop_after_if=stop("result.a.b")), "result.a.b"),
        (forloop("m", [1], ident("i"), stop_after_if=stop("result.a.b")), "result.a.b"),
        (forloop("m", [1], ident("i"), stop_after_all_iters_if=stop("result.a.b")), "result.a.b"),
    ],
    ids=[
        "transform",
        "timeout",
        "iterator",
        "parallelism",
        "predicate",
        "skip_if",
        "stop_after_if",
        "break",
        "stop_after_all",
    ],
)
async def test_a_failing_expression_fails_its_module(flows: Flows, module: dict[str, Any], expr: str) -> None:
    """As a script's failure does: the failure module runs, `continue_on_error` catches it."""
    job = await flows.run(module, ident("after"))
    error = job["result"]["error"]
    assert error["message"].startswith(f"Error during isolated evaluation of expression `{expr}`:\n")
    assert (error["name"], error["reason"], error["step_id"]) == ("ExecutionErr", "bad_input", "m")
    assert types_of(job) == {"m": "Failure", "after": "WaitingForPriorSteps"}
    handled = await flows.run(module, failure_module=echo("failure", "error.step_id"))
    assert handled["result"] == {"x": "m"}
    forgiven = await flows.run({**module, "continue_on_error": True}, echo("after", "error.step_id"))
    assert (forgiven["success"], forgiven["result"]) == (True, {"x": "m"})


async def test_a_failing_transform_has_a_job_that_failed(flows: Flows) -> None:
    """It never had a container."""
    started = len(flows.service.engine.started)
    job = await flows.run(script("a", {"result": 1}, args={"x": "missing_name"}))
    (made,) = await flows.jobs(job)
    assert (made["success"], made["flow_step_id"], made["job_kind"]) == (False, "a", "preview")
    assert modules_of(job)["a"]["job"] == made["id"]
    assert len(flows.service.engine.started) == started


# ------------------------------------------------------------ results of flows


async def test_a_flow_of_nothing_gives_its_input(flows: Flows) -> None:
    """Section 3.3, 1."""
    assert await flows.result(args={"a": 1}) == {"a": 1}
    assert await flows.result() == {}


async def test_a_failed_flow_without_handler_gives_the_failure(flows: Flows) -> None:
    """The error of a step, the array of a loop or branchall, the bare error of a while-loop."""
    assert (await flows.run(fails("a")))["result"]["error"]["step_id"] == "a"
    assert isinstance((await flows.run(forloop("a", [1], fails("x"))))["result"], list)
    assert isinstance((await flows.run(branchall("a", [fails("x")])))["result"], list)
    assert (await flows.run(whileloop("a", fails("x"))))["result"]["error"]["step_id"] == "x"


async def test_a_skipped_flow_runs_nothing(flows: Flows) -> None:
    """`skip_expr` sees the input and when the run was to begin."""
    expr = "flow_input.skip && WM_SCHEDULED_FOR.length > 10"
    job = await flows.run(fails("a"), args={"skip": 1}, skip_expr=expr)
    assert (job["result"], job["status"], job["is_skipped"]) == ("stopped early", "skipped", True)
    assert types_of(job) == {"a": "WaitingForPriorSteps"}
    assert await flows.result(const("a", 1), skip_expr=expr) == 1


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("value", [0, "", None, {}, [], "é\u2028", {"error": {"message": "not one"}}])
async def test_values_travel_unchanged(flows: Flows, value: Any, big: bool) -> None:
    """Also those too big to be held in memory; what looks like an error is none."""
    given = [value, "x" * 20_000] if big else value
    loop = forloop("l", [1], ident("i"), const("b", given), ident("c"))
    chosen = branchone("o", ("results.l.length == 1", []))
    job = await flows.run(const("a", given), loop, chosen, echo("x", "[results.a, results.l[0], results.o]"))
    assert job["result"] == {"x": [given, given, [given]]}


async def test_labels_of_a_result_are_the_jobs(flows: Flows) -> None:
    """Those of the last step's result are the run's too."""
    job = await flows.run(const("a", {"wm_labels": ["p", "q"]}))
    assert job["labels"] == ["p", "q"]
