"""Which names and results expressions see (docs/openflow.md sections 2.3 and 2.4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.running import (
    Flows,
    Module,
    branchall,
    branchone,
    const,
    echo,
    forloop,
    ident,
    js,
    script,
    stop,
    whileloop,
)

pytestmark = pytest.mark.anyio

ENV = {"KEY": "value", "with space": "s"}


def names(**exprs: str) -> Module:
    """A last step that gives the values of expressions."""
    return script("names", {"echo": True}, args=exprs)


async def test_what_a_transform_sees(flows: Flows) -> None:
    """Section 2.3, first row."""
    step = names(
        input="flow_input.i",
        result="results.a",
        before="previous_result",
        prev="results.b",
        resume="resume",
        resumes="resumes",
        approvers="approvers",
        params="params",
        env="flow_env.KEY + flow_env['with space']",
        error="error",
        unknown="results.nobody",
        keys="Object.keys(results).sort()",
    )
    found = await flows.result(const("a", 1), const("b", 2), step, args={"i": 5}, flow_env=ENV)
    assert found == {
        "input": 5,
        "result": 1,
        "before": 2,
        "prev": 2,
        "resume": None,
        "resumes": [],
        "approvers": [],
        "params": {},
        "env": "values",
        "error": None,
        "unknown": None,
        "keys": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("place", "expr"),
    [
        ("input", "result"),
        ("input", "started_at"),
        ("input", "all_iters"),
        ("iterator", "params"),
        ("stop", "error"),
        ("stop", "resume"),
        ("sleep", "results"),
        ("skip", "params"),
    ],
)
async def test_other_names_are_unknown(flows: Flows, place: str, expr: str) -> None:
    """A ReferenceError, as in JavaScript."""
    text = f"typeof {expr} == 'undefined' && {expr}"
    module: Module = {
        "input": script("m", {"result": 1}, args={"x": text}),
        "iterator": forloop("m", text),
        "stop": const("m", 1, stop_after_if=stop(text)),
        "sleep": const("m", 1, sleep=js(text)),
        "skip": ident("m", skip_if={"expr": text}),
    }[place]
    error = await flows.error(module)
    assert "ReferenceError" in error["message"]


async def test_what_stops_see(flows: Flows) -> None:
    """The step's own result as `result`, `previous_result` and by its id of earlier steps."""
    expr = "result == 2 && previous_result == 2 && results.a == 1 && flow_input.i == 5 && flow_env.KEY"
    job = await flows.run(
        const("a", 1), const("b", 2, stop_after_if=stop(expr)), ident("c"), args={"i": 5}, flow_env=ENV
    )
    assert job["flow_status"]["modules"][2]["type"] == "WaitingForPriorSteps"


async def test_the_first_step_of_a_flow_sees_its_input_as_previous_result(flows: Flows) -> None:
    """So does the first step of a body: its own flow's, not the step before the module."""
    seen = "[previous_result, flow_input]"
    assert await flows.result(echo("a", seen), args={"i": 1}) == {"x": [{"i": 1}, {"i": 1}]}
    item = {"i": 1, "iter": {"index": 0, "value": "v"}}
    found = await flows.result(const("p", 9), forloop("l", ["v"], echo("a", seen)), args={"i": 1})
    assert found == [{"x": [item, item]}]
    found = await flows.result(const("p", 9), branchall("b", [echo("a", seen)]), args={"i": 1})
    assert found == [{"x": [{"i": 1}, {"i": 1}]}]
    assert await flows.result(const("p", 9), forloop("l", ["v"], ident("a")), args={"i": 1}) == [item]


@pytest.mark.parametrize(
    "expr", ["results.p", "results?.p", "results['p']", 'results["p"]', "previous_result"]
)
async def test_results_of_the_module_before_are_the_previous_result(flows: Flows, expr: str) -> None:
    """In every form."""
    assert await flows.result(const("p", {"v": 4}), echo("x", f"({expr}).v")) == {"x": 4}
    assert await flows.result(const("p", {"v": 4}), echo("x", expr)) == {"x": {"v": 4}}


async def test_inside_sees_outside(flows: Flows) -> None:
    """However deep, parallel or not."""
    deep = forloop("i", [1], branchone("j", ("true", [echo("x", "results.a")])), parallel=True)
    found = await flows.result(const("a", "out"), branchall("b", [forloop("l", [1], deep)]))
    assert found == [[[{"x": "out"}]]]


@pytest.mark.parametrize(
    ("outer", "seen"),
    [
        (branchone("o", ("true", [const("in", 1), const("in2", 2)])), 1),
        (branchall("o", [const("in", 1)], [const("other", 2)]), 1),
        (branchall("o", [const("in", 1)], parallel=False), 1),
        (forloop("o", [7, 8], echo("in", "flow_input.iter.value")), {"x": 8}),
        (whileloop("o", const("in", 1), stop_after_if=stop("true")), 1),
        (forloop("o", [7, 8], const("in", 1), parallel=True), None),
        (forloop("o", [7], forloop("p", [1], const("in", 1), parallel=True)), None),
        (branchone("o", ("false", [const("in", 1)])), None),
    ],
    ids=["one", "all", "all in turn", "loop", "while", "parallel", "parallel inside", "not run"],
)
async def test_outside_sees_inside(flows: Flows, outer: Module, seen: Any) -> None:
    """Of branches and loops in turn, the last iteration's; of parallel iterations nothing."""
    assert await flows.result(outer, ident("gap"), echo("x", "results.in")) == {"x": seen}


async def test_parallel_iterations_do_not_see_each_other(flows: Flows) -> None:
    """Each has its own results."""
    body = (echo("a", "flow_input.iter.value"), ident("gap"), echo("b", "results.a"))
    found = await flows.result(forloop("l", [1, 2, 3], *body, parallel=True))
    assert found == [{"x": {"x": 1}}, {"x": {"x": 2}}, {"x": {"x": 3}}]


async def test_an_iteration_sees_the_one_before(flows: Flows) -> None:
    """In turn they share the results."""
    loop = forloop("l", [1, 2, 3], echo("a", "(results.a?.x ?? 0) + flow_input.iter.value"), ident("b"))
    assert await flows.result(loop) == [{"x": 1}, {"x": 3}, {"x": 6}]


async def test_ids_of_modules_with_bodies(flows: Flows) -> None:
    """A loop's or branchall's is its array, a branchone's the chosen branch's result."""
    found = await flows.result(
        forloop("l", [1, 2], const("a", "i")),
        branchall("b", [const("c", 1)], [const("d", 2)]),
        branchone("o", ("true", [const("e", 3)])),
        whileloop("w", const("f", 4), stop_after_if=stop("true")),
        ident("gap"),
        names(l="results.l", b="results.b", o="results.o", w="results.w"),
    )
    assert found == {"l": ["i", "i"], "b": [1, 2], "o": 3, "w": [4]}


async def test_the_same_id_again_overwrites(flows: Flows) -> None:
    """Within one root."""
    found = await flows.result(
        const("a", 1), branchone("o", ("true", [const("a", 2)])), ident("gap"), echo("x", "results.a")
    )
    assert found == {"x": 2}
