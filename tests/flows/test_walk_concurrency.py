"""Limits on how many jobs of one key run at once (docs/openflow.md section 1.9): of flows, inner flows and steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.flows.running import Flows, const, forloop, ident, inner, script, stored

pytestmark = pytest.mark.anyio

SLOW: tuple[dict[str, Any], ...] = ({"sleep": 0.25}, {"result": 1})


def name() -> str:
    """A path nobody has."""
    return f"f/limited/x{uuid4().hex}"


async def at_once(flows: Flows, holds: Callable[[dict[str, Any]], bool]) -> int:
    """The most jobs of a kind that had begun and not ended at the same time, of all there are."""
    found: list[dict[str, Any]] = [
        job for job in (await flows.service.get("jobs/list", per_page=1000)).json() if holds(job)
    ]
    assert all(job["type"] == "CompletedJob" for job in found)
    counts: list[int] = [
        sum(other["started_at"] <= job["started_at"] < other["completed_at"] for other in found)
        for job in found
    ]
    return max(counts)


@pytest.mark.parametrize("limit", [1, 2])
async def test_runs_of_a_flow(flows: Flows, limit: int) -> None:
    """Those that are over the limit wait, and all of them run."""
    path = name()
    ids = [await flows.start(script("a", *SLOW), concurrent_limit=limit, path=path) for _ in range(4)]
    assert [(await flows.service.ended(run))["success"] for run in ids] == [True] * 4
    assert await at_once(flows, lambda job: job["script_path"] == path) == limit


async def test_starts_in_a_window(flows: Flows) -> None:
    """With a window, starts are counted, however short the runs are."""
    path, begun = name(), time.monotonic()
    limits: dict[str, Any] = {"concurrent_limit": 2, "concurrency_time_window_s": 1, "path": path}
    ids = [await flows.start(ident("a"), **limits) for _ in range(3)]
    for run in ids:
        await flows.service.ended(run)
    assert 1 <= time.monotonic() - begun < 15


async def test_a_key_of_ones_own(flows: Flows) -> None:
    """`$args[a.b]` and `$workspace` in it; other keys are not held back."""
    key = name() + "/$workspace/$args[who.id]"
    limits: dict[str, Any] = {"concurrent_limit": 1, "concurrency_key": key, "path": name()}
    ids = [
        await flows.start(script("a", *SLOW), args={"who": {"id": who}}, **limits) for who in ("x", "x", "y")
    ]
    jobs = [await flows.service.ended(run) for run in ids]
    (first, second, other) = ((job["started_at"], job["completed_at"]) for job in jobs)
    assert second[0] >= first[1] or first[0] >= second[1]
    assert other[0] < max(first[0], second[0])


async def test_steps_share_a_key_across_a_parallel_loop(flows: Flows) -> None:
    """A step over its limit waits in the queue; its run goes on with all else."""
    key = name()
    fields = {"concurrent_limit": 1, "custom_concurrency_key": key}
    loop = forloop("l", [1, 2, 3], script("limited", *SLOW, fields=fields), parallel=True)
    job = await flows.run(loop, path=name())
    assert job["result"] == [1, 1, 1]
    mine = {made["id"] for made in await flows.jobs(job) if made["flow_step_id"] == "limited"}
    assert await at_once(flows, lambda made: made["id"] in mine) == 1


async def test_a_stored_script_s_jobs_and_steps_count_together(flows: Flows) -> None:
    """Of one script at most so many at once, under its own path, or a key that its arguments fill in."""
    path, keyed = name(), name()
    await flows.store_script(path, *SLOW, concurrent_limit=1)
    await flows.store_script(keyed, *SLOW, concurrent_limit=1, concurrency_key=f"{keyed}/$args[who]")
    run = await flows.start(forloop("l", [1, 2], stored("s", path), parallel=True))
    own = [await flows.post(f"jobs/run/p/{path}") for _ in range(2)]
    others = [await flows.post(f"jobs/run/p/{keyed}", who=who) for who in "aab"]
    for job_id in (run, *own, *others):
        assert (await flows.service.ended(job_id))["success"]
    assert await at_once(flows, lambda job: job["script_path"] == path and job["id"] != run) == 1
    assert await at_once(flows, lambda job: job["script_path"] == keyed) == 2


async def test_inner_flows_count_as_runs_do(flows: Flows) -> None:
    """Of one flow at most so many at once, as steps and by themselves together."""
    path = name()
    await flows.store(path, script("a", *SLOW), concurrent_limit=1)
    outer = await flows.start(forloop("l", [1, 2], inner("i", path), parallel=True))
    own = await flows.post(f"jobs/run/f/{path}")
    assert (await flows.service.ended(outer))["result"] == [1, 1]
    assert (await flows.service.ended(own))["success"]
    assert await at_once(flows, lambda job: job["script_path"] == path) == 1


async def test_an_inner_flow_that_waits_can_be_cancelled(flows: Flows) -> None:
    """It holds nothing, and nothing of it has begun."""
    path = name()
    await flows.store(path, script("a", {"sleep": 30}), concurrent_limit=1)
    blocking = await flows.post(f"jobs/run/f/{path}")
    run = await flows.start(const("first", 1), inner("i", path))
    await asyncio.sleep(0.5)
    for waiting in (run, blocking):
        await flows.post(f"jobs_u/queue/cancel/{waiting}")
    job = await flows.service.ended(run)
    assert job["status"] == "canceled"
    assert dict(await flows.runs_of(job)) == {"first": 1}
    await flows.service.ended(blocking)
