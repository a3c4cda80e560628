"""Ending what has not ended by itself: a job with all that it has started, or a family by force.

A cancelled job ends soon: its script gets a signal and some time. A job that is ended by force is done
at once, in the database, whatever becomes of its process; whoever ran it finds its lease lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from executor import telemetry
from executor.jobs import store
from executor.jobs.desk import Desk, log_of_run
from executor.jobs.ending import Ending, canceled
from executor.jobs.job import Job, Role, now_us
from executor.storage.tables import job_results, jobs


@dataclass(frozen=True)
class Unfinished:
    """A job that has not ended."""

    id: str
    role: Role
    run_id: str | None
    language: str

    @property
    def is_entered(self) -> bool:
        """Handed in by a client: no step of a flow run, which ends with its run."""
        return self.run_id in (None, self.id)


async def cancel(desk: Desk, job: Job, by: str, why: str) -> None:
    """End a job soon, and every job below it; a completed one stays as it is, those below it do not."""
    below = await desk.database.read(unfinished, job.workspace_id, job.id)
    for one in below:
        if one.is_entered or one.id == job.id:
            await desk.cancel(job.workspace_id, one.id, by, why)


async def cancel_at_path(desk: Desk, workspace_id: str, path: str, by: str, why: str) -> list[str]:
    """End soon what of a script or flow has not ended, with all that it has started; the jobs' ids."""
    found = await desk.database.read(_at_path, workspace_id, path)
    for job in found:
        await cancel(desk, job, by, why)
    return [job.id for job in found]


async def end_by_force(desk: Desk, job: Job, by: str, why: str) -> None:
    """Mark a job's topmost ancestor, and every job below that, as cancelled now; wait for no process."""
    top = await desk.database.read(topmost, job)
    end = canceled(by, why)
    statuses = {job_id: shown.text for job_id, shown in desk.flow_statuses.items()}
    ended = await desk.database.write(_end_all, job.workspace_id, top, end, statuses, now_us())
    for one in ended:
        telemetry.jobs_ended.labels(one.language or "flow", end.status.value, end.reason or "").inc()
        if (live := desk.live.get(one.id)) is not None:
            live.cancel_asked.set()
        if one.role == "run":
            desk.cancel_asked[one.id] = (by, why)
            if desk.walks is not None:
                desk.walks.drop(one.id)
            desk.changed(log_of_run(one.id))
        desk.changed(one.id)


def topmost(connection: Connection, job: Job) -> str:
    """The id of the outermost job around a job, or its own."""
    return [job, *store.ancestors(connection, job)][-1].id


def unfinished(connection: Connection, workspace_id: str, job_id: str) -> list[Unfinished]:
    """The job, and the jobs below it in any generation, as far as they have not ended; older ones first."""
    here = jobs.c.workspace_id == workspace_id
    family = select(jobs.c.id).where(here, jobs.c.id == job_id).cte("family", recursive=True)
    children = select(jobs.c.id).join(family, jobs.c.parent_job == family.c.id).where(here)
    family = family.union(children)  # not ALL: clients choose ids and parents, also in a circle
    rows = connection.execute(
        select(jobs.c.id, jobs.c.role, jobs.c.run_id, jobs.c.language)
        .join(family, family.c.id == jobs.c.id)
        .where(jobs.c.state != "completed")
        .order_by(jobs.c.created_at)
    )
    return [Unfinished(row.id, row.role, row.run_id, row.language) for row in rows]


def _at_path(connection: Connection, workspace_id: str, path: str) -> list[Job]:
    here = jobs.c.workspace_id == workspace_id, jobs.c.path == path
    return store.matching(connection, *here, jobs.c.state.in_(("queued", "running")), store.ENTERED)


def _end_all(
    connection: Connection,
    workspace_id: str,
    top: str,
    end: Ending,
    statuses: Mapping[str, str],
    now: int,
) -> Collection[Unfinished]:
    """End a job and all below it; those that this has ended."""
    found = unfinished(connection, workspace_id, top)
    for one in found:
        values = store.ended(end, now)
        if one.id in statuses:
            values["flow_status"] = statuses[one.id]
        connection.execute(update(jobs).where(jobs.c.id == one.id).values(**values))
    if found:
        results = [{"job_id": one.id, "body": end.result} for one in found]
        connection.execute(insert(job_results), results)
    return found
