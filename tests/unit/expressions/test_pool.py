"""The pool: a lost child costs one evaluation at most, and children never outlive the service."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from executor.errors import Unavailable
from executor.flows.expressions.places import RETRY
from executor.flows.expressions.pool import Expressions, _answered
from executor.flows.expressions.process import BUFFER_BYTES, Child
from tests.unit.expressions.values import Values, children, detail, failure, value
from tests.waiting import until

pytestmark = pytest.mark.anyio


class Slow(Values):
    """Answers for a step's result when it is told to; `asked_for` counts the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.asked_for = 0

    def has_been_asked(self, times: int) -> bool:
        return self.asked_for == times

    async def result(self, step_id: str) -> bytes | None:
        self.asked_for += 1
        await self.go_on.wait()
        return b"1"


async def test_children_are_started_when_needed_and_end_with_the_pool() -> None:
    """A plain path needs none, an expression one; close() leaves none."""
    before = children()
    async with Expressions() as pool:
        assert await value(pool, "flow_input.n") == 2
        assert children() == before
        assert await value(pool, "flow_input.n + 1") == 3
        assert len(children() - before) == 1
    assert children() == before


async def test_a_child_that_somebody_kills_costs_nothing() -> None:
    """kill -9 in the middle of an evaluation: it begins again on another child."""
    before = children()
    async with Expressions() as pool:
        scope = Slow()
        evaluation = asyncio.create_task(value(pool, "results.a + 1", scope))
        await until(lambda: scope.asked_for == 1)
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        scope.go_on.set()
        assert await evaluation == 2
        assert scope.asked_for == 2
        assert pid not in children()


async def test_an_idle_child_that_somebody_kills_costs_nothing() -> None:
    """Whether or not we have noticed its end."""
    before = children()
    async with Expressions() as pool:
        for pause in (0.0, 0.2):
            assert await value(pool, "1 + 1") == 2
            (pid,) = children() - before
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(pause)
            assert await value(pool, "2 + 2") == 4


async def test_an_evaluation_whose_children_keep_dying_fails() -> None:
    """It is tried twice, and the pool goes on."""
    before = children()
    async with Expressions() as pool:
        scope = Slow()
        evaluation = asyncio.create_task(detail(pool, "results.a + 1", scope))
        for asked in (1, 2):
            await until(partial(scope.has_been_asked, asked))
            (pid,) = children() - before
            os.kill(pid, signal.SIGKILL)
            scope.go_on.set()
            scope.go_on = asyncio.Event()
        assert await evaluation == "the evaluating process died: ended by SIGKILL"
        assert await value(pool, "1 + 1") == 2


async def test_a_crash_is_the_expressions_and_not_tried_again() -> None:
    """A child that died of itself is not replaced for the same expression."""
    before = children()
    async with Expressions() as pool:
        scope = Slow()
        evaluation = asyncio.create_task(detail(pool, "results.a + 1", scope))
        await until(lambda: scope.asked_for == 1)
        (pid,) = children() - before
        os.kill(pid, signal.SIGSEGV)
        scope.go_on.set()
        assert await evaluation == "the evaluating process died: ended by SIGSEGV"
        assert scope.asked_for == 1
        assert await value(pool, "1 + 1") == 2


@pytest.mark.parametrize("expr", ["results.a + 1", "for (;;);"])
async def test_a_cancelled_evaluation_takes_its_child_along(expr: str) -> None:
    """Nothing goes on computing, and the next evaluation gets a fresh child."""
    before = children()
    async with Expressions(children=1) as pool:
        evaluation = asyncio.create_task(value(pool, expr, Slow()))
        await until(lambda: bool(children() - before))
        await asyncio.sleep(0.3)
        (pid,) = children() - before
        evaluation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await evaluation
        await until(lambda: pid not in children())
        assert await value(pool, "1 + 1") == 2


