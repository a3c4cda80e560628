"""What keeps a flow within bounds: how deep flows call flows, how much a loop may gather."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from executor.flows.activity import AT_ONCE_MAX, Activity
from executor.flows.expressions.pool import Expressions
from executor.settings import LimitBounds, WholeBound
from executor.storage.database import Database
from executor.storage.tables import jobs
from executor.walker.room import Room
from tests.approving import Approvals
from tests.flows.lives import Lives, new_run, template
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
    inner,
    retry,
    script,
    stop,
    types_of,
    whileloop,
)
from tests.service import local_service

pytestmark = pytest.mark.anyio

RESULT_BYTES = 40_000


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Flows]:
    """A service of small results."""
    bound = WholeBound(default=RESULT_BYTES, maximum=RESULT_BYTES)
    async with local_service(tmp_path, limits=LimitBounds(result_bytes=bound)) as service:
        yield Flows(service)


BIG = const("x", "x" * 15_000)


@pytest.mark.parametrize(
    "module",
    [
        forloop("m", [1, 2, 3, 4, 5], BIG),
        forloop("m", [1, 2, 3, 4, 5], BIG, parallel=True),
        whileloop("m", BIG, stop_after_if=stop("all_iters.length == 5")),
        branchall("m", *[[BIG]] * 5),
        branchall("m", *[[BIG]] * 5, parallel=False),
    ],
    ids=["loop", "parallel", "while", "branchall", "in turn"],
)
async def test_results_are_bounded_together(small: Flows, module: dict[str, Any]) -> None:
    """As one result would be; it is an ordinary failure of the module, at once where that is possible."""
    job = await small.run(module, failure_module=echo("failure", "[error.reason, error.step_id]"))
    assert job["result"] == {"x": ["result_too_large", "m"]}
    runs = (await small.runs_of(job))["x"]
    assert runs == (
        3 if module["value"]["type"] != "branchall" and not module["value"].get("parallel") else 5
    )
    assert "40000" in (await small.error(module))["message"]


async def test_a_loop_of_many_big_results_holds_few_of_them(flows: Flows) -> None:
    """Sixty iterations of 200 kB, a big array, and what looks at it."""
    body = (const("a", "y" * 200_000), ident("b"))
    loop = forloop("l", "Array(60)", *body, parallel=True)
    assert await flows.result(loop, echo("n", "results.l.length")) == {"x": 60}


async def test_flows_call_flows_as_deep_as_the_instance_says(flows: Flows) -> None:
    """Through loops and branches too, where each level needs many of Python's; the deepest call fails."""
    path = f"f/deep/x{uuid4().hex}"
    again = inner("again", path, args={"n": "flow_input.n + 1"})
    one = branchone("o", ("true", [forloop("l", [1], branchone("p", ("true", [again])))]))
    await flows.store(path, one)
    job = await flows.run(inner("first", path, args={"n": "1"}), timeout_s=60)
    text = str(job["result"])
    assert not job["success"]
    assert "flows call flows over 50 levels deep (EXECUTOR_FLOW_DEPTH_MAX)" in text
    assert "bad_input" in text
    assert types_of(job) == {"first": "Failure"}


async def test_an_inner_flow_that_cannot_begin_has_a_job_that_failed(flows: Flows) -> None:
    """For a transform that fails, and a path with no flow; the outer failure module runs."""
    path = f"f/inner/x{uuid4().hex}"
    await flows.store(path, const("a", 1))
    for module in (inner("i", path, args={"x": "missing_name"}), inner("i", path + "none")):
        job = await flows.run(module, failure_module=echo("failure", "error.step_id"))
        assert job["result"] == {"x": "i"}
        made = next(inside for inside in await flows.jobs(job) if inside["flow_step_id"] == "i")
        assert (made["job_kind"], made["success"], made["reason"]) == ("flow", False, "bad_input")
        assert job["flow_status"]["modules"][0]["job"] == made["id"]


