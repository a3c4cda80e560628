"""What flow runs may have in memory: a walk holds all jobs of its run, and what their arguments are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MIB = 1024 * 1024

TOGETHER = 4
"""All runs that are walked may have so many times as many jobs as one may have."""
BYTES_TOGETHER = 2
"""And hold so many times as much."""


@dataclass
class Room:
    """Counts the jobs of the runs that are walked, and the bytes of arguments that they hold.

    A run may have `of_run` jobs, and hold `bytes_of_run`.
    """

    of_run: int
    bytes_of_run: int = 1024 * MIB
    _jobs: dict[str, int] = field(default_factory=dict)
    _all: int = 0
    _held: Counter[str] = field(default_factory=Counter)

    def enter(self, run_id: str, jobs: int) -> None:
        """A run is walked that has so many jobs."""
        self._jobs[run_id] = 0
        self.add(run_id, jobs)

    def add(self, run_id: str, jobs: int = 1) -> None:
        """It has more of them."""
        self._jobs[run_id] += jobs
        self._all += jobs

    def leave(self, run_id: str) -> None:
        """It is put down, or over."""
        self._all -= self._jobs.pop(run_id)

    def refusal(self, run_id: str) -> str | None:
        """Why the run may have no further job; where all runs together have too many, small ones still may."""
        jobs, together = self._jobs[run_id], TOGETHER * self.of_run
        if jobs >= self.of_run:
            return f"the run has {jobs} jobs, as many as it may (EXECUTOR_FLOW_JOBS_MAX)"
        if self._all >= together and jobs >= together // len(self._jobs):
            what = f"the runs have {self._all} jobs together, as many as they may, and this one {jobs}"
            return f"{what} (four times EXECUTOR_FLOW_JOBS_MAX)"
        return None

    # ------------------------------------------------------------ bytes

    def hold(self, run_id: str, size: int) -> None:
        """The run holds so many bytes more; a run that is no longer walked may hold some for a moment."""
        self._held[run_id] += size

    def let_go(self, run_id: str, size: int) -> None:
        """It holds them no longer."""
        self._held[run_id] -= size
        if not self._held[run_id]:
            del self._held[run_id]

    def refusal_of(self, run_id: str, size: int) -> str | None:
        """Why the run may not hold so many bytes more; where all together hold too much, small ones still may."""
        held, together = self._held[run_id] + size, BYTES_TOGETHER * self.bytes_of_run
        if held > self.bytes_of_run:
            what = f"the run's steps would hold {held // MIB} MiB of arguments at once, more than they may"
            return f"{what} (EXECUTOR_FLOW_MB); let fewer of them run at once"
        total = self._held.total() + size
        if total > together and held > together // len(self._held | {run_id: 0}):
            what = f"the steps of all runs would hold {total // MIB} MiB of arguments at once, and those of this one"
            return f"{what} {held // MIB} (twice EXECUTOR_FLOW_MB); let fewer of them run at once"
        return None
