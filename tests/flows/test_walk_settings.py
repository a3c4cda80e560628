"""What a module's settings do (docs/openflow.md section 1.9): stops, skips, sleeps, mocks, forgiven errors."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from tests.flows.running import (
    Flows,
    branchall,
    branchone,
    call,
    const,
    echo,
    fails,
    forloop,
    ident,
    js,
    modules_of,
    retry,
    script,
    static,
    stop,
    types_of,
)
from tests.flows.test_walk_retries import Flaky

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------ early stops


@pytest.mark.parametrize("skip", [False, True])
async def test_a_stop_ends_the_flow_with_that_steps_result(flows: Flows, skip: bool) -> None:
    """With success, as skipped if it says so; what comes after stays as it was."""
    job = await flows.run(
        const("a", 1),
        const("b", 2, stop_after_if=stop("result == 2 && results.a == 1", skip_if_stopped=skip)),
        fails("c"),
    )
    assert (job["success"], job["result"], job["is_skipped"]) == (True, 2, skip)
    assert job["status"] == ("skipped" if skip else "success")
    assert types_of(job) == {"a": "Success", "b": "Success", "c": "WaitingForPriorSteps"}


async def test_a_stop_that_does_not_hold_changes_nothing(flows: Flows) -> None:
    """Predicates are Boolean(): an empty text is false."""
    assert await flows.result(const("a", 1, stop_after_if=stop("''")), const("b", 2)) == 2


@pytest.mark.parametrize(("message", "said"), [("too few", "too few"), ("", "stop after if: result == 1")])
async def test_a_stop_with_a_message_is_a_failure(flows: Flows, message: str, said: str) -> None:
    """The failure module runs on it."""
    stopping = const("a", 1, stop_after_if=stop("result == 1", error_message=message))
    job = await flows.run(stopping, ident("b"))
    error = job["result"]["error"]
    assert (error["name"], error["message"], error["reason"]) == ("EarlyStopError", said, "script_error")
    assert types_of(job) == {"a": "Failure", "b": "WaitingForPriorSteps"}
    handled = await flows.run(stopping, failure_module=echo("failure", "error.message"))
    assert (handled["success"], handled["result"]) == (False, {"x": said})


async def test_a_message_is_ignored_where_the_run_is_skipped(flows: Flows) -> None:
    """`skip_if_stopped` wins."""
    both = stop("true", error_message="no", skip_if_stopped=True)
    job = await flows.run(const("a", 1, stop_after_if=both))
    assert (job["status"], job["result"]) == ("skipped", 1)


async def test_a_failed_step_does_not_stop_early(flows: Flows) -> None:
    """`stop_after_if` comes after success only."""
    job = await flows.run(
        fails("a", stop_after_if=stop("true"), continue_on_error=True), const("b", "went on")
    )
    assert job["result"] == "went on"


# ------------------------------------------------------------ skip_if, mock


@pytest.mark.parametrize(
    "skipped",
    [
        fails("s"),
        forloop("s", "nonsense.at.all", fails("x")),
        branchone("s", ("nonsense.at.all", [fails("x")])),
        branchall("s", [fails("x")]),
        script("s", args={"x": "nonsense.at.all"}),
    ],
    ids=["script", "loop", "branchone", "branchall", "transform"],
)
async def test_a_skipped_step_gives_the_previous_result(flows: Flows, skipped: dict[str, Any]) -> None:
    """Whatever it is; it shows `skipped`, and nothing of it is evaluated."""
    job = await flows.run(
        const("p", 5), {**skipped, "skip_if": {"expr": "previous_result == 5"}}, echo("after", "results.s")
    )
    assert job["result"] == {"x": 5}
    shown = modules_of(job)["s"]
    assert (shown["type"], shown["skipped"]) == ("Success", True)
    assert modules_of(job)["p"]["skipped"] is False


async def test_a_first_step_that_is_skipped_gives_the_input(flows: Flows) -> None:
    """As an identity does; it runs in the engine."""
    started = len(flows.service.engine.started)
    assert await flows.result(fails("a", skip_if={"expr": "true"}), args={"i": 1}) == {"i": 1}
    assert len(flows.service.engine.started) == started


async def test_a_predicate_that_does_not_hold_skips_nothing(flows: Flows) -> None:
    """undefined is false."""
    assert await flows.result(const("a", 1, skip_if={"expr": "flow_input.no"})) == 1


async def test_the_gate_of_a_skipped_step_does_not_hold(flows: Flows) -> None:
    """Nobody would know that an approval is waited for."""
    gated = const("a", 1, skip_if={"expr": "true"}, suspend={"required_events": 1})
    assert await flows.result(gated, const("b", 2)) == 2


@pytest.mark.parametrize(
    ("mock", "result"),
    [
        ({"enabled": True, "return_value": {"m": 1}}, {"m": 1}),
        ({"enabled": True}, None),
        ({"enabled": False, "return_value": 1}, "ran"),
    ],
)
async def test_a_mocked_step_gives_what_the_mock_says(flows: Flows, mock: Any, result: Any) -> None:
    """Its transforms are not evaluated, nothing runs."""
    broken = {"x": "nonsense.at.all"} if mock["enabled"] else {}
    step = script("a", {"result": "ran"}, args=broken, mock=mock)
    assert await flows.result(step, echo("after", "results.a")) == {"x": result}


async def test_a_mocked_loop_does_not_loop(flows: Flows) -> None:
    """Any kind of step can be mocked."""
    loop = forloop("l", [1], fails("x"), mock={"enabled": True, "return_value": [4]})
    assert await flows.result(loop) == [4]


async def test_a_skip_that_fails_is_tried_again(flows: Flows) -> None:
    """As any failure of the module; one that succeeded is not evaluated a second time."""
    flows.functions["twice"] = Flaky(2)
    unlucky = "(() => { if (Math.random() < 2) throw new Error('no luck') })()"
    job = await flows.run(const("a", 1, skip_if={"expr": unlucky}, retry=retry(2)))
    assert "no luck" in job["result"]["error"]["message"]
    assert job["flow_status"]["retry"]["fail_count"] == 2
    assert await flows.runs_of(job) == {}
    path = f"f/skip/x{uuid4().hex}"
    late = asyncio.create_task(_variable_after(flows, path, 0.3))
    wants = {"expr": f"variable('{path}') == 'never'"}
    job = await flows.run(call("a", "twice", skip_if=wants, retry=retry(20, 0.1)))
    await late
    assert job["result"] == "run 3"


async def test_a_sleep_that_fails_is_tried_again_by_the_step_behind_it(flows: Flows) -> None:
    """And passed once: its retries do not sleep again."""
    flaky = flows.functions["flaky"] = Flaky(2)
    path = f"f/sleep/x{uuid4().hex}"
    late = asyncio.create_task(_variable_after(flows, path, 0.3))
    sleeping = const("a", {"path": path}, sleep=js(f"variable('{path}') ? 0.4 : 0"))
    job = await flows.run(sleeping, ident("b"))
    assert "ReferenceError" in job["result"]["error"]["message"], "a sleep sees no variables"
    sleeping = const("a", 1, sleep=js("Math.random() < 0.3 ? 0.4 : null.x"))
    begun = time.monotonic()
    job = await flows.run(sleeping, call("b", "flaky", retry=retry(40)))
    await late
    assert (job["result"], len(flaky.runs)) == ("run 3", 3)
    assert 0.4 <= time.monotonic() - begun < 0.4 + 0.4 + 10
    assert types_of(job) == {"a": "Success", "b": "Success"}


async def _variable_after(flows: Flows, path: str, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await flows.post("variables/create", path=path, value="5")


# ------------------------------------------------------------ sleep


@pytest.mark.parametrize("sleep", [static(0.3), js("result.wait"), js("previous_result.wait + flow_input.n")])
async def test_a_sleep_comes_after_the_step_and_changes_nothing(flows: Flows, sleep: Any) -> None:
    """It sees the step's result and the flow's input."""
    begun = time.monotonic()
    job = await flows.run(const("a", {"wait": 0.3}, sleep=sleep), ident("b"), args={"n": 0})
    assert job["result"] == {"wait": 0.3}
    assert time.monotonic() - begun >= 0.3


async def test_a_sleep_on_the_last_step_has_a_step_of_its_own(flows: Flows) -> None:
    """`<id>-v`, an identity; the result stays the step's."""
    job = await flows.run(
        forloop("l", [1], const("a", 1, sleep=static(0.01))), const("b", 2, sleep=static(0.01))
    )
    assert job["result"] == 2
    assert types_of(job) == {"l": "Success", "b": "Success", "b-v": "Success"}
    assert await flows.runs_of(job) == {"l": 1, "a": 1, "a-v": 1, "b": 1, "b-v": 1}


