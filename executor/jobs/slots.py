"""Which workspace has the next turn: slots are shared, so that one workspace's flood holds up no other. Pure.

A workspace takes as many slots as are free, but of those that wait the one that runs least goes first.
One slot more than there are is for workspaces that run nothing: whoever comes to an instance whose
slots are all taken by others, for however long, starts at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

GUESTS = 1
"""So many jobs run beyond the slots, of workspaces that run nothing else."""


class Slots:
    """The slots of a worker. `share` gives how many a workspace may have at most; None: all."""

    def __init__(self, count: int, share: Callable[[str], int | None]) -> None:
        self._count = count
        self._share = share
        self._busy: Counter[str] = Counter()
        self._queued: set[str] = set()

    @property
    def are_free(self) -> bool:
        """Whether there is a slot for anybody."""
        return self._busy.total() < self._count

    def has(self, workspace_id: str) -> bool:
        """Whether a job of the workspace may start now."""
        if self.is_at_share(workspace_id):
            return False
        total = self._busy.total()
        return total < self._count or (total < self._count + GUESTS and workspace_id not in self._busy)

    def is_at_share(self, workspace_id: str) -> bool:
        """Whether the workspace has all the slots that its policy gives it."""
        share = self._share(workspace_id)
        return share is not None and self._busy[workspace_id] >= share

    def take(self, workspace_id: str) -> None:
        """A job of the workspace starts."""
        self._busy[workspace_id] += 1

    def give_back(self, workspace_id: str) -> None:
        """A job of the workspace has ended."""
        self._busy[workspace_id] -= 1
        if not self._busy[workspace_id]:
            del self._busy[workspace_id]

    def queued(self, workspace_id: str) -> None:
        """A job of the workspace waits."""
        self._queued.add(workspace_id)

    def none_queued(self, workspace_id: str) -> None:
        """No job of the workspace waits for its turn now."""
        self._queued.discard(workspace_id)

    def at_share(self) -> list[str]:
        """The workspaces that may have no further slot."""
        return [workspace_id for workspace_id in self._busy if self.is_at_share(workspace_id)]

    def turns(self) -> Iterator[str]:
        """The workspaces of which a job may start, as far as it is known that one waits: who runs least comes first."""
        for workspace_id in sorted(self._queued, key=lambda each: (self._busy[each], each)):
            if self.has(workspace_id):
                yield workspace_id
