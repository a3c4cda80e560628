"""Whether a walk still does anything, or only waits.

A walk is many tasks: one per parallel branch. Each is active, or rests until a time or an event. When
all of them rest, the walk need not be kept in memory: its journal holds everything, and the time or
the event starts the next activation.

Activity is handed over, never dropped and taken up again: who wakes a task makes it active, and the
last of several tasks leaves its activity to the one that waits for them. So nobody can see a walk at
rest that is about to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Rest:
    """One task's rest: until a time (microseconds since 1970), or until an event at a gate."""

    until: int | None
    gate: str | None
    """The job whose approval is waited for."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Activity:
    """The tasks of one walk: how many are active, and what the others wait for."""

    def __init__(self) -> None:
        self.rests: set[Rest] = set()
        self.resting = asyncio.Event()
        """Set when no task can go on by itself."""
        self.news = 0
        """How often the walk was told that events may have arrived."""
        self._active = 1

    async def rest(self, until: int | None = None, gate: str | None = None, since: int | None = None) -> None:
        """Rest until `wake`; the walk may be given up meanwhile.

        `since` is `news` as it was before the task looked for events: if there has been news since,
        it does not rest but looks again.
        """
        if since is not None and since != self.news:
            return
        rest = Rest(until, gate)
        self.rests.add(rest)
        self._left()
        await rest.over.wait()

    def wake(self, rest: Rest) -> None:
        """End a rest."""
        if rest in self.rests:
            self.rests.discard(rest)
            self._active += 1
            self.resting.clear()
            rest.over.set()

    async def together(
        self, acts: Sequence[Callable[[], Awaitable[T]]], at_once: int | None = None
    ) -> list[T]:
        """Do all of them, begun in order, at most `at_once` at a time; their values in order.

        An exception ends all of them and is raised.
        """
        values: dict[int, T] = {}
        waiting = iter(enumerate(acts))
        number = min(len(acts), at_once or len(acts))
        working = number

        async def work() -> None:
            for index, act in waiting:
                values[index] = await act()

        def left(_: asyncio.Task[None]) -> None:
            nonlocal working
            working -= 1
            if working:
                self._left()

        if not number:
            return []
        self._active += number - 1  # they have ours
        tasks = [asyncio.create_task(work()) for _ in range(number)]
        for task in tasks:
            task.add_done_callback(left)
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [values[index] for index in range(len(acts))]

    def _left(self) -> None:
        self._active -= 1
        if not self._active:
            self.resting.set()
