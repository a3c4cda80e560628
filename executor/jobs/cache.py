"""Results that need not be computed again: of scripts and flows with `cache_ttl` (docs/openflow.md section 1.9)."""

from __future__ import annotations

from sqlalchemy import Connection, and_, insert, select, update

from executor.jobs import store
from executor.jobs.job import Job
from executor.storage.tables import cached_results


def find(connection: Connection, workspace_id: str, key: str, now: int) -> bytes | None:
    """The result that stands for this call, as JSON; None if there is none that is fresh."""
    job_id = connection.execute(
        select(cached_results.c.job_id).where(
            cached_results.c.workspace_id == workspace_id,
            cached_results.c.key == key,
            cached_results.c.expires_at > now,
        )
    ).scalar_one_or_none()
    return None if job_id is None else store.result(connection, job_id)


def keep(connection: Connection, job: Job, now: int) -> None:
    """Let a successful job's result stand for the same call, as long as the job says."""
    if job.cache_key is None or job.cache_ttl_s is None:
        return
    values = {"job_id": job.id, "expires_at": now + job.cache_ttl_s * 1_000_000}
    same = and_(cached_results.c.workspace_id == job.workspace_id, cached_results.c.key == job.cache_key)
    if not connection.execute(update(cached_results).where(same).values(**values)).rowcount:
        connection.execute(
            insert(cached_results).values(workspace_id=job.workspace_id, key=job.cache_key, **values)
        )
