"""Lists of jobs, a page at a time: found by an index, however many jobs there have been."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from executor.jobs import store
from executor.jobs.job import Job
from executor.storage.tables import jobs

RUNNING = jobs.c.state == "running"
NOT_RUNNING = jobs.c.state != "running"
QUEUED = jobs.c.state == "queued"
COMPLETED = jobs.c.state == "completed"
BY_TIME = jobs.c.created_at
BODIES_BYTES = 4 * 1024 * 1024
"""Arguments and results that are held at once, but for the last one."""


def listed(
    connection: Connection,
    where: list[Any],
    *,
    completed: bool | None,
    newest_first: bool,
    offset: int,
    limit: int,
) -> list[Job]:
    """Jobs that meet all conditions, each a `store.SUMMARY`, running ones first, then by the time they were created.

    `completed` is one condition more, None for any. Those that run are looked for apart: no index has them before
    the others, and sorting all others would take longer each day.
    """
    if completed:
        return _page(connection, [COMPLETED, *where], BY_TIME, newest_first, offset, limit)
    running = [RUNNING, *where]
    found = _page(connection, running, store.FEW_BY_TIME, newest_first, offset, limit)
    if len(found) == limit:
        return found
    before = (
        connection.execute(select(func.count()).select_from(jobs).where(*running)).scalar_one()
        if offset
        else 0
    )
    behind = max(0, offset - before), limit - len(found)
    if completed is None:
        return found + _page(connection, [NOT_RUNNING, *where], BY_TIME, newest_first, *behind)
    return found + _page(connection, [QUEUED, *where], store.FEW_BY_TIME, newest_first, *behind)


def _page(
    connection: Connection, where: list[Any], by: Any, newest_first: bool, offset: int, limit: int
) -> list[Job]:
    order = by.desc() if newest_first else by.asc()
    rows = connection.execute(
        select(*store.SUMMARY).where(*where).order_by(order, jobs.c.id).offset(offset).limit(limit)
    )
    return [store.job_of(row) for row in rows]


def bodies(
    connection: Connection, job_ids: Iterable[str], *, args: bool, result: bool
) -> list[tuple[bytes | None, bytes | None]]:
    """The arguments and results of the first of these jobs, as JSON, as many as may be held at once.

    None for what is not asked for, and for what is not there.
    """
    found: list[tuple[bytes | None, bytes | None]] = []
    size = 0
    for job_id in job_ids:
        pair = (
            store.args(connection, job_id) if args else None,
            store.result(connection, job_id) if result else None,
        )
        found.append(pair)
        size += sum(len(body or b"") for body in pair)
        if size > BODIES_BYTES:
            break
    return found
