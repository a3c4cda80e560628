"""Every statement about jobs, one function per sentence.

Functions take a connection and run in the caller's transaction. What may change a running job names
the worker and the attempt that hold its lease, so that a worker which was given up cannot.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from executor.errors import Conflict, TooManyJobs
from executor.jobs.ending import Ending
from executor.jobs.job import DELETED_LOG, Job, NewJob, OutputKind, Status
from executor.script import Isolation, Limits, compact_json
from executor.storage.tables import flow_states, job_args, job_output, job_results, jobs

GENERATIONS_MAX = 500

ENTERED = or_(jobs.c.run_id.is_(None), jobs.c.run_id == jobs.c.id)
"""Handed in by a client: no step of a flow run."""
SUMMARY: list[Any] = [
    literal_column("''" if column.name == "content" else "NULL").label(column.name)
    if column.name in ("content", "lock", "flow_status")
    else column
    for column in jobs.c
]
"""A job's row without what may have megabytes: many of them are read at once."""
FEW_BY_TIME = jobs.c.created_at + literal_column("0")
"""Jobs' age, for few of all jobs: that they are few is to lead to them, and not an index of all jobs by age."""


FINISH = update(jobs).where(
    jobs.c.id == bindparam("of_job"),
    jobs.c.worker_id == bindparam("of_worker"),
    jobs.c.attempt == bindparam("of_attempt"),
)
"""Of a running job, by who has its lease. Made once, as it comes with every job."""


def add(connection: Connection, new: NewJob, worker_id: str | None, queue_max: int) -> bool:
    """Store a job, leased to `worker_id` at once if given; False if this very request is stored already.

    Raises Conflict if the id belongs to another request, TooManyJobs if the queue is full.
    """
    if is_stored(connection, new.id, new.workspace_id, new.request_hash):
        return False
    if worker_id is None and waiting(connection, new.workspace_id) >= queue_max:
        raise TooManyJobs(
            f"the queue is full: {queue_max} jobs are waiting in workspace {new.workspace_id!r}",
            remedy="try again when some have ended, or raise EXECUTOR_QUEUE_MAX",
        )
    insert_job(connection, new, worker_id)
    return True


def is_stored(connection: Connection, job_id: str, workspace_id: str, request_hash: str) -> bool:
    """Whether this very request is stored already; raises Conflict if the id belongs to another one."""
    known = connection.execute(
        select(jobs.c.workspace_id, jobs.c.request_hash).where(jobs.c.id == job_id)
    ).first()
    if known is None:
        return False
    if (known.workspace_id, known.request_hash) == (workspace_id, request_hash):
        return True
    raise Conflict(
        f"job_id: {job_id} was used for another request",
        field="job_id",
        remedy="send a new UUID, or the very same request",
    )


def insert_job(connection: Connection, new: NewJob, worker_id: str | None) -> None:
    """Store a job that is known to be new, leased to `worker_id` at once if given."""
    leased = worker_id is not None
    row = {key: value for key, value in vars(new).items() if key not in ("args", "limits", "log")}
    lease = {
        "limits": json.dumps(asdict(new.limits)),
        "state": "running" if leased else "queued",
        "worker_id": worker_id,
        "started_at": new.created_at if leased else None,
        "attempt": 1 if leased else 0,
    }
    # Values apart from the statement: put into it, each would be built into it anew.
    connection.execute(insert(jobs), {**row, **lease})
    connection.execute(insert(job_args), {"job_id": new.id, "body": new.args})
    if new.log:
        append_output(connection, new.id, "log", 0, new.log)
    if new.restarted_from is not None:
        _carry_states(connection, json.loads(new.restarted_from)["flow_job_id"], new.id)


def _carry_states(connection: Connection, origin: str, run_id: str) -> None:
    """What scripts kept under a run goes on with the run that it is restarted as."""
    own = select(literal(run_id), flow_states.c.key, flow_states.c.value).where(
        flow_states.c.run_id == origin
    )
    connection.execute(insert(flow_states).from_select(["run_id", "key", "value"], own))


