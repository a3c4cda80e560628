"""Which job of a workspace starts next, and when to look again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Connection, and_, bindparam, literal_column, select, update

from executor.jobs import store
from executor.jobs.concurrency import held_back, may_start
from executor.jobs.job import Job, Role
from executor.storage.tables import jobs

LOOK_AGAIN_US = 250_000
"""Jobs that only their key's limit holds back are looked at again after so many microseconds."""

# Made once: they are asked for with every job, and take longer to make than to execute.
NOW: Any = bindparam("now", type_=BigInteger)
QUEUED = and_(
    jobs.c.workspace_id == bindparam("of_workspace"),
    jobs.c.state == literal_column("'queued'"),  # no parameter: `ix_jobs_next` has these only
    jobs.c.role == bindparam("of_role"),
)
HELD = held_back(bindparam("of_role"), NOW)
FIRST = (
    select(jobs.c.id)
    .where(
        QUEUED, jobs.c.scheduled_for <= NOW, may_start(bindparam("of_workspace"), bindparam("of_role"), NOW)
    )
    .order_by(jobs.c.priority.desc(), jobs.c.scheduled_for, jobs.c.created_at)
    .limit(1)
    .scalar_subquery()
)
CLAIM = (
    update(jobs)
    .where(jobs.c.id == FIRST)
    .values(**store.lease_values(bindparam("worker"), NOW))
    .returning(*jobs.c)
)
# The index has them in this order: the first one ends the search, however many wait behind it.
FIRST_DUE = select(jobs.c.scheduled_for).where(QUEUED, ~HELD).order_by(jobs.c.scheduled_for).limit(1)
FIRST_HELD = select(jobs.c.id).where(QUEUED, HELD).limit(1)


def claim(
    connection: Connection, worker_id: str, now: int, workspace_id: str, role: Role = "script"
) -> tuple[Job, bytes] | None:
    """Lease the workspace's next due job to the worker; with its args.

    Of those that are due a higher priority goes first, then who has waited longest.
    """
    values = {"now": now, "of_workspace": workspace_id, "of_role": role, "worker": worker_id}
    row = connection.execute(CLAIM, values).first()
    return None if row is None else (store.job_of(row), store.args(connection, row.id))


def next_due(connection: Connection, now: int, workspace_id: str, role: Role = "script") -> int | None:
    """When to look for a job of the workspace to start next, in microseconds; None if nothing waits.

    Jobs that only their key's limit holds back are looked at again after a moment.
    """
    values = {"now": now, "of_workspace": workspace_id, "of_role": role}
    first: int | None = connection.execute(FIRST_DUE, values).scalar_one_or_none()
    if connection.execute(FIRST_HELD, values).first() is None:
        return first
    again = now + LOOK_AGAIN_US
    return again if first is None else min(first, again)


def workspaces(connection: Connection, role: Role = "script") -> list[str]:
    """The workspaces that have jobs in the queue."""
    waiting = select(jobs.c.workspace_id).where(jobs.c.state == "queued", jobs.c.role == role).distinct()
    return list(connection.execute(waiting).scalars())