async def test_an_inner_flows_preprocessor_is_never_applied(flows: Flows) -> None:
    """Nor shown; its other handlers and settings are its own."""
    path = f"f/inner/x{uuid4().hex}"
    await flows.store(path, echo("a", "flow_input.n"), preprocessor_module=fails("preprocessor"))
    job = await flows.run(inner("i", path, args={"n": "4"}, timeout=0.001))
    assert job["result"] == {"x": 4}
    inside = await flows.service.job(job["flow_status"]["modules"][0]["job"])
    assert "preprocessor_module" not in inside["flow_status"]


async def test_a_preprocessor_may_be_mocked(flows: Flows) -> None:
    """Its settings are those of any module."""
    mocked = script("preprocessor", {"result": 1}, mock={"enabled": True, "return_value": {"m": 1}})
    assert await flows.result(echo("a", "flow_input"), preprocessor_module=mocked) == {"x": {"m": 1}}


@pytest.fixture
async def few(tmp_path: Path) -> AsyncIterator[Flows]:
    """A service whose runs may have 300 jobs each."""
    async with local_service(tmp_path, flow_jobs_max=300, concurrency=8) as service:
        yield Flows(service)


async def jobs_of(flows: Flows, run: str) -> int:
    """How many jobs a run has."""
    rows = select(func.count()).where(jobs.c.run_id == run)
    return await flows.service.context.desk.database.read(lambda db: db.execute(rows).scalar_one())


TRIED: dict[str, Any] = {"failure_module": const("failure", {"recover": True})}


@pytest.mark.parametrize(
    "module",
    [
        forloop("m", "Array(400)", ident("i"), skip_failures=True),
        forloop("m", "Array(400)", ident("i"), parallel=True, skip_failures=True),
        forloop("m", "Array(20)", forloop("n", "Array(20)", const("c", 1), parallel=True), parallel=True),
        whileloop("m", ident("i"), skip_failures=True),
        forloop("m", "Array(10)", inner("again", "f/bomb/x"), parallel=True),
        branchall("m", *[[inner("again", "f/bomb/x")]] * 4, skip=(0, 1, 2, 3)),
    ],
    ids=["loop", "parallel", "scripts", "while", "bomb", "branches"],
)
async def test_a_run_has_so_many_jobs(few: Flows, module: dict[str, Any]) -> None:
    """Then it ends, whatever it says of failures; what calls itself in parallel too."""
    module = {**module, "retry": retry(3), "continue_on_error": True}
    await few.store("f/bomb/x", module, **TRIED)
    async with asyncio.timeout(60):
        job = await few.run(module, const("next", 1), **TRIED)
    error = job["result"]["error"]
    assert (error["reason"], "EXECUTOR_FLOW_JOBS_MAX" in error["message"]) == ("bad_input", True)
    assert 300 <= await jobs_of(few, job["id"]) <= 330
    assert (await few.run(forloop("l", [1, 2], const("x", 1))))["result"] == [1, 1]


async def test_a_small_run_has_room_beside_big_ones(few: Flows) -> None:
    """All together may have four times as many; who has more than the others then ends first."""
    big = [
        await few.start(forloop("m", "Array(140)", ident("i")), script("s", {"sleep": 60})) for _ in range(4)
    ]
    for run in big:
        await Approvals(few.service).job_of(run, "s")
    more = await few.run(forloop("m", "Array(149)", ident("i")), const("s", 1))
    assert "four times EXECUTOR_FLOW_JOBS_MAX" in more["result"]["error"]["message"]
    assert (await few.run(forloop("l", [1, 2], const("x", 1))))["result"] == [1, 1]


