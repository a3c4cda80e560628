"""Which job of a concurrency key may start, and what finding it costs: nothing of what has ended."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, update

from executor.jobs import queue, store
from executor.jobs.concurrency import Share, room_under
from executor.storage.tables import jobs
from tests.storage.rows import new_job
from tests.storage.steps import steps

MANY = 100_000
SECOND = 1_000_000


def queued(db: Connection, job_id: str, key: str | None = "k", limit: int = 1, **given: Any) -> None:
    limits = {"concurrency_key": key, "concurrency_limit": limit} if key else {}
    assert store.add(db, new_job(id=job_id, **limits, **given), None, MANY)


def claimed(db: Connection, now: int = 10, workspace: str = "main") -> str | None:
    found = queue.claim(db, "w", now, workspace)
    return None if found is None else found[0].id


def ended(db: Connection, job_id: str) -> None:
    values = {"state": "completed", "status": "success", "completed_at": 20, "worker_id": None}
    db.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def test_a_key_holds_back_its_own_and_nobody_else(db: Connection) -> None:
    """Those behind it that have another key, or none, go first."""
    for job_id, key in {"a": "k", "b": "k", "c": "x", "d": None}.items():
        queued(db, job_id, key, created_at=ord(job_id))
    assert [claimed(db) for _ in range(4)] == ["a", "c", "d", None]
    ended(db, "a")
    assert claimed(db) == "b"


def test_a_workspace_cannot_hold_up_another_by_its_key(db: Connection) -> None:
    """Also by the one that another's flow has by itself, which anybody can guess."""
    queued(db, "here")
    queued(db, "there", workspace_id="other")
    assert [claimed(db), claimed(db, workspace="other")] == ["here", "there"]
    share = Share("k", 2, None)
    assert room_under(db, "main", share, 10) == 1
    queued(db, "second", limit=2)
    assert claimed(db) == "second"
    assert room_under(db, "main", share, 10) == 0
    assert room_under(db, "other", share, 10) == 1


def test_each_job_has_its_own_limit_of_a_key(db: Connection) -> None:
    """As a flow's versions may: the key is theirs together, the number each one's."""
    queued(db, "first")
    assert claimed(db) == "first"
    queued(db, "narrow", created_at=1)
    queued(db, "wide", limit=2, created_at=2)
    assert [claimed(db), claimed(db)] == ["wide", None]


def test_a_window_counts_starts_and_nothing_else(db: Connection) -> None:
    window: dict[str, Any] = {"concurrency_window_s": 2}
    for n in range(3):
        queued(db, str(n), limit=2, created_at=n, **window)
    assert [claimed(db, SECOND), claimed(db, SECOND)] == ["0", "1"]
    ended(db, "0")
    ended(db, "1")
    assert claimed(db, 3 * SECOND - 1) is None
    assert claimed(db, 3 * SECOND) == "2"


def test_a_run_that_was_put_down_counts_and_goes_on(db: Connection) -> None:
    """It has started, so its key holds others back and not itself."""
    queued(db, "a")
    assert claimed(db) == "a"
    db.execute(update(jobs).where(jobs.c.id == "a").values(state="queued", worker_id=None))
    queued(db, "b")
    assert [claimed(db), claimed(db)] == ["a", None]


def test_a_higher_priority_goes_first_then_who_has_waited_longest(db: Connection) -> None:
    """What is not due yet is no obstacle."""
    queued(db, "old", None, scheduled_for=1)
    queued(db, "young", None, scheduled_for=2)
    queued(db, "urgent", None, scheduled_for=3, priority=5)
    queued(db, "later", None, scheduled_for=99, priority=9)
    assert [claimed(db) for _ in range(4)] == ["urgent", "old", "young", None]
    assert queue.next_due(db, 10, "main") == 99


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_finding_the_next_reads_nothing_of_what_has_ended(db: Connection) -> None:
    """A flow with a limit that has run for years is found as fast as a new one."""
    queued(db, "r")
    assert claimed(db) == "r"
    for n in range(100):
        queued(db, f"q{n}")
    before = steps(db, lambda: claimed(db))
    for n in range(3000):
        queued(db, f"e{n}")
    db.execute(
        update(jobs)
        .where(jobs.c.id.startswith("e"))
        .values(state="completed", status="success", started_at=5, completed_at=20)
    )
    assert steps(db, lambda: claimed(db)) <= before + 5


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_finding_the_next_reads_no_more_of_a_longer_queue(db: Connection) -> None:
    """Those that wait are in the order in which they go."""

    def claim_of(count: int) -> int:
        for n in range(count):
            queued(db, f"{count} {n}", None, priority=n % 3)
        return steps(db, lambda: claimed(db))

    assert claim_of(3000) <= claim_of(30) * 1.5
