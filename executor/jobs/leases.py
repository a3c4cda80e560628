"""How a run gives up its lease: with the job's end, or by putting the job back into the queue.

Both are one transaction with the last of the run's output, and both do nothing once the lease is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from executor.jobs import cache, store
from executor.jobs.ending import Ending, canceled
from executor.jobs.job import Job, Status
from executor.jobs.live import Piece, append
from executor.script import Isolation


@dataclass(frozen=True)
class Completion:
    """The job has ended; `isolation` says where its script ran, if it did."""

    end: Ending
    isolation: Isolation | None = None


@dataclass(frozen=True)
class ReturnToQueue:
    """The job waits again, until `not_before` (microseconds) at least; its log so far stays."""

    not_before: int
    ran: bool = True
    """Whether its script may have run; an attempt that never did does not count."""


LastWord = Completion | ReturnToQueue


class LeaseLost(Exception):
    """Another worker has the job now, or it is completed: this run no longer counts."""


def give_up(connection: Connection, job: Job, word: LastWord, rest: list[Piece], now: int) -> LastWord:
    """End a run by its last word and the rest of its output; give the word that is stored.

    A job that somebody cancelled meanwhile does not wait again: it has ended. Raises LeaseLost, and then
    nothing is stored.
    """
    if isinstance(word, ReturnToQueue) and (asked := store.cancellation(connection, job)) is not None:
        word = Completion(canceled(*asked))
    if isinstance(word, Completion):
        is_ours = store.finish(connection, job, word.end, now, word.isolation)
    else:
        is_ours = store.release(connection, job, word.not_before, ran=word.ran)
    if not is_ours:
        raise LeaseLost
    kept = cache.Kept.of(job, now)
    if kept is not None and isinstance(word, Completion) and word.end.status is Status.SUCCESS:
        cache.keep(connection, job.workspace_id, kept)
    append(connection, job.id, rest)
    return word
