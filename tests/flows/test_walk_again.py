"""A walk that begins again goes the way it went, whatever has changed around it meanwhile.

Each of these runs is put down at a gate, the workspace is changed, and the run goes on.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.flows.running import (
    Flows,
    Module,
    branchone,
    const,
    echo,
    forloop,
    ident,
    inner,
    modules_of,
    retry,
    script,
    stop,
    stored,
    types_of,
)

pytestmark = pytest.mark.anyio

GATE = const("gate", 1, suspend={"required_events": 1})


def name() -> str:
    """A path nobody has."""
    return f"f/again/x{uuid4().hex}"


async def parked(flows: Flows, *modules: Module, **more: Any) -> str:
    """A run that has been put down at its gate."""
    run = await flows.start(*modules, **more)
    walks = flows.service.service.walker
    assert walks is not None
    async with asyncio.timeout(30):
        while not (await flows.service.job(run))["suspend"] or run in walks._activations:
            await asyncio.sleep(0.02)
    return run


async def resumed(flows: Flows, run: str) -> dict[str, Any]:
    """The run's job, once it was let through and has ended."""
    await flows.post(f"jobs/flow/resume/{run}")
    return await flows.service.ended(run)


@pytest.mark.parametrize("place", ["skip_if", "predicate", "iterator", "stop", "sleep", "transform", "retry"])
async def test_what_failed_stays_failed(flows: Flows, place: str) -> None:
    """An expression asks for a variable that is not there; when it is, the step has failed all the same."""
    path = name()
    wants = f"variable('{path}')"
    sleeping = const("s", 1, sleep={"type": "javascript", "expr": f"{wants} && 0"})
    forgiven: dict[str, Any] = {"continue_on_error": True}
    failing: dict[str, list[Module]] = {
        "skip_if": [const("f", 1, skip_if={"expr": wants}, **forgiven)],
        "predicate": [branchone("f", (wants, [const("in", 1)]), **forgiven)],
        "iterator": [forloop("f", f"[{wants}]", const("in", 1), **forgiven)],
        "stop": [const("f", 1, stop_after_if=stop(f"!{wants}"), **forgiven)],
        "sleep": [sleeping, const("f", 1, **forgiven)],
        "transform": [script("f", {"result": 1}, args={"x": wants}, **forgiven)],
        "retry": [script("f", {"result": 1}, args={"x": wants}, retry=retry(2), **forgiven)],
    }
    run = await parked(flows, *failing[place], GATE, echo("after", "results.f.error.name"))
    before = await flows.service.job(run)
    await flows.post("variables/create", path=path, value="5")
    job = await resumed(flows, run)
    assert job["result"] == {"x": "ExecutionErr"}
    assert types_of(job)["f"] == types_of(before)["f"] == "Failure"
    assert job["flow_status"]["modules"][0]["type"] == before["flow_status"]["modules"][0]["type"]


async def test_what_was_there_may_go(flows: Flows) -> None:
    """A script that has ended is not looked up again, nor are its arguments evaluated."""
    path = name()
    await flows.post("variables/create", path=path, value="5")
    old = await flows.store_script(path, {"echo": True})
    step = stored("a", path, args={"x": f"variable('{path}')"})
    run = await parked(flows, step, GATE, echo("after", "results.a"))
    await flows.store_script(path, {"result": "new"}, parent_hash=old)
    await flows.post(f"variables/update/{path}", path=name())
    job = await resumed(flows, run)
    assert job["result"] == {"x": {"x": "5"}}
    assert (await flows.runs_of(job))["a"] == 1


async def test_a_script_that_was_missing_has_failed(flows: Flows) -> None:
    """As a job that says so; stored meanwhile, it does not run."""
    path = name()
    run = await parked(flows, stored("a", path, continue_on_error=True), GATE, echo("after", "error"))
    await flows.store_script(path, {"result": "there"})
    job = await resumed(flows, run)
    made = next(inside for inside in await flows.jobs(job) if inside["flow_step_id"] == "a")
    assert (made["job_kind"], made["success"], made["reason"]) == ("script", False, "bad_input")
    assert modules_of(job)["a"]["job"] == made["id"]
    assert path in (await flows.service.job(made["id"]))["result"]["error"]["message"]


async def test_an_inner_flow_keeps_its_input(flows: Flows) -> None:
    """Evaluated once: the clock goes on, the input does not."""
    path = name()
    await flows.store(path, echo("before", "flow_input.r"), GATE, echo("later", "flow_input.r"), ident("all"))
    run = await parked(flows, inner("i", path, args={"r": "Math.random()"}), echo("x", "results.before.x"))
    job = await resumed(flows, run)
    jobs = {made["flow_step_id"]: made["id"] for made in await flows.jobs(job)}
    results = [(await flows.service.job(jobs[step]))["result"]["x"] for step in ("before", "later")]
    given = (await flows.service.job(jobs["i"]))["args"]["r"]
    assert results == [given, given]
