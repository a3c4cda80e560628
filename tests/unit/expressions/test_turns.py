"""Turns of workspaces at the processes for expressions."""

from __future__ import annotations

import asyncio

import pytest

from executor.flows.expressions.turns import Turns

pytestmark = pytest.mark.anyio


async def test_a_workspace_s_flood_keeps_no_other_waiting() -> None:
    """It has every place but one; then workspaces take turns, whatever they have waiting."""
    turns = Turns(2)
    order: list[str] = []
    ends = asyncio.Event()

    async def evaluate(whose: str) -> None:
        async with turns.turn(whose):
            order.append(whose)
            await ends.wait()

    flood = [asyncio.create_task(evaluate("evil")) for _ in range(50)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(evaluate(whose)) for whose in ("good", "good", "fine")]
    await asyncio.sleep(0.01)
    assert order == ["evil", "evil", "good"]
    ends.set()
    await asyncio.gather(*flood, *others)
    assert order.index("fine") < 8
    assert len(order) - order[::-1].index("good") < 10
    await asyncio.wait_for(turns.none(), 1)


async def test_who_leaves_gives_back() -> None:
    """Whether it waits or has its turn; and one that fails."""
    turns = Turns(1)

    async def hold(whose: str) -> None:
        async with turns.turn(whose):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(hold("a")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("a"):
            raise ZeroDivisionError
    await asyncio.wait_for(turns.none(), 1)
    async with asyncio.timeout(10), turns.turn("b"):
        pass
