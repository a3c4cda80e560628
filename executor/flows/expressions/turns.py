"""Who evaluates next: workspaces take turns, and there is one place more for whoever has none."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`number` at once, and one more for a workspace that has none: nobody keeps all places from the others."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """The first workspace here is the next one; in each, who came first."""
        self._none = asyncio.Event()
        self._none.set()

    @asynccontextmanager
    async def turn(self, whose: str) -> AsyncIterator[None]:
        """Wait for a turn of the workspace `whose`, and have it inside."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        self._none.clear()
        self._give()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._held[whose] -= 1
            else:
                self._forget(whose, turn)
            self._give()

    async def none(self) -> None:
        """Return once nobody has a turn or waits for one."""
        await self._none.wait()

    def _give(self) -> None:
        while (whose := self._next()) is not None:
            turn = self._waiting[whose].popleft()
            rest = self._waiting.pop(whose)
            if rest:
                self._waiting[whose] = rest  # behind the others
            if not turn.done():
                self._held[whose] += 1
                turn.set_result(None)
        if not self._waiting and not self._held.total():
            self._held.clear()
            self._none.set()

    def _next(self) -> str | None:
        held = self._held.total()
        if held < self._number:
            return next(iter(self._waiting), None)
        if held == self._number:
            return next((whose for whose in self._waiting if not self._held[whose]), None)
        return None

    def _forget(self, whose: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(whose)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[whose]
