"""Runs that begin where an earlier one has been (docs/openflow.md section 3.5)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.flows.running import (
    Flows,
    branchall,
    branchone,
    call,
    const,
    counted,
    counting,
    echo,
    fails,
    forloop,
    ident,
    inner,
    modules_of,
    script,
    types_of,
)

pytestmark = pytest.mark.anyio


async def restarted(flows: Flows, run: str, step: str, n: int | None = None) -> dict[str, Any]:
    """Restart a run by the route; the new run's job once it has ended."""
    path = f"/api/w/main/jobs/restart/f/{run}/from/{step}" + ("" if n is None else f"/{n}")
    response = await flows.service.http.post(path)
    assert response.status_code == 201, response.text
    return await flows.service.ended(response.text)


async def test_a_restart_takes_over_what_came_before(flows: Flows) -> None:
    """With the old results by id, and the same input."""
    runs = counting(flows)
    job = await flows.run(
        counted("a", "Math.random()"),
        forloop("l", [1, 2], counted("i", "Math.random()")),
        branchone("o", ("false", [fails("x")])),
        branchone("p", ("true", [counted("q", "Math.random()")])),
        branchall("all", [counted("r", "1")]),
        counted("c", "[results.a, results.l, results.o, results.p, results.all, flow_input.i]"),
        echo("d", "results.c"),
        args={"i": 5},
    )
    again = await restarted(flows, job["id"], "c")
    assert again["result"] == job["result"]
    assert again["args"] == {"i": 5}
    assert runs == {"a": 1, "i": 2, "q": 1, "r": 1, "c": 2}
    assert types_of(again) == types_of(job)
    assert again["flow_status"]["restarted_from"]["flow_job_id"] == job["id"]
    assert modules_of(again)["l"]["flow_jobs"] == modules_of(job)["l"]["flow_jobs"]
    assert (await restarted(flows, again["id"], "c"))["result"] == job["result"], "a restart of a restart"


async def test_a_restart_sees_the_steps_inside_what_it_took_over(flows: Flows) -> None:
    """As later steps do: of branches and loops in turn, not of parallel loops and inner flows."""
    path = f"f/inside/x{uuid4().hex}"
    await flows.store(path, const("in_flow", 1))
    counting(flows)
    seen = "[" + ", ".join(f"results.{id}" for id in ("q", "i", "nested", "side", "in_flow", "r", "o")) + "]"
    job = await flows.run(
        branchone("o", ("true", [counted("q", "Math.random()"), branchone("p", ("true", [const("n", 4)]))])),
        forloop("l", [1, 2], counted("i", "Math.random()"), forloop("nested", [1], const("m", 5))),
        forloop("f", [1], const("side", 3), parallel=True),
        inner("k", path),
        branchall("all", [const("r", ["x" * 20_000])]),
        echo("c", seen),
        echo("d", seen),
    )
    assert job["result"]["x"][2:6] == [[5], None, None, ["x" * 20_000]]
    again = await restarted(flows, job["id"], "c")
    assert again["result"] == job["result"]
    third = await restarted(flows, again["id"], "d")
    assert third["result"] == job["result"]


async def test_a_restarted_loop_sees_the_iterations_before(flows: Flows) -> None:
    """The steps of those that it took over."""
    loop = forloop("l", [1, 2, 3], echo("a", "(results.a?.x ?? 0) + flow_input.iter.value"), ident("b"))
    job = await flows.run(loop)
    assert (await restarted(flows, job["id"], "l", 2))["result"] == [{"x": 1}, {"x": 3}, {"x": 6}]
    assert (await restarted(flows, job["id"], "l", 1))["result"] == [{"x": 1}, {"x": 3}, {"x": 6}]


async def test_a_restart_runs_whatever_is_kept(flows: Flows) -> None:
    """It is asked for because it is to run; its result does not stand for that of a whole run."""
    runs = counting(flows)
    modules = (counted("a"), counted("b", "Math.random()"))
    job = await flows.run(*modules, cache_ttl=60, path="f/cached/restarted")
    again = await restarted(flows, job["id"], "b")
    assert (runs, again["result"] != job["result"]) == ({"a": 1, "b": 2}, True)
    assert (await flows.run(*modules, cache_ttl=60, path="f/cached/restarted"))["result"] == job["result"]


async def test_a_restart_counts_for_the_flows_limit(flows: Flows) -> None:
    """As every other run of it."""
    job = await flows.run(
        script("a", {"sleep": 0.4}, {"result": 1}), concurrent_limit=1, path="f/limited/again"
    )
    posted = [await flows.post(f"jobs/restart/f/{job['id']}/from/a") for _ in range(2)]
    first, second = sorted(
        [await flows.service.ended(run) for run in posted], key=lambda run: run["started_at"]
    )
    assert second["started_at"] >= first["completed_at"]