async def test_a_sleep_that_is_no_number_fails_the_step_behind_it(flows: Flows) -> None:
    """As does one that cannot be evaluated."""
    job = await flows.run(const("a", 1, sleep=static("long")), const("b", 2))
    assert job["result"]["error"]["message"].startswith("Expected an integer")
    assert types_of(job) == {"a": "Success", "b": "Failure"}
    job = await flows.run(const("a", 1, sleep=js("nonsense.x")), const("b", 2, continue_on_error=True))
    assert (job["success"], job["result"]["error"]["reason"]) == (True, "bad_input")


# ------------------------------------------------------------ continue_on_error


@pytest.mark.parametrize(
    "failing",
    [
        fails("f"),
        forloop("f", "5"),
        script("f", {"result": 1}, args={"x": "nonsense.at.all"}),
        branchone("f", ("nonsense.at.all", [])),
        branchone("f", ("true", [fails("x")])),
    ],
    ids=["script", "iterator", "transform", "predicate", "branch"],
)
async def test_a_forgiven_failure_is_a_result(flows: Flows, failing: dict[str, Any]) -> None:
    """The module is a failure; the next step finds the error object, and no failure module runs."""
    job = await flows.run(
        {**failing, "continue_on_error": True},
        echo("after", "[previous_result.error.name, results.f.error.name, error.name]"),
        failure_module=const("failure", "ran") if failing["value"]["type"] != "branchone" else None,
    )
    assert job["success"], job["result"]
    assert len(set(job["result"]["x"])) == 1
    assert job["result"]["x"][0] in ("Trouble", "ExecutionErr")
    assert types_of(job) == {"f": "Failure", "after": "Success"}


async def test_a_forgiven_failure_of_the_last_step(flows: Flows) -> None:
    """The flow succeeds with the error object. (Windmill before 2026: failed.)"""
    job = await flows.run(ident("a"), fails("b", continue_on_error=True))
    assert (job["status"], job["result"]["error"]["message"]) == ("success", "boom")


async def test_a_forgiven_failure_in_a_loop_does_not_fail_its_iteration(flows: Flows) -> None:
    """The iteration goes on."""
    assert await flows.result(forloop("l", [1, 2], fails("a", continue_on_error=True), const("b", "ok"))) == [
        "ok",
        "ok",
    ]


async def test_retries_come_before_forgiveness(flows: Flows) -> None:
    """A step that succeeds at last was never a failure."""
    seen: list[int] = []

    def second_time(args: dict[str, Any]) -> str:
        seen.append(1)
        assert len(seen) > 1, "not yet"
        return "done"

    flows.functions["second_time"] = second_time
    again = {"constant": {"attempts": 1, "seconds": 0}}
    job = await flows.run(call("a", "second_time", retry=again, continue_on_error=True))
    assert (job["result"], types_of(job)) == ("done", {"a": "Success"})