def waiting(connection: Connection, workspace_id: str | None = None) -> int:
    """How many jobs that clients handed in are queued, of one workspace or all; steps of a run that goes on do not count."""
    asked = select(func.count()).where(jobs.c.state == "queued", jobs.c.started_at.is_(None), ENTERED)
    if workspace_id is not None:
        asked = asked.where(jobs.c.workspace_id == workspace_id)
    return connection.execute(asked).scalar_one()


def lease_one(connection: Connection, job_id: str, worker_id: str, now: int) -> Job | None:
    """Lease this very job, if it is queued."""
    row = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == "queued")
        .values(**lease_values(worker_id, now))
        .returning(*jobs.c)
    ).first()
    return None if row is None else job_of(row)


def holds(connection: Connection, job: Job) -> bool:
    """Whether the job's lease still is the one that `job` was read with."""
    return connection.execute(select(jobs.c.id).where(_leased(job))).first() is not None


def lease_values(worker_id: Any, now: Any) -> dict[str, Any]:
    """What a row says when the worker takes the job."""
    return {
        "state": "running",
        "worker_id": worker_id,
        "started_at": func.coalesce(jobs.c.started_at, now),
        "attempt": jobs.c.attempt + 1,
    }


def note_container(connection: Connection, job: Job, isolation: Isolation) -> bool:
    """Say which container the job's script runs in; False if the lease is lost, then nothing changes."""
    return _changed(connection.execute(update(jobs).where(_leased(job)).values(**_ran_in(isolation))))


def _ran_in(isolation: Isolation) -> dict[str, Any]:
    return {"container": isolation.container, "isolation": json.dumps(isolation.as_dict())}


def finish(
    connection: Connection, job: Job, ending: Ending, now: int, isolation: Isolation | None = None
) -> bool:
    """Record how a running job ended, and where it ran; False if the lease is lost, then nothing changes."""
    values = ended(ending, now) | ({} if isolation is None else _ran_in(isolation))
    lease = {"of_job": job.id, "of_worker": job.worker_id, "of_attempt": job.attempt}
    changed = _changed(connection.execute(FINISH, values | lease))
    if changed:
        connection.execute(insert(job_results), {"job_id": job.id, "body": ending.result})
    return changed


def finish_queued(connection: Connection, job_id: str, ending: Ending, now: int) -> bool:
    """Record the end of a job that never started; False if it is not queued any more."""
    changed = _changed(
        connection.execute(
            update(jobs).where(jobs.c.id == job_id, jobs.c.state == "queued").values(**ended(ending, now))
        )
    )
    if changed:
        connection.execute(insert(job_results).values(job_id=job_id, body=ending.result))
    return changed


def ended(ending: Ending, now: int) -> dict[str, Any]:
    """What the row of a job that ends so says."""
    return {
        "state": "completed",
        "status": ending.status.value,
        "completed_at": now,
        "worker_id": None,
        "reason": ending.reason,
        "canceled_by": ending.canceled_by,
        "canceled_reason": ending.canceled_reason,
        "labels": None if ending.labels is None else json.dumps(ending.labels),
        "memory_peak_bytes": ending.memory_peak_bytes,
        "cpu_ms": ending.cpu_ms,
        "suspend": 0,
        "suspend_until": None,
    }


def note_cancellation(connection: Connection, job_id: str, by: str, why: str) -> bool:
    """Mark a job as to be cancelled, so that nobody runs it again; False if it has ended."""
    return _changed(
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state != "completed")
            .values(canceled_by=by, canceled_reason=why)
        )
    )


def cancel(connection: Connection, job_id: str, ending: Ending, now: int) -> bool:
    """End a job that waits, mark one that runs; whether this has ended it.

    The mark comes first: from then on, on any database, the job cannot move between the two.
    """
    note_cancellation(connection, job_id, ending.canceled_by or "", ending.canceled_reason or "")
    return finish_queued(connection, job_id, ending, now)


