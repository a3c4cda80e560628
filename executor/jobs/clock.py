"""The service's time: the machine's, but it never goes back.

What is due, how long a wait lasts and when a token ends are compared as times of day. A clock that is
set back by an hour would make everything that waits wait an hour longer, and end jobs before they began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """Follows the machine's clock forward at once; set back, it goes on at half speed until that has caught up."""

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, steady_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._steady_ns = steady_ns
        self._lock = threading.Lock()
        self._told_ns = wall_ns()
        self._told_at_ns = steady_ns()

    def now_us(self) -> int:
        """Microseconds since 1970, UTC; never less than an earlier call gave."""
        with self._lock:
            steady_ns = self._steady_ns()
            slowed_ns = self._told_ns + (steady_ns - self._told_at_ns) // 2
            self._told_ns, self._told_at_ns = max(self._wall_ns(), slowed_ns), steady_ns
            return self._told_ns // 1000


CLOCK = Clock()
"""This process's."""
