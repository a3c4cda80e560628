"""Large values on their way through a run: what of them is in memory at once, and that they arrive."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.flows.values import Args
from executor.jobs.runs import ROW_BYTES, Batch
from executor.walker.gathered import BATCH_MAX
from executor.walker.room import Room
from tests.flows.running import Flows, const, echo, fails, forloop, ident, inner, retry, script
from tests.service import local_service

pytestmark = pytest.mark.anyio

LARGE = "x" * 300_000


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Flows]:
    """A service whose runs may hold a mebibyte of arguments."""
    async with local_service(tmp_path, flow_mb=1) as service:
        flows = Flows(service)
        await flows.store("f/a/slow", script("s", {"sleep": 0.4}, {"result": 1}))
        yield flows


def loop_of(count: int, **more: object) -> dict[str, object]:
    return forloop(
        "l", list(range(count)), inner("i", "f/a/slow", args={"x": "flow_input.big"}), parallel=True, **more
    )


async def test_the_steps_of_a_run_hold_so_much_at_once(narrow: Flows) -> None:
    """One more is told so; fewer at a time may pass as much as they like.

    What they held is free again at once: nothing that has ended waits for Python to find it in a cycle.
    """
    gc.disable()
    try:
        await held_at_once(narrow)
    finally:
        gc.enable()


async def held_at_once(narrow: Flows) -> None:
    for _ in range(2):
        job = await narrow.run(loop_of(8), args={"big": LARGE})
        (error, *_) = [one["error"] for one in job["result"] if one != 1]
        assert (job["status"], error["reason"], error["step_id"]) == ("failure", "bad_input", "i")
        assert "EXECUTOR_FLOW_MB" in error["message"]
        assert await narrow.result(loop_of(8, parallelism=2), args={"big": LARGE}) == [1] * 8
    walker = narrow.service.service.walker
    assert walker is not None
    assert not walker._around.room._held


async def test_a_step_that_may_not_hold_its_arguments_may_be_gone_on_from(narrow: Flows) -> None:
    """It is a failure like others: those beside it end as they would have."""
    result = await narrow.result(loop_of(8, skip_failures=True), args={"big": LARGE})
    assert 2 <= result.count(1) < 8


async def test_large_input_is_what_a_body_begins_with(narrow: Flows) -> None:
    """`previous_result` of a first step, and what an identity gives, are made of it when they are asked for."""
    length = echo("n", "previous_result.big.length")
    assert await narrow.result(forloop("l", [7], length), args={"big": LARGE}) == [{"x": len(LARGE)}]
    (whole,) = await narrow.result(forloop("l", [7], ident("i")), args={"big": LARGE})
    assert whole == {"big": LARGE, "iter": {"index": 0, "value": 7}}


async def test_a_retry_has_the_large_arguments_of_the_first_run(narrow: Flows) -> None:
    """They are in the journal, and not in memory, when they are wanted again."""
    step = fails("s", args={"x": "Math.random() + 'x'.repeat(100000)"}, retry=retry(1))
    run = await narrow.start(step, const("after", 1))
    job = await narrow.service.ended(run)
    tries = [made for made in await narrow.jobs(job) if made["flow_step_id"] == "s"]
    seen = {(await narrow.service.get(f"jobs_u/get_args/{made['id']}")).text for made in tries}
    assert (len(tries), len(seen)) == (2, 1)


def test_a_batch_of_large_values_is_full_sooner() -> None:
    batch = Batch()
    batch.add_note("r", "p", b"x" * (BATCH_MAX * ROW_BYTES))
    assert batch.weight >= BATCH_MAX
    assert batch.rows >= BATCH_MAX
    small = Batch()
    small.add_args("j", b"{}", None)
    small.add_result("j", b"1", None)
    assert (small.weight, small.rows) == (0, 2)


def test_all_runs_together_hold_twice_as_much_and_small_ones_always_may() -> None:
    room = Room(10, bytes_of_run=100)
    assert room.refusal_of("a", 101) is not None
    for run in "ab":
        assert room.refusal_of(run, 90) is None
        room.hold(run, 90)
    assert "twice EXECUTOR_FLOW_MB" in (room.refusal_of("c", 95) or "")
    assert room.refusal_of("c", 20) is None
    room.let_go("a", 90)
    assert room.refusal_of("c", 95) is None


def test_large_arguments_are_one_value_when_it_is_wanted() -> None:
    small, large = Args.of({"x": b"1"}), Args.of({"x": b"1" * 100_000})
    assert (small.value.text, small.value.args) == (b'{"x":1}', None)
    assert (large.value.text, large.value.args, large.value.is_stored) == (None, large, False)
