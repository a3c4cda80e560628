"""Loops (docs/openflow.md sections 1.4 and 1.5, and the early stops of 1.9)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.running import (
    Flows,
    call,
    const,
    echo,
    fails,
    forloop,
    ident,
    js,
    modules_of,
    script,
    static,
    stop,
    types_of,
    whileloop,
)

pytestmark = pytest.mark.anyio

ITEM = echo("x", "flow_input.iter.value")
FAIL_AT_1: dict[str, Any] = call("x", "fail_at_1", args={"at": "flow_input.iter.index"})


def fail_at_1(args: dict[str, Any]) -> Any:
    """Gives its argument `at`, but fails at 1."""
    if args["at"] == 1:
        raise ValueError("one")
    return args["at"]


@pytest.fixture(autouse=True)
def _functions(flows: Flows) -> None:
    flows.functions["fail_at_1"] = fail_at_1


SHAPES = [
    pytest.param({}, id="in turn"),
    pytest.param({"parallel": True}, id="parallel"),
    pytest.param({"parallel": True, "parallelism": 2}, id="two at once"),
    pytest.param({"parallel": True, "parallelism": js("flow_input.k")}, id="computed parallelism"),
    pytest.param({"parallelism": 2}, id="parallelism without parallel"),
]


@pytest.mark.parametrize("shape", SHAPES)
async def test_results_are_in_iterator_order(flows: Flows, shape: dict[str, Any]) -> None:
    """Each iteration's result is its last step's, whatever ends first."""
    flows.functions["give"] = lambda args: args["i"]
    body = (
        script("s", {"sleep": 0.01}, {"result": None}),
        call("x", "give", args={"i": "flow_input.iter.value * 10"}),
    )
    assert await flows.result(forloop("l", [3, 1, 2], *body, **shape), args={"k": 1}) == [30, 10, 20]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("items", [[], [1]])
async def test_a_loop_of_nothing_is_empty_and_the_flow_goes_on(
    flows: Flows, shape: dict[str, Any], items: list[int]
) -> None:
    """No items, or no modules: `[]`."""
    body = [] if items else [fails("x")]
    job = await flows.run(forloop("l", items, *body, **shape), echo("after", "results.l"), args={"k": 1})
    assert (job["result"], types_of(job)["l"]) == ({"x": []}, "Success")


@pytest.mark.parametrize(
    ("iterator", "items"),
    [
        ("[1, 'a', null, {b: 2}]", [1, "a", None, {"b": 2}]),
        ("Array(3)", [None, None, None]),
        ("flow_input.list", [7, 8]),
        ("result.list", [7, 8]),
    ],
)
async def test_an_iterator_gives_the_items(flows: Flows, iterator: str, items: list[Any]) -> None:
    """Holes are nulls; `result` is the previous result."""
    assert await flows.result(forloop("l", iterator, ITEM), args={"list": [7, 8]}) == [
        {"x": v} for v in items
    ]


@pytest.mark.parametrize("found", [static({"a": 1}), js("5"), js("undefined"), static("text")])
async def test_an_iterator_that_is_no_array_fails_the_module(flows: Flows, found: dict[str, Any]) -> None:
    """It is an ordinary failure of the module, named so."""
    loop = forloop("l", [], ITEM)
    loop["value"]["iterator"] = found
    error = await flows.error(loop)
    assert error["message"].startswith("Expected an array value in the iterator expression, found: ")
    assert (error["name"], error["reason"], error["step_id"]) == ("ExecutionErr", "bad_input", "l")


async def test_iterations_see_their_item_and_the_flows_input(flows: Flows) -> None:
    """`iter` is added to the outer args, which stay."""
    body = echo("x", "[flow_input.a, flow_input.iter]")
    assert await flows.result(forloop("l", ["p", "q"], body), args={"a": 1}) == [
        {"x": [1, {"index": 0, "value": "p"}]},
        {"x": [1, {"index": 1, "value": "q"}]},
    ]


@pytest.mark.parametrize("parallel", [False, True])
async def test_outer_iterators_have_longer_names(flows: Flows, parallel: bool) -> None:
    """`iter_parent` is the loop around, `iter_parent_parent` the one around that; one that ended is gone."""
    inmost = forloop(
        "c",
        [5],
        echo(
            "x",
            "[flow_input.iter.value, flow_input.iter_parent.value, flow_input.iter_parent_parent.value,"
            " flow_input.iter_parent_parent_parent]",
        ),
        parallel=parallel,
    )
    after = echo("y", "[flow_input.iter.value, flow_input.iter_parent.value, flow_input.iter_parent_parent]")
    outer = forloop("a", [1, 2], forloop("b", [3], inmost, after, parallel=parallel), parallel=parallel)
    gather = echo("z", "results.a")
    assert await flows.result(outer, gather) == {"x": [[{"x": [3, 1, None]}], [{"x": [3, 2, None]}]]}
    bare = forloop("a", [1], forloop("b", [3], inmost, parallel=parallel), parallel=parallel)
    assert await flows.result(bare) == [[[{"x": [5, 3, 1, None]}]]]


@pytest.mark.parametrize(
    ("shape", "ok", "length", "ran"),
    [
        ({}, False, 2, 2),
        ({"skip_failures": True}, True, 3, 3),
        ({"parallel": True}, False, 3, 3),
        ({"parallel": True, "skip_failures": True}, True, 3, 3),
        ({"parallel": True, "parallelism": 1}, False, 3, 3),
    ],
)
async def test_a_failed_iteration(
    flows: Flows, shape: dict[str, Any], ok: bool, length: int, ran: int
) -> None:
    """In turn it ends the loop, its element included; side by side all run. `skip_failures` forgives."""
    job = await flows.run(forloop("l", [0, 1, 2], FAIL_AT_1, **shape))
    assert job["success"] is ok
    assert len(job["result"]) == length
    assert job["result"][0] == 0
    assert job["result"][1]["error"]["message"] == "one"
    assert types_of(job) == {"l": "Success" if ok else "Failure"}
    assert (await flows.runs_of(job))["x"] == ran
    shown = modules_of(job)["l"]
    assert shown["flow_jobs_success"] == [True, False, True][:length]
    assert len(shown["flow_jobs"]) == length


async def test_a_while_loop_goes_on_until_its_predicate_holds(flows: Flows) -> None:
    """`iter.value` equals `iter.index`; `all_iters` are the results so far."""
    loop = whileloop("w", echo("x", "flow_input.iter"), stop_after_if=stop("all_iters.length == 3"))
    assert await flows.result(loop) == [{"x": {"index": i, "value": i}} for i in range(3)]


async def test_a_while_loop_that_fails_gives_the_bare_error(flows: Flows) -> None:
    """Not an array; with `skip_failures` it goes on."""
    broken = whileloop("w", FAIL_AT_1, stop_after_if=stop("result == 2"))
    assert (await flows.error(broken))["message"] == "one"
    going_on = whileloop("w", FAIL_AT_1, stop_after_if=stop("result == 2"), skip_failures=True)
    result = await flows.result(going_on)
    assert (result[0], result[1]["error"]["message"], result[2]) == (0, "one", 2)


@pytest.mark.parametrize("kind", ["for", "while"])
@pytest.mark.parametrize("skip", [False, True])
async def test_a_loops_own_stop_breaks_it_and_the_flow_goes_on(flows: Flows, kind: str, skip: bool) -> None:
    """The breaking iteration's result is the last; `error_message` and `skip_if_stopped` mean nothing."""
    condition = stop("result.x == 1", error_message="ignored", skip_if_stopped=skip)
    body = echo("x", "flow_input.iter.index")
    loop = (
        forloop("l", [0, 0, 0], body, stop_after_if=condition)
        if kind == "for"
        else whileloop("l", body, stop_after_if=condition)
    )
    job = await flows.run(loop, echo("after", "results.l"))
    assert job["result"] == {"x": [{"x": 0}, {"x": 1}]}
    assert (job["status"], types_of(job)["l"]) == ("success", "Success")


