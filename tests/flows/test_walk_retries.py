"""Retries (docs/openflow.md section 1.9)."""

from __future__ import annotations

from typing import Any

import pytest

from executor.flows.document.parts import Retry
from executor.flows.retries import WAIT_S_MAX, wait_s
from tests.flows.running import (
    Flows,
    branchone,
    call,
    const,
    echo,
    fails,
    forloop,
    modules_of,
    retry,
    script,
    types_of,
)

pytestmark = pytest.mark.anyio


class Flaky:
    """A script that fails the first `failures` times, and keeps the args of each run."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.runs: list[dict[str, Any]] = []

    def __call__(self, args: dict[str, Any]) -> Any:
        self.runs.append(args)
        if len(self.runs) <= self.failures:
            raise RuntimeError(f"failure {len(self.runs)}")
        return f"run {len(self.runs)}"


async def test_a_step_is_tried_again_until_it_succeeds(flows: Flows) -> None:
    """Each try is a job; those that failed are listed."""
    flaky = flows.functions["flaky"] = Flaky(2)
    job = await flows.run(call("a", "flaky", retry=retry(5)))
    assert (job["result"], len(flaky.runs)) == ("run 3", 3)
    shown = modules_of(job)["a"]
    assert len(shown["failed_retries"]) == 2
    assert shown["job"] not in shown["failed_retries"]
    assert [done["success"] for done in await flows.jobs(job)] == [False, False, True]


async def test_after_the_last_attempt_the_failure_stands(flows: Flows) -> None:
    """Runs in total: attempts + 1."""
    flaky = flows.functions["flaky"] = Flaky(9)
    job = await flows.run(call("a", "flaky", retry=retry(2)))
    assert (job["result"]["error"]["message"], len(flaky.runs)) == ("failure 3", 3)
    assert types_of(job) == {"a": "Failure"}
    assert len(modules_of(job)["a"]["failed_retries"]) == 2


async def test_constant_attempts_come_before_exponential_ones(flows: Flows) -> None:
    """One policy may have both."""
    flaky = flows.functions["flaky"] = Flaky(9)
    both = {"constant": {"attempts": 1, "seconds": 0}, "exponential": {"attempts": 2, "seconds": 0.1}}
    await flows.error(call("a", "flaky", retry=both))
    assert len(flaky.runs) == 4


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({"constant": {"attempts": 2, "seconds": 7}}, [7, 7, None]),
        ({"exponential": {"attempts": 3, "multiplier": 2, "seconds": 3}}, [6, 18, 54, None]),
        ({"exponential": {"attempts": 2}}, [0, 0, None]),
        (
            {"constant": {"attempts": 1, "seconds": 5}, "exponential": {"attempts": 2, "seconds": 3}},
            [5, 9, 27, None],
        ),
        ({"constant": {"attempts": 1, "seconds": 1e6}}, [WAIT_S_MAX, None]),
        ({"exponential": {"attempts": 1, "multiplier": 1e6, "seconds": 1e6}}, [WAIT_S_MAX, None]),
        ({}, [None]),
    ],
)
async def test_waits(policy: dict[str, Any], waits: list[float | None]) -> None:
    """`multiplier * seconds^(n+1)`, n counting the constant retries too; never over six hours."""
    found = Retry.model_validate(policy)
    assert [wait_s(found, n, 0.5) for n in range(len(waits))] == waits


async def test_jitter_is_within_its_percentage() -> None:
    """From minus to plus `random_factor` percent."""
    found = Retry.model_validate({"exponential": {"attempts": 1, "seconds": 10, "random_factor": 20}})
    assert [wait_s(found, 0, random) for random in (0.0, 0.5, 1.0)] == [8.0, 10.0, 12.0]


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        ("error.message == 'failure 1'", 2),
        ("result.error.message == 'failure 1' && previous_result.error && flow_input.yes", 2),
        ("false", 1),
        ("nonsense.at.all", 1),
        ("results", 1),
    ],
)
async def test_a_condition_on_retries(flows: Flows, when: str, runs: int) -> None:
    """It sees the failure and the input; one that fails counts as false."""
    flaky = flows.functions["flaky"] = Flaky(9)
    await flows.error(call("a", "flaky", retry=retry(5, when=when)), args={"yes": True})
    assert len(flaky.runs) == runs


async def test_a_retried_step_has_the_args_of_its_first_run(flows: Flows) -> None:
    """They are evaluated once, and `previous_result` stays what it was."""
    flaky = flows.functions["flaky"] = Flaky(2)
    args = {"random": "Math.random()", "before": "previous_result"}
    await flows.result(const("p", 1), call("a", "flaky", args=args, retry=retry(2)))
    assert flaky.runs[0] == flaky.runs[1] == flaky.runs[2]
    assert flaky.runs[0]["before"] == 1


async def test_a_retried_loop_begins_at_its_first_iteration(flows: Flows) -> None:
    """Its iterator is evaluated again; the status shows the last attempt's iterations."""
    flaky = flows.functions["flaky"] = Flaky(2)
    body = call("x", "flaky", args={"i": "flow_input.iter.index", "v": "flow_input.iter.value"})
    job = await flows.run(forloop("l", "[Math.random(), 1]", body, retry=retry(2)))
    assert [run["i"] for run in flaky.runs] == [0, 0, 0, 1]
    assert len({run["v"] for run in flaky.runs[:3]}) == 3
    assert job["result"] == ["run 3", "run 4"]
    shown = modules_of(job)["l"]
    assert (len(shown["flow_jobs"]), shown["flow_jobs_success"]) == (2, [True, True])
    assert len(shown["failed_retries"]) == 2


