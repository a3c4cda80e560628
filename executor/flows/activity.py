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
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

AT_ONCE_MAX = 200
"""Tasks of one `together` that neither rest nor have ended. More would all be ready at the same moment, and
keep the event loop for seconds; scripts wait for one of some dozen slots anyway."""
MORE: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("MORE", default=())
"""What lets another task begin in place of one that rests, in each `together` around that."""


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
        self._aside = 0

    async def rest(self, until: int | None = None, gate: str | None = None, since: int | None = None) -> None:
        """Rest until `wake`; the walk may be given up meanwhile.

        `since` is `news` as it was before the task looked for events: if there has been news since,
        it does not rest but looks again.
        """
        if since is not None and since != self.news:
            return
        rest = Rest(until, gate)
        self.rests.add(rest)
        for one_more in MORE.get():
            one_more()
        self.left()
        await rest.over.wait()

    async def aside(self, waited_for: Awaitable[T]) -> T:
        """Wait for something of this process; the walk is not given up.

        Another task begins meanwhile, but for so many only: unlike those that rest, all these stay in memory.
        """
        self._aside += 1
        try:
            if self._aside <= AT_ONCE_MAX:
                for one_more in MORE.get():
                    one_more()
            return await waited_for
        finally:
            self._aside -= 1

    def wake(self, rest: Rest) -> None:
        """End a rest."""
        if rest in self.rests:
            self.rests.discard(rest)
            self.joined()
            self.resting.clear()
            rest.over.set()

    async def together(
        self, acts: Sequence[Callable[[], Awaitable[T]]], at_once: int | None = None
    ) -> list[T]:
        """Do all of them, begun in order, at most `at_once` at a time; their values in order.

        Without `at_once` at most AT_ONCE_MAX, those that rest not counted. An exception ends all of
        them and is raised.
        """
        crowd = Crowd(self, acts, is_bounded=at_once is not None)
        return await crowd.all(min(len(acts), at_once or AT_ONCE_MAX))

    def joined(self) -> None:
        """There is one more active task."""
        self._active += 1

    def left(self) -> None:
        """An active task has ended, or rests."""
        self._active -= 1
        if not self._active:
            self.resting.set()


class Crowd(Generic[T]):
    """What one `together` does: some of its acts at a time, until all are done."""

    def __init__(
        self, activity: Activity, acts: Sequence[Callable[[], Awaitable[T]]], *, is_bounded: bool
    ) -> None:
        self._activity = activity
        self._acts = acts
        self._values: list[Any] = [None] * len(acts)
        self._begun = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._context = copy_context()
        if not is_bounded:
            self._context.run(MORE.set, (*MORE.get(), self._one_more))

    async def all(self, at_once: int) -> list[T]:
        """Do them; the first task has the activity of whoever waits for them, and the last one gives it back."""
        if not self._acts:
            return []
        for number in range(at_once):
            self._start(is_first=number == 0)
        try:
            await self._over
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # The context leads to us, and we to the context: what the acts hold is not to wait for a look at cycles.
            self._acts = ()
            self._context.run(MORE.set, ())
        return self._values

    def _one_more(self) -> None:
        """One of them rests, and another may begin."""
        if self._begun < len(self._acts) and not self._over.done():
            self._start()

    def _start(self, *, is_first: bool = False) -> None:
        if not is_first:
            self._activity.joined()
        task = asyncio.create_task(self._work(), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _work(self) -> None:
        while self._begun < len(self._acts):
            index = self._begun
            self._begun += 1
            self._values[index] = await self._acts[index]()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._tasks:
            self._activity.left()
        if self._over.done():
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            self._over.set_exception(error)
        elif not self._tasks:
            self._over.set_result(None)
