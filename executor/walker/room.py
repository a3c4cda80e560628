"""How many jobs flow runs may have: a walk holds all of its run's in memory, and flows may call themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

TOGETHER = 4
"""All runs that are walked may have so many times what one may have."""


@dataclass
class Room:
    """Counts the jobs of the runs that are walked; a run may have `of_run`."""

    of_run: int
    _jobs: dict[str, int] = field(default_factory=dict)
    _all: int = 0

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
