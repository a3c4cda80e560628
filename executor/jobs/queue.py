"""Which job starts next, and when to look again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Connection, and_, bindparam, select, update

from executor.jobs import store
from executor.jobs.concurrency import held_back, may_start
from executor.jobs.job import Job, Role
from executor.storage.tables import jobs

LOOK_AGAIN_US = 250_000
"""Jobs that only their key's limit holds back are looked at again after so many microseconds."""

# Made once: they are asked for with every job, and take longer to make than to execute.
NOW: Any = bindparam("now", type_=BigInteger)
IN_QUEUE = and_(
    jobs.c.state == "queued",
    jobs.c.role == bindparam("of_role"),
    jobs.c.workspace_id.not_in(bindparam("not_in", expanding=True)),
)
HELD = held_back(bindparam("of_role"), NOW)
OF_WORKSPACE = and_(
    jobs.c.state == "queued",
    jobs.c.role == bindparam("of_role"),
    jobs.c.workspace_id == bindparam("of_workspace"),
)


def _claiming(waiting: Any) -> Any:
    """The statement that leases the first due job of those that wait."""
    first = (
        select(jobs.c.id)
        .where(waiting, jobs.c.scheduled_for <= NOW, may_start(NOW))
        .order_by(jobs.c.priority.desc(), jobs.c.scheduled_for, jobs.c.created_at)
        .limit(1)
        .scalar_subquery()
    )
    lease = store.lease_values(bindparam("worker"), NOW)
    return update(jobs).where(jobs.c.id == first).values(**lease).returning(*jobs.c)


CLAIM, CLAIM_OF = _claiming(IN_QUEUE), _claiming(OF_WORKSPACE)
# The index has them in this order: the first one ends the search, however many wait behind it.
FIRST_DUE = select(jobs.c.scheduled_for).where(IN_QUEUE, ~HELD).order_by(jobs.c.scheduled_for).limit(1)
FIRST_HELD = select(jobs.c.id).where(IN_QUEUE, HELD).limit(1)


def claim(
    connection: Connection, worker_id: str, now: int, not_in: Collection[str], role: Role = "script"
) -> tuple[Job, bytes] | None:
    """Lease the next due job to the worker, passing over the workspaces `not_in`; with its args.

    Of those that are due a higher priority goes first, then who has waited longest.
    """
    values = {"now": now, "not_in": list(not_in), "of_role": role, "worker": worker_id}
    return _claimed(connection, CLAIM, values)


def claim_of(connection: Connection, worker_id: str, now: int, workspace_id: str) -> tuple[Job, bytes] | None:
    """As `claim`, of the scripts of one workspace."""
    values = {"now": now, "of_workspace": workspace_id, "of_role": "script", "worker": worker_id}
    return _claimed(connection, CLAIM_OF, values)


def _claimed(connection: Connection, claiming: Any, values: dict[str, Any]) -> tuple[Job, bytes] | None:
    row = connection.execute(claiming, values).first()
    return None if row is None else (store.job_of(row), store.args(connection, row.id))


def next_due(connection: Connection, now: int, not_in: Collection[str], role: Role = "script") -> int | None:
    """When to look for a job to start next, in microseconds; None if nothing waits outside `not_in`.

    Jobs that only their key's limit holds back are looked at again after a moment.
    """
    values = {"now": now, "not_in": list(not_in), "of_role": role}
    first: int | None = connection.execute(FIRST_DUE, values).scalar_one_or_none()
    if connection.execute(FIRST_HELD, values).first() is None:
        return first
    again = now + LOOK_AGAIN_US
    return again if first is None else min(first, again)
