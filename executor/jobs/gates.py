"""Every statement about gates for those outside the walk: who asks for approval, and what was said.

Also the values that a flow's scripts keep under their run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from executor.errors import BadInput, NotFound
from executor.jobs import events, store
from executor.jobs.job import Job
from executor.storage.tables import flow_states, jobs, journal

RESULT_BYTES_MAX = 1024 * 1024
"""A gated step's result above this says nothing to the approval page."""
STATES_MAX = 1000
"""Values that one flow may keep."""


@dataclass(frozen=True)
class GateRows:
    """A step's job, the flow jobs around it from inside out (the run is last), and its events."""

    job: Job
    around: Sequence[Job]
    events: Sequence[Any]
    result: bytes | None

    @property
    def flow(self) -> Job:
        """The flow job whose step it is."""
        return self.around[0]

    @property
    def run(self) -> Job:
        """The run it belongs to."""
        return self.around[-1]


def read(connection: Connection, workspace_id: str, job_id: str) -> GateRows:
    """What is known of a job that may be approved; raises NotFound, also for a job that is no step."""
    job = store.get(connection, workspace_id, job_id)
    if job is None:
        raise NotFound(f"no job {job_id} in workspace {workspace_id}", field="job")
    around: list[Job] = []
    if job.id != job.run_id:
        for parent in store.ancestors(connection, job):
            around.append(parent)
            if parent.id == job.run_id:
                break
    if not around or around[-1].id != job.run_id:
        raise NotFound(f"job {job_id} is no step of a flow: nothing waits for it", field="job")
    result = store.result(connection, job_id) if job.state == "completed" else None
    if result is not None and len(result) > RESULT_BYTES_MAX:
        result = None
    return GateRows(job, around, events.read(connection, job_id), result)


def notes(connection: Connection, run_id: str, paths: Sequence[str]) -> dict[str, bytes]:
    """What a run's journal says at these places."""
    rows = connection.execute(
        select(journal.c.path, journal.c.value).where(journal.c.run_id == run_id, journal.c.path.in_(paths))
    )
    return {row.path: row.value for row in rows}


def flow_jobs(connection: Connection, flow: Job) -> list[Job]:
    """A flow job and, if it is a whole run, every flow job inside that has not ended."""
    if flow.role != "run":
        return [flow]
    inside = jobs.c.run_id == flow.id, jobs.c.role == "part", jobs.c.state != "completed"
    rows = connection.execute(select(jobs).where(*inside).order_by(jobs.c.created_at, jobs.c.id))
    return [flow, *map(store.job_of, rows)]


# ------------------------------------------------------------ what scripts keep


def states(connection: Connection, flow_id: str) -> dict[str, bytes]:
    """The values kept under a flow, by key, as JSON texts."""
    rows = connection.execute(
        select(flow_states.c.key, flow_states.c.value)
        .where(flow_states.c.run_id == flow_id)
        .order_by(flow_states.c.key)
    )
    return {row.key: row.value for row in rows}


def state(connection: Connection, flow_id: str, key: str) -> bytes | None:
    """One of them."""
    return connection.execute(
        select(flow_states.c.value).where(flow_states.c.run_id == flow_id, flow_states.c.key == key)
    ).scalar_one_or_none()


def set_state(connection: Connection, workspace_id: str, flow_id: str, key: str, value: bytes) -> None:
    """Keep a value under a flow.

    Raises NotFound for a job that is no flow or has ended, BadInput when it keeps STATES_MAX values.
    """
    flow = store.get(connection, workspace_id, flow_id)
    if flow is None or not flow.is_flow or flow.state == "completed":
        raise NotFound("Flow job not found", field="id", remedy="use the id of a flow that still runs")
    same = (flow_states.c.run_id == flow_id) & (flow_states.c.key == key)
    if connection.execute(update(flow_states).where(same).values(value=value)).rowcount:
        return
    kept = connection.execute(
        select(func.count()).select_from(flow_states).where(flow_states.c.run_id == flow_id)
    ).scalar_one()
    if kept >= STATES_MAX:
        raise BadInput(
            f"key: the flow keeps {STATES_MAX} values already",
            field="key",
            remedy="use one of its keys, or one object for many values",
        )
    connection.execute(insert(flow_states).values(run_id=flow_id, key=key, value=value))


def set_progress(connection: Connection, job_id: str, percent: int) -> None:
    """How far a job is, as its script says."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(progress=percent))