async def test_a_restart_after_a_failed_preprocessor_preprocesses(flows: Flows) -> None:
    """The input is still the raw one then; after one that succeeded it is not."""
    tries: list[Any] = []

    def second_time(args: dict[str, Any]) -> Any:
        tries.append(args["a"])
        assert len(tries) > 1, "not yet"
        return {"a": args["a"] * 10}

    flows.functions["pre"] = second_time
    preprocessor = call("preprocessor", "pre")
    job = await flows.run(echo("x", "flow_input.a"), args={"a": 1}, preprocessor_module=preprocessor)
    assert not job["success"]
    again = await restarted(flows, job["id"], "x")
    assert (again["result"], again["preprocessed"]) == ({"x": 10}, True)
    third = await restarted(flows, again["id"], "x")
    assert (third["result"], third["preprocessed"], tries) == ({"x": 10}, True, [1, 1])


@pytest.mark.parametrize("kind", ["loop", "branchall"])
async def test_a_restart_within_a_module(flows: Flows, kind: str) -> None:
    """Iterations or branches before number n keep their old results."""
    runs = counting(flows)
    value = "Math.random()"
    module = (
        forloop("m", [1, 2, 3], counted("i", value))
        if kind == "loop"
        else branchall("m", *[[counted("i", value)] for _ in range(3)], parallel=False)
    )
    job = await flows.run(counted("a"), module)
    again = await restarted(flows, job["id"], "m", 2)
    assert again["result"][:2] == job["result"][:2]
    assert again["result"][2] != job["result"][2]
    assert runs == {"a": 1, "i": 4}


async def test_a_preview_can_restart_with_other_args(flows: Flows) -> None:
    """`restarted_from` in the body."""
    runs = counting(flows)
    modules = [counted("a", "flow_input.v"), counted("b", "[results.a, flow_input.v]")]
    job = await flows.run(*modules, args={"v": 1})
    body = {
        "value": {"modules": modules},
        "args": {"v": 2},
        "restarted_from": {"flow_job_id": job["id"], "step_id": "b", "branch_or_iteration_n": None},
    }
    response = await flows.service.http.post("/api/w/main/jobs/run/preview_flow", json=body)
    assert (await flows.service.ended(response.text))["result"] == [1, 2]
    assert runs == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("step", "n", "complaint"),
    [
        ("z", None, "no module 'z'"),
        ("inner", None, "no module 'inner'"),
        ("c", None, "did not succeed"),
        ("a", 1, "no sequential loop or branchall"),
        ("l", 9, "9 of 2"),
    ],
)
async def test_restarts_that_are_refused(flows: Flows, step: str, n: int | None, complaint: str) -> None:
    """Only from a module at the top, when all before it have succeeded."""
    job = await flows.run(
        const("a", 1),
        forloop("l", [1, 2], const("inner", 1)),
        fails("b", continue_on_error=True),
        const("c", 1),
    )
    path = f"/api/w/main/jobs/restart/f/{job['id']}/from/{step}" + ("" if n is None else f"/{n}")
    response = await flows.service.http.post(path)
    assert response.status_code == 400
    assert complaint in response.text


async def test_a_preview_restarts_a_run_that_has_its_modules(flows: Flows) -> None:
    """Not a script's job, nor a run of a flow that had fewer modules or others."""
    value = {"modules": [const("a", 1), const("b", 2), const("c", 3)]}
    run = await flows.run(const("a", 1))
    other = await flows.run(const("a", 1), const("x", 2))
    script_job = run["flow_status"]["modules"][0]["job"]
    for origin, complaint in (
        (script_job, "is no flow run"),
        (run["id"], "module 'b' before it did not succeed"),
        (other["id"], "module 'b' before it did not succeed"),
    ):
        body = {"value": value, "restarted_from": {"flow_job_id": origin, "step_id": "c"}}
        response = await flows.service.http.post("/api/w/main/jobs/run/preview_flow", json=body)
        assert (response.status_code, complaint in response.text) == (400, True), response.text


async def test_a_preview_with_fewer_branches_takes_over_what_they_gave(flows: Flows) -> None:
    """Steps in a branch that the new document no longer has are seen by nobody."""
    bodies = [[const(f"in{n}", n)] for n in range(3)]
    run = await flows.run(branchall("both", *bodies, parallel=False), const("last", 1))
    fewer = branchall("both", *bodies[:1], parallel=False)
    value = {"modules": [fewer, echo("last", "[results.both, results.in0, results.in2]")]}
    body = {"value": value, "restarted_from": {"flow_job_id": run["id"], "step_id": "last"}}
    response = await flows.service.http.post("/api/w/main/jobs/run/preview_flow", json=body)
    assert response.status_code == 201, response.text
    assert (await flows.service.ended(response.text))["result"] == {"x": [[0, 1, 2], 0, None]}
