"""Every statement about events, the approvals and disapprovals that gated steps wait for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from executor.errors import Conflict
from executor.storage.tables import approvals, jobs


def read(connection: Connection, job_id: str) -> list[Any]:
    """Approvals and disapprovals of a gated step's job, in the order they came."""
    return list(
        connection.execute(
            select(approvals)
            .where(approvals.c.job_id == job_id)
            .order_by(approvals.c.arrived_at, approvals.c.resume_id)
        )
    )


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

    Raises Conflict for a second one of the same id, and when the run has ended.
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
