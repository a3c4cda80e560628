"""How long no container engine answers: jobs that cannot begin for that wait, but not for ever."""

from __future__ import annotations

import time

from executor.errors import EngineUnreachable, ExecutorError

GAP_S = 300.0
"""Failures further apart than this belong to different outages; the tries of one job are 21 s apart."""


class Outage:
    """The present or the last one; `patience_s` (seconds) is what jobs sit out."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._began = self._seen = float("-inf")

    def is_bearable(self, error: ExecutorError) -> bool:
        """Whether `error`, which has come now, is that no engine answers, and has been for a bearable time."""
        if not isinstance(error, EngineUnreachable):
            return False
        now = time.monotonic()
        if now - self._seen > GAP_S:
            self._began = now
        self._seen = now
        return now - self._began < self._patience_s