async def test_evaluations_run_beside_each_other() -> None:
    """As many at once as there are children."""
    async with Expressions(children=2) as pool:
        scope = Slow()
        both = [asyncio.create_task(value(pool, f"results.a + {i}", scope)) for i in range(3)]
        await until(lambda: scope.asked_for == 2)
        await asyncio.sleep(0.1)
        assert scope.asked_for == 2
        scope.go_on.set()
        assert await asyncio.gather(*both) == [1, 2, 3]


async def test_evaluations_wait_in_order() -> None:
    """First come, first served."""
    done: list[int] = []
    async with Expressions(children=1) as pool:

        async def one(i: int) -> None:
            done.append(await value(pool, f"1 * {i}"))

        await asyncio.gather(*map(one, range(20)))
    assert done == list(range(20))


async def test_children_are_recycled() -> None:
    """After so many evaluations a child is replaced."""
    before = children()
    seen = []
    async with Expressions(children=1, recycle_after=2) as pool:
        for _ in range(5):
            seen.append(await value(pool, "flow_input.n + 1") and children() - before)
            await asyncio.sleep(0.05)
    assert len({pid for pids in seen for pid in pids}) == 3


async def test_a_closed_pool_is_our_trouble() -> None:
    """Evaluations under way, waiting and new ones raise Unavailable, which is no failure of a flow."""
    pool = Expressions(children=1)
    scope = Slow()
    evaluations = [asyncio.create_task(value(pool, "results.a + 1", scope)) for _ in range(3)]
    await until(lambda: scope.asked_for == 1)
    await pool.close()
    for outcome in await asyncio.gather(*evaluations, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
    with pytest.raises(Unavailable, match="stopping"):
        await value(pool, "1 + 1")


async def test_a_scope_that_waits_is_within_the_time_limit() -> None:
    """What the scope takes counts too."""
    async with Expressions(timeout_s=0.5) as pool:
        assert (await failure(pool, "results.a + 1", Slow())).timed_out


async def test_a_child_asks_for_nothing_its_expression_could_not_name() -> None:
    """Even a child that was taken over gets only what the place offers."""
    for what in ("result", "ids", "variable", "resource"):
        with pytest.raises(AssertionError, match="BUG"):
            await _answered(what, "a", Values(), RETRY)
    with pytest.raises(AssertionError, match="BUG"):
        await _answered("name", "resume", Values(), RETRY)


SERVICE = """
import asyncio, sys
from executor.flows.expressions.places import CHOICE
from executor.flows.expressions.pool import Expressions
from tests.unit.expressions.values import Values, children

async def main():
    pool = Expressions(children=2)
    await asyncio.gather(*(pool.evaluate("1 + 1", Values(), CHOICE) for _ in range(2)))
    task = asyncio.create_task(pool.evaluate("for (;;);", Values(), CHOICE))
    await asyncio.sleep(0.3)
    print(*children(), flush=True)
    await task

asyncio.run(main())
"""


async def test_children_die_with_the_service() -> None:
    """kill -9 of the service: an idle child and one in an endless loop are gone at once."""
    root = Path(__file__).parents[3]
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, stdout=asyncio.subprocess.PIPE, cwd=root
    )
    assert service.stdout is not None
    pids = [int(pid) for pid in (await service.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(running, pids))
    service.kill()
    await service.wait()
    await until(lambda: not any(map(running, pids)), 5)


def running(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_a_child_that_is_killed_amid_a_large_answer_is_known_to_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the service, which waits for its children, would never stop."""

    async def never(_: Child) -> tuple[bytes, bytes]:
        await asyncio.Event().wait()
        raise AssertionError("BUG: never")

    def is_full(child: Child) -> bool:
        return len(child._stdout._buffer) > 2 * BUFFER_BYTES  # type: ignore[attr-defined]

    before = children()
    async with asyncio.timeout(60), Expressions() as pool:
        assert await value(pool, "1 + 1") == 2
        monkeypatch.setattr(Child, "_frame", never)
        evaluation = asyncio.create_task(value(pool, "'x'.repeat(6000000)"))
        await until(lambda: bool(pool._busy) and is_full(next(iter(pool._busy))))
        evaluation.cancel()
        await asyncio.wait({evaluation})
    assert children() == before