def cancellation(connection: Connection, job: Job) -> tuple[str, str] | None:
    """Who wants a running job to end, and why; None if nobody does, or the lease is lost."""
    asked = select(jobs.c.canceled_by, jobs.c.canceled_reason).where(
        _leased(job), jobs.c.canceled_by.is_not(None)
    )
    row = connection.execute(asked.with_for_update()).first()
    return None if row is None else (row.canceled_by, row.canceled_reason or "")


def release(connection: Connection, job: Job, not_before: int, *, ran: bool = True) -> bool:
    """Give a lease back: the job waits again, to be run anew; an attempt that never ran does not count."""
    return _changed(
        connection.execute(
            update(jobs)
            .where(_leased(job))
            .values(
                state="queued",
                worker_id=None,
                started_at=job.started_at if job.role == "run" else None,  # a run goes on where it was
                scheduled_for=not_before,
                attempt=jobs.c.attempt if ran else jobs.c.attempt - 1,
            )
        )
    )


def due_after_all(connection: Connection, now: int) -> int:
    """Make due what only waits because the clock was set back; give the number of jobs.

    They were handed in, or given back after a lost run, at a time that has yet to come. What somebody
    has scheduled keeps its time.
    """
    was_due = or_(
        jobs.c.scheduled_for <= jobs.c.created_at, and_(jobs.c.role == "script", jobs.c.attempt > 0)
    )
    late = and_(jobs.c.state == "queued", jobs.c.scheduled_for > now, jobs.c.created_at > now, was_due)
    return int(connection.execute(update(jobs).where(late).values(scheduled_for=now)).rowcount)


def orphans(connection: Connection, living: Collection[str]) -> list[Job]:
    """Running jobs, flow runs among them, whose worker is not among the living."""
    return matching(connection, jobs.c.state == "running", jobs.c.worker_id.not_in(living))


def matching(connection: Connection, *where: Any) -> list[Job]:
    """The few jobs that meet all conditions, those created first before the others, each a SUMMARY."""
    rows = connection.execute(select(*SUMMARY).where(*where).order_by(FEW_BY_TIME, jobs.c.id))
    return [job_of(row) for row in rows]


def append_output(connection: Connection, job_id: str, kind: OutputKind, position: int, text: str) -> None:
    """Store the next piece of a job's log or result stream."""
    connection.execute(insert(job_output).values(job_id=job_id, kind=kind, position=position, text=text))


def output(connection: Connection, job_id: str, kind: OutputKind, offset: int = 0) -> tuple[str, int]:
    """A job's log or result stream from character `offset` on, and its length so far."""
    start = connection.execute(
        select(func.max(job_output.c.position)).where(
            job_output.c.job_id == job_id, job_output.c.kind == kind, job_output.c.position <= offset
        )
    ).scalar_one_or_none()
    rows = connection.execute(
        select(job_output.c.position, job_output.c.text)
        .where(job_output.c.job_id == job_id, job_output.c.kind == kind)
        .where(job_output.c.position >= (start or 0))
        .order_by(job_output.c.position)
    ).all()
    if not rows:
        return "", 0
    text = "".join(row.text for row in rows)
    return text[max(0, offset - rows[0].position) :], rows[0].position + len(text)


def get(connection: Connection, workspace_id: str, job_id: str) -> Job | None:
    """A job of the workspace by its id."""
    row = connection.execute(
        select(jobs).where(jobs.c.id == job_id, jobs.c.workspace_id == workspace_id)
    ).first()
    return None if row is None else job_of(row)


def with_result(connection: Connection, workspace_id: str, job_id: str) -> tuple[Job, bytes | None] | None:
    """A job of the workspace by its id, and its result or error object once it is completed."""
    job = get(connection, workspace_id, job_id)
    if job is None:
        return None
    return job, result(connection, job_id) if job.state == "completed" else None


def ancestors(connection: Connection, job: Job) -> Iterator[Job]:
    """The jobs around a job, from inside out; clients choose parents, also in a circle, so there is an end."""
    at: Job | None = job
    for _ in range(GENERATIONS_MAX):
        at = None if at is None or at.parent_job is None else get(connection, job.workspace_id, at.parent_job)
        if at is None or at.id == job.id:
            return
        yield at