@pytest.mark.parametrize("kind", ["for", "while"])
async def test_a_stop_inside_the_body_breaks_the_innermost_loop_only(flows: Flows, kind: str) -> None:
    """The stopping step's result is the iteration's; later steps of it do not run."""
    body = (
        echo("x", "flow_input.iter.index", stop_after_if=stop("result.x == 1", skip_if_stopped=True)),
        echo("y", "'end'"),
    )
    inner = forloop("i", [0, 0, 0], *body) if kind == "for" else whileloop("i", *body)
    job = await flows.run(forloop("o", [0, 0], inner), ident("after"))
    assert job["result"] == [[{"x": "end"}, {"x": 1}]] * 2
    assert job["status"] == "success"


async def test_a_stop_inside_a_parallel_loop_ends_that_iteration_only(flows: Flows) -> None:
    """(Windmill before 2026 could end the outer flow.)"""
    first = echo("x", "flow_input.iter.index", stop_after_if=stop("result.x == 1"))
    loop = forloop("l", [0, 0, 0], first, echo("y", "'end'"), parallel=True)
    assert await flows.result(loop, echo("after", "results.l")) == {
        "x": [{"x": "end"}, {"x": 1}, {"x": "end"}]
    }


async def test_a_parallel_loop_has_no_stop_per_iteration(flows: Flows) -> None:
    """`stop_after_if` on it is not evaluated."""
    loop = forloop("l", [0, 1], ITEM, parallel=True, stop_after_if=stop("true"))
    assert await flows.result(loop, const("after", "went on")) == "went on"


