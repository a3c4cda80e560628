"""From a job's place in its run back to its module and its gate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from executor.flows.activity import Activity
from executor.flows.document import Flow, FlowLimits, read_flow
from executor.flows.gated import gated_at


def identity(step_id: str, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "value": {"type": "identity"}, **more}


def flow() -> Flow:
    loop = {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": [1]},
        "modules": [identity("x"), identity("y", suspend={"required_events": 1})],
    }
    odd = "a/b#1:[c]"
    branch = {
        "type": "branchone",
        "branches": [{"expr": "true", "modules": [identity("p")]}],
        "default": [identity(odd), identity("q")],
    }
    every = {"type": "branchall", "branches": [{"modules": []}, {"modules": [{"id": "in", "value": loop}]}]}
    handler = {"type": "rawscript", "language": "bash", "content": "", "input_transforms": {}}
    modules = [
        {"id": "loop", "value": loop},
        {"id": "one.branch", "value": branch},
        {"id": "all", "value": every},
        {"id": "sub", "value": {"type": "flow", "path": "u/a/b", "input_transforms": {}}},
    ]
    return read_flow(
        {"modules": modules, "failure_module": {"id": "failure", "value": handler}},
        languages=lambda name: name,
        limits=FlowLimits(50, 5000, 100),
    )


@pytest.mark.parametrize(
    ("path", "found", "base_path"),
    [
        ("/0:loop", "loop", "/1:one.branch"),
        ("/0:loop#2", "loop", "/1:one.branch"),
        ("/0:loop#2[7]/0:x", "x", "/0:loop#2[7]/1:y"),
        ("/0:loop[7]/1:y#1", "y", "/0:loop[7]/2:y-v"),
        ("/1:one.branch.branch[0]/0:p", "p", ""),
        (
            "/1:one.branch.branch[default]/0:a%2Fb%231%3A%5Bc%5D",
            "a/b#1:[c]",
            "/1:one.branch.branch[default]/1:q",
        ),
        ("/2:all.branch[1]/0:in[0]/0:x", "x", "/2:all.branch[1]/0:in[0]/1:y"),
        ("/2:all.branch[1]", "all", "/3:sub"),
        ("/0:loop/none", "loop", "/1:one.branch"),
        ("/3:sub", "sub", ""),
        ("/3:sub/0:a", None, ""),
        ("/2:all.branch[0]/0:a", None, ""),
        ("/2:all.branch[9]/0:a", None, ""),
        ("/9:z", None, ""),
        ("/failure", None, ""),
        ("", None, ""),
    ],
)
def test_a_place_leads_to_its_module_and_to_the_step_held_back(
    path: str, found: str | None, base_path: str
) -> None:
    """Through loops, branches and retries, whatever the ids; handlers and flows elsewhere have none."""
    gated = gated_at(flow().modules, path)
    assert (None if gated is None else gated.module.id) == found
    if gated is not None:
        assert gated.base_path == base_path


def test_a_flow_inside_has_places_of_its_own() -> None:
    """Its document begins at its own place in the run."""
    gated = gated_at(flow().modules, "/5:outer/0:loop[1]/0:x", "/5:outer")
    assert gated is not None
    assert (gated.module.id, gated.base_path) == ("x", "/5:outer/0:loop[1]/1:y")


@pytest.mark.anyio
async def test_news_between_looking_and_resting_is_not_lost() -> None:
    """Who looked before the news looks again; who looked after it rests."""
    activity = Activity()
    looked = activity.news
    activity.news += 1
    async with asyncio.timeout(30):
        await activity.rest(gate="job", since=looked)
    assert not activity.resting.is_set()
    resting = asyncio.create_task(activity.rest(gate="job", since=activity.news))
    async with asyncio.timeout(30):
        await activity.resting.wait()
    (rest,) = activity.rests
    activity.wake(rest)
    await resting
    assert not activity.resting.is_set()
