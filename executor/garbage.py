"""When Python looks through everything it holds for cycles that nobody needs: at moments of our choosing.

Such a look stops the process for as long as it takes, three seconds where flows of one workspace hold a
gigabyte. Python takes one each time the heap has grown by a quarter, so a flood brings many in a row. Nearly
everything here is freed without one: it is taken later, seldom where it is long.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 1.0
GROWTH = 1.25
"""A look is worth it once there is so much more than after the last one."""
PAUSE_S = 0.25
"""A look that would take longer waits until it was LATEST_S ago that there was one."""
LATEST_S = 600.0
REST = 50
"""Between two looks there is so many times what the first one has taken."""
NEVER = 1_000_000_000


def resident() -> int:
    """The pages of memory that this process has (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1])


class Collector:
    """Decides when to look, by the growth of the heap and the length of the last look.

    The heap grows in objects, which a look has to pass, or in large texts, of which there may be few.
    """

    def __init__(
        self,
        collect: Callable[[], object] = gc.collect,
        blocks: Callable[[], int] = sys.getallocatedblocks,
        pages: Callable[[], int] = resident,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collect = collect
        self._blocks = blocks
        self._pages = pages
        self._now = now
        self._took = 0.0
        self._looked_at, self._left = now(), (blocks(), pages())

    def look(self) -> None:
        """Look through everything now."""
        began = self._now()
        self._collect()
        self._looked_at = self._now()
        self._took = self._looked_at - began
        self._left = self._blocks(), self._pages()

    def is_due(self) -> bool:
        """Whether a look is worth its time now."""
        since, (blocks, pages) = self._now() - self._looked_at, self._left
        more = self._blocks() / blocks
        if max(more, self._pages() / pages) < GROWTH or since < self._took * REST:
            return False
        return self._took * more <= PAUSE_S or since >= LATEST_S


async def collect_seldom() -> None:
    """Look when it is due, in place of Python, until cancelled; young objects Python goes on with."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], NEVER)
    try:
        collector = Collector()
        while True:
            await asyncio.sleep(LOOK_S)
            if collector.is_due():
                collector.look()
    finally:
        gc.set_threshold(*before)
