"""Which writes share the next transaction: each workspace's in turn, so that nobody's flood is before everybody.

Pure but for a lock: the event loop hands writes in, the writing thread takes them.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

GROUP_MAX = 64
"""Writes of one transaction at most, so that the first of them need not wait for ever."""
ROWS_MAX = 200
"""Once a transaction has so many rows of workspaces' writes, the others wait for the next one."""


class Turns(Generic[T]):
    """Writes that wait. Those of nobody in particular are small, and come first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._common: deque[T] = deque()
        self._lanes: dict[str, deque[tuple[T, int]]] = {}
        """By workspace; the first one here has the next turn."""

    def add(self, write: T, whose: str = "", rows: int = 1) -> None:
        """It waits now: some `rows` of the workspace `whose`, or of nobody in particular."""
        with self._lock:
            if whose:
                self._lanes.setdefault(whose, deque()).append((write, rows))
            else:
                self._common.append(write)

    def take(self) -> list[T]:
        """What goes into the next transaction."""
        with self._lock:
            group = [self._common.popleft() for _ in range(min(len(self._common), GROUP_MAX))]
            rows = 0
            while self._lanes and len(group) < 2 * GROUP_MAX and rows < ROWS_MAX:
                whose = next(iter(self._lanes))
                lane = self._lanes.pop(whose)
                write, size = lane.popleft()
                if lane:
                    self._lanes[whose] = lane  # behind the others
                group.append(write)
                rows += size
            return group
