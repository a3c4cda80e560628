"""Who runs jobs in this process, as the desk knows them: the worker, and whoever walks flows."""

from __future__ import annotations

from typing import Protocol

from executor.jobs.job import Job


class Starter(Protocol):
    """Whoever runs jobs in this process."""

    worker_id: str

    def reserve(self, workspace_id: str) -> bool:
        """Take a free slot for a job of the workspace, if there is one."""

    def unreserve(self, workspace_id: str) -> None:
        """Give the slot back; no job came of it."""

    def start(self, job: Job, args: bytes, log_chars: int | None = None) -> None:
        """Run a job whose slot was reserved and whose lease is committed; with so many characters in its log."""

    def queued(self, workspace_id: str, due: int = 0) -> None:
        """Say that a job of the workspace waits in the database, until then (microseconds since 1970)."""


class Walks(Starter, Protocol):
    """Whoever walks flow runs in this process; a place among the walks is a slot."""

    async def take_up(self, run_id: str, workspace_id: str) -> None:
        """There is news for a run of the workspace: an event, or a cancellation."""

    def drop(self, run_id: str) -> None:
        """A run was ended over its walk's head: the walk is over, and what was held for the run."""

    async def store(self, run_id: str) -> None:
        """Whatever a run's walk has told of can be read from the database when this returns."""


class ShowsStatus(Protocol):
    """The status of a flow job that is being walked."""

    @property
    def text(self) -> str:
        """As JSON."""

    def note_progress(self, job: str, percent: int) -> None:
        """The script of a step says how far it is."""