def args(connection: Connection, job_id: str) -> bytes:
    """A job's arguments: a JSON object. What a part of a run shares with the job around it is added."""
    found: list[bytes] = []
    at: str | None = job_id
    while at is not None:
        row = connection.execute(
            select(job_args.c.body, job_args.c.base).where(job_args.c.job_id == at)
        ).first()
        if row is None:
            break  # a step without arguments has no row
        found.append(row.body)
        at = row.base
    if not found:
        return b"{}"
    return found[0] if len(found) == 1 else merged(found)


def merged(objects: Sequence[bytes]) -> bytes:
    """JSON objects as one; of members of one name the first object's counts."""
    whole: dict[str, Any] = {}
    for text in reversed(objects):
        whole |= json.loads(text)
    return compact_json(whole)


def result(connection: Connection, job_id: str) -> bytes | None:
    """A completed job's result or error object, as JSON; None while there is none."""
    other = job_results.alias()
    return connection.execute(
        select(func.coalesce(job_results.c.body, other.c.body))
        .select_from(job_results.outerjoin(other, other.c.job_id == job_results.c.same_as))
        .where(job_results.c.job_id == job_id)
    ).scalar_one_or_none()


def flow_status(connection: Connection, job_id: str) -> str | None:
    """A flow job's stored status, JSON; None for a job that has none."""
    return connection.execute(select(jobs.c.flow_status).where(jobs.c.id == job_id)).scalar_one_or_none()


def is_success(connection: Connection, job_id: str) -> bool:
    """Whether the job has ended well."""
    status = connection.execute(select(jobs.c.status).where(jobs.c.id == job_id)).scalar_one_or_none()
    return status is not None and Status(status).is_success


def scrub(connection: Connection, job_id: str) -> None:
    """Forget what a completed job was given and gave; that it ran stays known."""
    connection.execute(update(job_args).where(job_args.c.job_id == job_id).values(body=b"{}", base=None))
    _leave_to_an_heir(connection, job_id)
    connection.execute(
        update(job_results).where(job_results.c.job_id == job_id).values(body=compact_json({}), same_as=None)
    )
    connection.execute(delete(job_output).where(job_output.c.job_id == job_id))
    append_output(connection, job_id, "log", 0, DELETED_LOG)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(deleted=True, labels=None))


def _leave_to_an_heir(connection: Connection, job_id: str) -> None:
    """Other jobs that have this very result keep it: one of them holds it from now on."""
    others = job_results.c.same_as == job_id
    heir = connection.execute(select(job_results.c.job_id).where(others).limit(1)).scalar_one_or_none()
    if heir is None:
        return
    body = result(connection, job_id)
    connection.execute(
        update(job_results).where(job_results.c.job_id == heir).values(body=body, same_as=None)
    )
    connection.execute(update(job_results).where(others).values(same_as=heir))


def counts(connection: Connection, workspace_id: str) -> tuple[int, int]:
    """How many jobs of the workspace wait, and how many run."""
    rows = connection.execute(
        select(jobs.c.state, func.count().label("number"))
        .where(jobs.c.workspace_id == workspace_id)
        .where(or_(jobs.c.state == "queued", jobs.c.state == "running"))
        .group_by(jobs.c.state)
    )
    found = {str(row.state): int(row.number) for row in rows}
    return found.get("queued", 0), found.get("running", 0)


def _leased(job: Job) -> Any:
    return and_(jobs.c.id == job.id, jobs.c.worker_id == job.worker_id, jobs.c.attempt == job.attempt)


def _changed(outcome: Any) -> bool:
    return bool(outcome.rowcount)


def job_of(row: Row[Any]) -> Job:
    """A row with all columns as a job."""
    values = dict(row._mapping)
    values["status"] = None if row.status is None else Status(row.status)
    values["limits"] = Limits(**json.loads(row.limits))
    values["labels"] = None if row.labels is None else json.loads(row.labels)
    values["isolation"] = None if row.isolation is None else json.loads(row.isolation)
    return Job(**values)