async def test_an_earlier_attempt_leaves_nothing_in_the_status(flows: Flows) -> None:
    """A later attempt that gets less far shows only its own iterations."""
    runs: list[int] = []

    def third_and_later(args: dict[str, Any]) -> None:
        runs.append(1)
        assert len(runs) < 3, "no more"

    flows.functions["two_runs"] = third_and_later
    job = await flows.run(forloop("l", [1, 2, 3], call("x", "two_runs"), retry=retry(1)))
    assert len(runs) == 4
    shown = modules_of(job)["l"]
    assert (len(shown["flow_jobs"]), shown["flow_jobs_success"]) == (1, [False])


async def test_branches_are_retried_as_a_whole(flows: Flows) -> None:
    """A step's own retries come first."""
    flaky = flows.functions["flaky"] = Flaky(3)
    inner = call("x", "flaky", retry=retry(1))
    job = await flows.run(branchone("b", ("true", [const("s", 1), inner]), retry=retry(1)))
    assert (job["result"], len(flaky.runs)) == ("run 4", 4)
    assert (await flows.runs_of(job))["s"] == 2


async def test_a_failure_module_is_retried(flows: Flows) -> None:
    """By its own policy."""
    flows.functions["flaky"] = Flaky(1)
    job = await flows.run(fails("a"), failure_module=call("failure", "flaky", retry=retry(1)))
    assert (job["success"], job["result"]) == (False, "run 2")


async def test_expressions_that_fail_are_retried(flows: Flows) -> None:
    """They are ordinary failures of their module."""
    for module in (
        script("a", {"result": 1}, args={"x": "nonsense.x"}),
        forloop("a", "nonsense.x"),
        branchone("a", ("nonsense.x", [])),
        const("a", 1, stop_after_if={"expr": "nonsense.x"}),
    ):
        job = await flows.run({**module, "retry": retry(2)})
        assert job["result"]["error"]["reason"] == "bad_input"
        assert job["flow_status"]["retry"]["fail_count"] in (0, 2)


async def test_a_timeout_is_retried(flows: Flows) -> None:
    """As any failure of a script."""
    job = await flows.run(script("a", {"stopped": "timeout"}, retry=retry(1)))
    assert job["result"]["error"]["reason"] == "timeout"
    assert (await flows.runs_of(job))["a"] == 2


async def test_a_success_resets_the_counter(flows: Flows) -> None:
    """Each step has its own attempts."""
    flows.functions["one"], flows.functions["two"] = Flaky(2), Flaky(2)
    job = await flows.run(call("a", "one", retry=retry(2)), call("b", "two", retry=retry(2)), echo("c", "1"))
    assert job["success"]
    assert job["flow_status"]["retry"]["fail_count"] == 0
