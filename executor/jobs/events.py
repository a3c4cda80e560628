"""Every statement about events, the approvals and disapprovals that gated steps wait for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from executor.errors import Conflict, TooLarge
from executor.storage.tables import approvals, jobs

BYTES_MAX = 8 * 1024 * 1024
"""What the payloads of one gate have together."""
IDS_AT_ONCE = 500


def read(connection: Connection, job_id: str) -> list[Any]:
    """Approvals and disapprovals of a gated step's job, in the order they came."""
    return list(
        connection.execute(
            select(approvals)
            .where(approvals.c.job_id == job_id)
            .order_by(approvals.c.arrived_at, approvals.c.resume_id)
        )
    )


def counts(connection: Connection, job_ids: Iterable[str]) -> dict[str, int]:
    """How many events each of these jobs has, of those that have any."""
    found: dict[str, int] = {}
    rest = iter(job_ids)
    while some := list(islice(rest, IDS_AT_ONCE)):
        rows = connection.execute(
            select(approvals.c.job_id, func.count().label("number"))
            .where(approvals.c.job_id.in_(some))
            .group_by(approvals.c.job_id)
        )
        found |= {row.job_id: row.number for row in rows}
    return found


def add(
    connection: Connection,
    job_id: str,
    resume_id: int,
    approved: bool,
    approver: str | None,
    payload: bytes,
    now: int,
) -> tuple[str, str] | None:
    """Store an event of a step's job, and wake the run that may wait for it; the run's id and workspace.

    Raises Conflict for a second one of the same id, and when the run has ended, TooLarge when the job's events
    together have too much: whoever looks at the gate reads them all.
    """
    known = connection.execute(
        select(approvals.c.job_id).where(approvals.c.job_id == job_id, approvals.c.resume_id == resume_id)
    ).first()
    if known is not None:
        raise Conflict("resume request already sent", field="resume_id", remedy="use another resume id")
    run_id: str | None = connection.execute(
        select(jobs.c.run_id).where(jobs.c.id == job_id)
    ).scalar_one_or_none()
    run = connection.execute(select(jobs.c.state, jobs.c.workspace_id).where(jobs.c.id == run_id)).first()
    if run is not None and run.state == "completed":
        raise Conflict("the flow has ended; nothing waits for this any more", field="job")
    sizes = select(func.coalesce(func.sum(func.length(approvals.c.payload)), 0))
    held = connection.execute(sizes.where(approvals.c.job_id == job_id)).scalar_one()
    if held + len(payload) > BYTES_MAX:
        raise TooLarge(
            f"payload: what this step's approvals brought may have {BYTES_MAX >> 20} MiB together",
            field="payload",
            remedy="send less, for example where the value is",
        )
    connection.execute(
        insert(approvals).values(
            job_id=job_id,
            resume_id=resume_id,
            approved=approved,
            approver=approver,
            payload=payload,
            arrived_at=now,
        )
    )
    # The queue is the fallback: whoever looks next takes the run up.
    connection.execute(
        update(jobs)
        .where(jobs.c.id == run_id, jobs.c.state == "queued", jobs.c.scheduled_for > now)
        .where(jobs.c.started_at.is_not(None))
        .values(scheduled_for=now)
    )
    return None if run is None or run_id is None else (run_id, run.workspace_id)
