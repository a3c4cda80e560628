"""Results that are kept (docs/openflow.md section 1.9, `cache_ttl`): of steps, scripts, flows and inner flows."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from tests.flows.running import Flows, const, counted, counting, echo, fails, ident, inner, static, stored

pytestmark = pytest.mark.anyio

COUNTED: dict[str, Any] = {"call": "count"}


def name() -> str:
    """A path nobody has."""
    return f"f/cached/x{uuid4().hex}"


async def test_a_cached_step_does_not_run_again(flows: Flows) -> None:
    """For the same script and args; failures are not kept."""
    runs = counting(flows)
    first = counted("a", "flow_input.v", cache_ttl=60)
    for value in (1, 1, 2):
        job = await flows.run(first, echo("x", "results.a"), args={"v": value}, path="f/cached/step")
        assert job["result"] == {"x": value}
    job = await flows.run(first, args={"v": 1}, path="f/cached/step")
    assert runs["a"] == 2
    made = (await flows.jobs(job))[0]
    assert (made["flow_step_id"], made["success"]) == ("a", True)
    for _ in range(2):
        await flows.error(fails("f", cache_ttl=60), path="f/cached/failing")


async def test_a_cached_flow_does_not_run_again(flows: Flows) -> None:
    """Its result is that of the run before, also where its modules have no ids."""
    runs = counting(flows)
    module = counted("a", "flow_input.v")
    del module["id"]
    for value in (1, 1, 2):
        job = await flows.run(module, args={"v": value}, cache_ttl=60, path="f/cached/flow")
        assert job["result"] == value
    assert runs["a"] == 2


async def test_a_kept_result_does_not_end_a_run_that_has_begun(flows: Flows) -> None:
    """Two runs of the same flow at once: each that has begun runs to its own end."""
    runs = counting(flows)
    modules = (counted("a", "1", sleep=static(1.5)), counted("b", "Math.random()"))
    ids = [await flows.start(*modules, cache_ttl=60, path="f/cached/twice") for _ in range(2)]
    ended = [await flows.service.ended(run) for run in ids]
    assert runs == {"a": 2, "b": 2}
    assert ended[0]["result"] != ended[1]["result"]


async def test_a_cached_steps_job_is_that_of_its_script(flows: Flows) -> None:
    """It shows what would have run, and needs no container."""
    counting(flows)
    step = counted("a", cache_ttl=60)
    await flows.run(step, path="f/cached/shown")
    job = await flows.run(step, path="f/cached/shown")
    (made,) = await flows.jobs(job)
    whole = await flows.service.job(made["id"])
    assert (made["job_kind"], made["language"], made["tag"], made["sandbox"]) == (
        "preview",
        "python3",
        "python3",
        None,
    )
    assert (whole["raw_code"], whole["args"]) == (step["value"]["content"], {"k": "a", "v": 1})


async def test_using_a_kept_result_does_not_renew_it(flows: Flows) -> None:
    """Of a flow as of a step: it is fresh for `cache_ttl` seconds after it was made."""
    runs = counting(flows)
    path = name()
    for waited in (0, 1.2, 1.2):
        await asyncio.sleep(waited)
        await flows.result(counted("a"), cache_ttl=2, path=path)
    assert runs["a"] == 2


async def test_a_deleted_result_is_not_kept(flows: Flows) -> None:
    """What `delete_after_use` takes away is no result any more."""
    runs = counting(flows)
    path = name()
    for _ in range(2):
        step = counted("a", cache_ttl=60, delete_after_use=True)
        assert await flows.result(step, path=path) == 1
    assert runs["a"] == 2


async def test_a_stored_scripts_own_ttl(flows: Flows) -> None:
    """Kept for its version and arguments, whoever runs it: a client, or a step, whose own ttl wins."""
    runs = counting(flows)
    path = name()
    await flows.store_script(path, COUNTED, cache_ttl=60)
    args = {"k": "own", "v": 5}
    for _ in range(2):
        assert json.loads(await flows.post(f"jobs/run_wait_result/p/{path}", **args)) == 5
    assert await flows.result(stored("a", path, args={"k": static("own"), "v": static(5)})) == 5
    assert runs["own"] == 1
    assert json.loads(await flows.post(f"jobs/run_wait_result/p/{path}", k="own", v=6)) == 6
    await flows.store_script(path + "2", COUNTED)
    step = stored("a", path + "2", args={"k": static("step"), "v": static(7)}, cache_ttl=60)
    for _ in range(2):
        await flows.result(step)
    assert (runs["own"], runs["step"]) == (2, 1)


async def test_an_inner_flows_own_ttl(flows: Flows) -> None:
    """Kept for its document and input, whether it is run as a step or by itself; what fails is not kept."""
    runs = counting(flows)
    path = name()
    await flows.store(path, counted("in", "flow_input.v"), cache_ttl=60)
    for value in (1, 1, 2):
        job = await flows.run(inner("i", path, args={"v": static(value)}), echo("after", "results.i"))
        assert job["result"] == {"x": value}
    assert (await flows.runs_of(await flows.run(inner("i", path, args={"v": static(1)}))))["in"] == 0
    assert json.loads(await flows.post(f"jobs/run_wait_result/f/{path}", v=2)) == 2
    assert runs["in"] == 2
    await flows.store(path + "2", counted("again"), fails("f"), cache_ttl=60)
    for _ in range(2):
        await flows.run(inner("i", path + "2", continue_on_error=True))
    assert runs["again"] == 2


async def test_a_body_does_not_keep_for_its_flow(flows: Flows) -> None:
    """Nor does `cache_ttl` of a module that is no script."""
    runs = counting(flows)
    path = name()
    await flows.store(path, counted("in"))
    for _ in range(2):
        await flows.run(inner("i", path, cache_ttl=60), ident("x", cache_ttl=60), const("y", 1))
    assert runs["in"] == 2
