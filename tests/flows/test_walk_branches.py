"""Branches (docs/openflow.md sections 1.6 and 1.7, and how early stops leave them)."""

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
    modules_of,
    stop,
    types_of,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("n", "result", "chosen"),
    [
        (0, "default", {"type": "default"}),
        (1, "one", {"type": "branch", "branch": 0}),
        (2, "two", {"type": "branch", "branch": 1}),
    ],
)
async def test_the_first_true_branch_is_taken(flows: Flows, n: int, result: str, chosen: Any) -> None:
    """Predicates are true as JavaScript's Boolean has it; later ones are not looked at."""
    job = await flows.run(
        branchone(
            "b",
            ("flow_input.n == 1", [const("p", "one")]),
            ("flow_input.n", [const("q", "two")]),
            ("nonsense.if.evaluated", [fails("r")]) if n else ("''", [fails("r")]),
            default=[const("s", "default")],
        ),
        args={"n": n},
    )
    assert job["result"] == result
    assert modules_of(job)["b"]["branch_chosen"] == chosen


@pytest.mark.parametrize("default", [True, False])
async def test_an_empty_branch_gives_the_previous_result(flows: Flows, default: bool) -> None:
    """In front of everything, the flow's input."""
    empty = branchone("b", ("false" if default else "true", [fails("x")] if default else []))
    assert await flows.result(empty, args={"a": 1}) == {"a": 1}
    assert await flows.result(const("p", 5), empty, echo("after", "results.b")) == {"x": 5}


async def test_predicates_see_the_previous_result(flows: Flows) -> None:
    """As `result` and `previous_result`; inside the body they are the flow's input."""
    taken = branchone(
        "b",
        ("result.ok && previous_result.ok && results.a.ok", [echo("x", "[previous_result, flow_input]")]),
    )
    assert await flows.result(const("a", {"ok": 1}), taken, args={"i": 2}) == {"x": [{"i": 2}, {"i": 2}]}


@pytest.mark.parametrize("parallel", [True, False])
async def test_all_branches_run_and_their_results_are_in_order(flows: Flows, parallel: bool) -> None:
    """An empty one gives the flow's input; no branches give `[]`."""
    bodies: list[Any] = [[const("x", 1)], [], [const("y", 2), ident("z")]]
    all_of = branchall("b", *bodies, parallel=parallel)
    assert await flows.result(all_of, args={"i": 0}) == [1, {"i": 0}, 2]
    assert await flows.result(branchall("b", parallel=parallel), echo("after", "results.b")) == {"x": []}


@pytest.mark.parametrize(
    ("parallel", "skip", "ok", "length"),
    [(True, (), False, 3), (True, (1,), True, 3), (False, (), False, 2), (False, (1,), True, 3)],
)
async def test_a_failed_branch(
    flows: Flows, parallel: bool, skip: tuple[int, ...], ok: bool, length: int
) -> None:
    """Its error object is its element; without `skip_failure` the module fails, in turn at once."""
    bodies = [[const("x", 1)], [fails("y")], [const("z", 3)]]
    job = await flows.run(branchall("b", *bodies, parallel=parallel, skip=skip))
    assert (job["success"], len(job["result"])) == (ok, length)
    assert job["result"][1]["error"]["message"] == "boom"
    assert types_of(job) == {"b": "Success" if ok else "Failure"}
    assert modules_of(job)["b"]["flow_jobs_success"] == [True, False, True][:length]


async def test_a_branchall_is_parallel_unless_it_says_otherwise(flows: Flows) -> None:
    """And a branch's own `parallel` is ignored."""
    one = {"modules": [const("x", 1)], "parallel": False, "expr": "false"}
    job = await flows.run({"id": "b", "value": {"type": "branchall", "branches": [one]}})
    assert (job["result"], modules_of(job)["b"]["parallel"]) == ([1], True)


STOPPING = const("s", "stopped", stop_after_if=stop("true"))


@pytest.mark.parametrize("skip", [False, True])
async def test_a_stop_leaves_branchones_and_branchalls_in_turn(flows: Flows, skip: bool) -> None:
    """The outer flow ends too, with the module's result, however deep it is."""
    condition = stop("true", skip_if_stopped=skip)
    deep = const("s", "stopped", stop_after_if=condition)
    job = await flows.run(
        branchone("o", ("true", [branchone("i", ("true", [deep, fails("never")])), fails("nor")])),
        fails("last"),
    )
    assert (job["result"], job["is_skipped"], job["success"]) == ("stopped", skip, True)
    in_turn = branchall("a", [const("x", 1)], [deep], [fails("never")], parallel=False)
    job = await flows.run(in_turn, fails("last"))
    assert (job["result"], job["is_skipped"]) == ([1, "stopped"], skip)


async def test_a_stop_inside_a_parallel_branchall_stays_there(flows: Flows) -> None:
    """It ends its own branch only."""
    aside = branchall("a", [STOPPING, fails("never")], [const("x", 2)])
    assert await flows.result(aside, echo("after", "results.a")) == {"x": ["stopped", 2]}


async def test_a_stop_in_a_branch_of_a_loop_breaks_the_loop(flows: Flows) -> None:
    """It bubbles through the branch and ends at the innermost loop."""
    body = [
        branchone("b", ("flow_input.iter.index == 1", [STOPPING]), default=[const("d", 0)]),
        const("e", 9),
    ]
    assert await flows.result(forloop("l", [1, 2, 3], *body), echo("after", "results.l")) == {
        "x": [9, "stopped"]
    }


async def test_stop_after_if_on_a_branchone_looks_at_its_result(flows: Flows) -> None:
    """On a branchall it is not evaluated; `stop_after_all_iters_if` is."""
    one = branchone("b", ("true", [const("x", 5)]), stop_after_if=stop("result == 5"))
    assert await flows.result(one, fails("never")) == 5
    ignored = branchall("b", [const("x", 5)], stop_after_if=stop("true"))
    assert await flows.result(ignored, const("after", "went on")) == "went on"
    stopped = branchall("b", [const("x", 5)], stop_after_all_iters_if=stop("result[0] == 5"))
    assert await flows.result(stopped, fails("never")) == [5]