@pytest.mark.parametrize("shape", [{}, {"parallel": True}])
@pytest.mark.parametrize("skip", [False, True])
async def test_stop_after_all_iterations_ends_the_flow_with_the_array(
    flows: Flows, shape: dict[str, Any], skip: bool
) -> None:
    """`result` is the whole array."""
    condition = stop("result.length == 2", skip_if_stopped=skip)
    loop = forloop("l", [1, 2], ITEM, stop_after_all_iters_if=condition, **shape)
    job = await flows.run(loop, fails("never"))
    assert job["result"] == [{"x": 1}, {"x": 2}]
    assert (job["status"], job["is_skipped"]) == (("skipped", True) if skip else ("success", False))
    assert types_of(job) == {"l": "Success", "never": "WaitingForPriorSteps"}


async def test_stop_after_all_iterations_with_a_message_is_a_failure(flows: Flows) -> None:
    """Empty, the message is the expression's."""
    loop = forloop("l", [1], ITEM, stop_after_all_iters_if=stop("true", error_message=""))
    error = await flows.error(loop, fails("never"))
    assert (error["name"], error["message"]) == ("EarlyStopError", "stop after if: true")


async def test_no_more_than_parallelism_run_at_once(flows: Flows) -> None:
    """500 iterations, 20 at once, on a service that runs four scripts at once; each starts the next."""
    seen: list[int] = []
    statuses = flows.service.context.desk.flow_statuses

    def watch(args: dict[str, Any]) -> Any:
        (loop,) = (m for status in statuses.values() for m in status.modules if m.id == "l")  # type: ignore[attr-defined]
        seen.append(len(loop.children) - len(loop.successes))
        return args["i"]

    flows.functions["watch"] = watch
    body = call("x", "watch", args={"i": "flow_input.iter.value"})
    loop = forloop("l", "Array.from({length: 500}, (_, i) => i)", body, parallel=True, parallelism=20)
    job = await flows.run(loop, timeout_s=120)
    assert job["result"] == list(range(500))
    assert 15 < max(seen) <= 20
