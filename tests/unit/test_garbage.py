"""When the heap is looked through: after it has grown, and seldom where that takes long."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from executor.garbage import LATEST_S, PAUSE_S, REST, Collector, collect_seldom, resident


class Heap:
    """A heap of some size, that takes a second for a million blocks, and a clock."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.pages = 1000
        self.now = 0.0
        self.looks = 0

    def collect(self) -> None:
        self.looks += 1
        self.now += self.blocks / 1e6

    def collector(self) -> Collector:
        """One that has looked once."""
        made = Collector(self.collect, lambda: self.blocks, lambda: self.pages, lambda: self.now)
        made.look()
        return made


def test_a_start_takes_no_look() -> None:
    """It would double the time of one."""
    heap = Heap(1000)
    collector = Collector(heap.collect, lambda: heap.blocks, lambda: heap.pages, lambda: heap.now)
    assert (heap.looks, collector.is_due()) == (0, False)
    heap.blocks *= 2
    assert collector.is_due()


def test_a_heap_that_does_not_grow_is_left_alone() -> None:
    heap = Heap(1000)
    collector = heap.collector()
    heap.now += 1e6
    heap.blocks = 1240
    assert not collector.is_due()
    heap.blocks = 1250
    assert collector.is_due()


def test_few_large_texts_are_growth_too() -> None:
    """They make a look no longer."""
    heap = Heap(int(PAUSE_S * 1e6))
    collector = heap.collector()
    heap.now += REST
    heap.pages = 1240
    assert not collector.is_due()
    heap.pages = 9000
    assert collector.is_due()


def test_the_pages_of_this_process_are_known() -> None:
    before = resident()
    text = b"x" * (64 << 20)
    assert resident() - before >= len(text) // 4096 * 0.9


def test_looks_take_a_small_part_of_the_time() -> None:
    heap = Heap(100_000)
    collector = heap.collector()
    heap.blocks *= 2
    heap.now += 0.1 * REST * 0.99
    assert not collector.is_due()
    heap.now += 0.1
    assert collector.is_due()
    collector.look()
    assert (heap.looks, collector.is_due()) == (2, False)


def test_a_long_look_is_put_off() -> None:
    """For as long as the flood lasts, or ten minutes."""
    heap = Heap(200_000)
    collector = heap.collector()
    heap.blocks = int(PAUSE_S * 2e6)
    heap.now += LATEST_S * 0.9
    assert not collector.is_due()
    heap.now += LATEST_S * 0.1
    assert collector.is_due()


@pytest.mark.anyio
async def test_python_looks_itself_again_afterwards() -> None:
    """And meanwhile only at what is young."""
    before = gc.get_threshold()
    task = asyncio.create_task(collect_seldom())
    await asyncio.sleep(0)
    assert gc.get_threshold()[:2] == before[:2]
    assert gc.get_threshold()[2] > 1000 * before[2]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert gc.get_threshold() == before
