"""Which workspace has the next turn: slots are shared, so that one workspace's flood holds up no other. Pure.

A workspace takes as many slots as are free, but of those that wait the one that runs least goes first.
One slot more than there are is for workspaces that run nothing: whoever comes to an instance whose
slots are all taken by others, for however long, starts at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

GUESTS = 1
"""So many jobs run beyond the slots, of workspaces that run nothing else."""


class Slots:
    """The slots of a worker. `share` gives how many a workspace may have at most; None: all."""

    def __init__(self, count: int, share: Callable[[str], int | None]) -> None:
        self._count = count
        self._share = share
        self._busy: Counter[str] = Counter()
        self._queued: dict[str, int] = {}
        """By workspace, when the first of its jobs that wait is due, in microseconds since 1970, or earlier."""

    def has(self, workspace_id: str) -> bool:
        """Whether a job of the workspace may start now."""
        share = self._share(workspace_id)
        if share is not None and self._busy[workspace_id] >= share:
            return False
        total = self._busy.total()
        return total < self._count or (total < self._count + GUESTS and not self._busy[workspace_id])

    def take(self, workspace_id: str) -> None:
        """A job of the workspace starts."""
        self._busy[workspace_id] += 1

    def give_back(self, workspace_id: str) -> None:
        """A job of the workspace has ended."""
        self._busy[workspace_id] -= 1
        if not self._busy[workspace_id]:
            del self._busy[workspace_id]

    # ------------------------------------------------------------ who waits

    @property
    def someone_waits(self) -> bool:
        """Whether there is a job that may want a slot, now or later."""
        return bool(self._queued)

    def queued(self, workspace_id: str, due: int = 0) -> None:
        """A job of the workspace waits, until then."""
        self._queued[workspace_id] = min(due, self._queued.get(workspace_id, due))

    def looked_after(self, workspace_id: str) -> None:
        """What is known of the workspace's waiting jobs counts no more: somebody looks, and says so anew."""
        self._queued.pop(workspace_id, None)

    def turn(self, now: int) -> str | None:
        """The workspace of which a job may start next, as far as is known: of those that wait, who runs least."""
        waiting = (each for each, due in self._queued.items() if due <= now and self.has(each))
        return min(waiting, key=lambda each: (self._busy[each], each), default=None)

    def due(self) -> int | None:
        """When the next turn may come if no slot comes free before; None: not at all."""
        return min((due for each, due in self._queued.items() if self.has(each)), default=None)