@pytest.mark.parametrize("dies_at", range(2, 9))
async def test_what_had_no_room_has_none_when_the_run_is_walked_again(tmp_path: Path, dies_at: int) -> None:
    """Also if there is room by then: a branch that has ended so cannot have ended otherwise."""
    full = Room(10)
    for number in range(7):
        full.enter(f"other {number}", 10)
    many = forloop("many", "Array(8)", ident("i"))
    slow = script("slow", {"sleep": 0.4}, {"result": 1})
    new = new_run({"modules": [branchall("m", [many], [slow], skip=(0,))]}, {})
    async with Expressions() as expressions:
        lives = Lives(tmp_path, template(tmp_path / "empty"), expressions, {})
        lives.room = full
        done = await lives.live(new, dies_at)
        lives.room = Room(1000)
        done = done or await lives.live(new)
    assert done is not None
    database = Database(lives.url)
    parts = select(jobs.c.status).where(jobs.c.run_id == new.id, jobs.c.role == "part")
    ends = await database.read(lambda db: set(db.execute(parts).scalars()))
    database.close()
    assert ends == {"success"} if done.ok else "failure" in ends


async def test_all_iterations_wait_for_their_events_however_many_are_walked_at_once(flows: Flows) -> None:
    """One that rests makes room for another; with `parallelism` it does not."""
    number = 2 * AT_ONCE_MAX + 50
    gate = const("g", 1, suspend={"required_events": 1})
    gate["value"] = {"type": "identity"}
    run = await flows.start(forloop("l", f"Array({number})", gate, ident("after"), parallel=True))
    async with asyncio.timeout(60):
        while (await flows.service.job(run))["suspend"] < number:
            await asyncio.sleep(0.1)
    few = await flows.start(
        forloop("l", f"Array({number})", gate, ident("after"), parallel=True, parallelism=5)
    )
    async with asyncio.timeout(60):
        while (await flows.service.job(few))["suspend"] < 5:
            await asyncio.sleep(0.1)
    assert (await flows.service.job(few))["suspend"] == 5
    for one in (run, few):
        await flows.service.http.post(f"/api/w/main/jobs_u/queue/cancel/{one}", json={})


async def test_a_walk_of_many_branches_begins_so_many_at_once() -> None:
    """And does them all, in order, though none of them ever lets another one's turn come."""
    begun, most = 0, 0

    async def act() -> int:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        await asyncio.sleep(0)
        begun -= 1
        return most

    assert len(await Activity().together([act] * 3 * AT_ONCE_MAX)) == 3 * AT_ONCE_MAX
    assert most == AT_ONCE_MAX


async def test_those_that_wait_aside_make_room_for_so_many_more() -> None:
    """They stay in memory; those that rest make room for all."""
    activity, begun, gate = Activity(), 0, asyncio.Event()

    async def act() -> int:
        nonlocal begun
        begun += 1
        await activity.aside(gate.wait())
        return begun

    together = asyncio.create_task(activity.together([act] * 5 * AT_ONCE_MAX))
    for _ in range(20):
        await asyncio.sleep(0)
    assert begun == 2 * AT_ONCE_MAX
    assert not activity.resting.is_set()
    gate.set()
    await together
    assert begun == 5 * AT_ONCE_MAX


MANY = "Array(900000).fill([])"


async def test_more_values_than_may_be_looked_into_are_bad_input(flows: Flows) -> None:
    """Beside a reference, to iterate over, as a flow's input; passed on as they are they are fine."""
    flows.functions["many"] = lambda _: {"many": [[]] * 900_000}
    refused = [
        await flows.error(forloop("l", MANY, const("x", 1))),
        await flows.error(echo("r", f'{{"ref": "$var:f/x/y", "many": {MANY}}}')),
        await flows.error(const("a", 1), preprocessor_module=call("preprocessor", "many")),
    ]
    assert {error["reason"] for error in refused} == {"bad_input"}
    assert all("many values" in error["message"] for error in refused), refused
    passed = await flows.result(call("m", "many"), ident("i"))
    assert len(passed["many"]) == 900_000


async def test_a_body_of_too_many_values_is_refused(flows: Flows) -> None:
    value = {"modules": [const("a", 1)]}
    body = json.dumps({"value": value, "args": {"a": [[]] * 900_000}}).encode()
    response = await flows.service.http.post("/api/w/main/jobs/run/preview_flow", content=body)
    assert (response.status_code, response.json()["field"]) == (400, "body")
