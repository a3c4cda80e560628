"""Every statement about flow runs: their jobs by place, their journal.

Whatever a walk writes names the lease of its run, in the same transaction, so that a walk which was
given up changes nothing. Its writes come in batches, in the order in which they happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import Connection, and_, bindparam, case, func, insert, select, update

from executor.jobs import cache, events, store
from executor.jobs.cache import Kept
from executor.jobs.concurrency import Share, room_under
from executor.jobs.ending import Ending
from executor.jobs.forgetting import forget
from executor.jobs.job import Job, NewJob, Role, Status, leased
from executor.jobs.leases import LeaseLost
from executor.storage.tables import job_args, job_output, job_results, jobs, journal
from executor.storage.texts import begins_with, ends_with

BIG_BYTES = 16 * 1024
"""A value above this is not held in memory by a walk; a result, stored once however many jobs have it."""
ROW_BYTES = 32 * 1024
"""So many bytes take about as long to write as a row takes in any case."""
NEVER = 2**62
RESULT = "/result"
"""What the journal has under a step whose result is no job's."""


@dataclass(frozen=True)
class Known:
    """A job of a run, as a walk meets it again."""

    id: str
    role: Role
    status: Status | None
    reason: str | None
    result: bytes | None
    """None for a big one, and while there is none."""
    origin: str
    """The job that holds the result."""
    started_at: int | None = None
    completed_at: int | None = None


@dataclass(frozen=True)
class Record:
    """What is known of a run: its decisions and its jobs, by place. Of big decisions only that they are there."""

    journal: dict[str, bytes | None]
    jobs: dict[str, Known]


@dataclass
class Batch:
    """What a walk has done since it was last stored."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    args: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    """What jobs that are stored already say from now on."""
    logs: list[dict[str, Any]] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    """Results that may be used again."""
    size: int = 0
    """Bytes of its arguments, results and notes."""

    def add_args(self, job_id: str, body: bytes, base: str | None) -> None:
        """A job's arguments; those that it has no other value for are the ones of job `base`."""
        self.args.append({"job_id": job_id, "body": body, "base": base})
        self.size += len(body)

    def add_result(self, job_id: str, body: bytes | None, same_as: str | None) -> None:
        """A job's result, or the job that has the same one."""
        self.results.append({"job_id": job_id, "body": body, "same_as": same_as})
        self.size += len(body or b"")

    def add_note(self, run_id: str, path: str, value: bytes) -> None:
        """An entry of the journal."""
        self.notes.append({"run_id": run_id, "path": path, "value": value})
        self.size += len(value)

    @property
    def weight(self) -> int:
        """How many rows of the usual size it is worth."""
        return len(self) + self.size // ROW_BYTES

    def __len__(self) -> int:
        return len(self.jobs) + len(self.ends) + len(self.notes) + len(self.kept)

    @property
    def rows(self) -> int:
        """How many rows of the usual size it touches, or some more."""
        return self.weight + len(self.args) + len(self.results) + len(self.logs)


def load(connection: Connection, run_id: str) -> Record:
    """Everything a walk of the run needs to go the way it went before."""
    small = case((func.length(journal.c.value) <= BIG_BYTES, journal.c.value)).label("value")
    notes = connection.execute(select(journal.c.path, small).where(journal.c.run_id == run_id))
    own, other = job_results, job_results.alias()
    rows = connection.execute(
        select(
            jobs.c.run_path,
            jobs.c.id,
            jobs.c.role,
            jobs.c.status,
            jobs.c.reason,
            jobs.c.started_at,
            jobs.c.completed_at,
            func.coalesce(own.c.same_as, jobs.c.id).label("origin"),
            func.coalesce(_if_small(own), _if_small(other)).label("body"),
        )
        .select_from(
            jobs.outerjoin(own, own.c.job_id == jobs.c.id).outerjoin(other, other.c.job_id == own.c.same_as)
        )
        .where(jobs.c.run_id == run_id, jobs.c.id != run_id)
    )
    known = {row.run_path: _known(row) for row in rows}
    return Record({row.path: row.value for row in notes}, known)


def note(connection: Connection, run_id: str, path: str) -> bytes | None:
    """One entry of a run's journal."""
    return connection.execute(
        select(journal.c.value).where(journal.c.run_id == run_id, journal.c.path == path)
    ).scalar_one_or_none()


def result_of_step(connection: Connection, run_id: str, beneath: str, step_id: str) -> bytes | None:
    """The latest result of a step in the run, or in the flow job at place `beneath` of it."""
    end = f":{quote(step_id, safe='')}{RESULT}"
    kept = connection.execute(
        select(journal.c.value)
        .where(journal.c.run_id == run_id, begins_with(journal.c.path, beneath))
        .where(ends_with(journal.c.path, end))
        .order_by(func.length(journal.c.path))
    ).first()
    if kept is not None:
        return bytes(kept.value)
    row = connection.execute(
        select(jobs.c.id)
        .where(jobs.c.run_id == run_id, jobs.c.step_id == step_id, jobs.c.state == "completed")
        .where(begins_with(jobs.c.run_path, beneath))
        .order_by(jobs.c.completed_at.desc())
    ).first()
    return None if row is None else store.result(connection, row.id)


def restarted_from(connection: Connection, run_id: str) -> str | None:
    """The run, and the place in it, that a run was restarted from, as JSON; None if it was not."""
    return connection.execute(select(jobs.c.restarted_from).where(jobs.c.id == run_id)).scalar_one_or_none()


def results_beneath(
    connection: Connection, run_id: str, place: str
) -> list[tuple[str, str, tuple[bytes | None, str | None]]]:
    """What steps beneath a place of a run gave, the latest last: place, step id, and the text or whose it is."""
    rows = connection.execute(
        select(jobs.c.run_path, jobs.c.step_id, jobs.c.id)
        .where(jobs.c.run_id == run_id, jobs.c.state == "completed", jobs.c.step_id.is_not(None))
        .where(begins_with(jobs.c.run_path, place))
        .order_by(jobs.c.completed_at, jobs.c.created_at)
    )
    notes = connection.execute(
        select(journal.c.path, journal.c.value)
        .where(journal.c.run_id == run_id, begins_with(journal.c.path, place))
        .where(ends_with(journal.c.path, RESULT))
        .order_by(func.length(journal.c.path), journal.c.path)
    )
    found: list[tuple[str, str, tuple[bytes | None, str | None]]] = [
        (row.run_path, row.step_id, (None, row.id)) for row in rows
    ]
    for row in notes:
        path = row.path.removesuffix(RESULT)
        found.append((path, unquote(path.rpartition("/")[2].partition(":")[2]), (bytes(row.value), None)))
    return found


def _if_small(results: Any) -> Any:
    """A result's body, null for a big one, which is not even read."""
    return case((func.length(results.c.body) <= BIG_BYTES, results.c.body))


def _known(row: Any) -> Known:
    status = None if row.status is None else Status(row.status)
    return Known(row.id, row.role, status, row.reason, row.body, row.origin, row.started_at, row.completed_at)


def write(connection: Connection, run: Job, batch: Batch) -> None:
    """Store a batch; raises LeaseLost, and then nothing of it is stored."""
    if not store.holds(connection, run):
        raise LeaseLost
    _insert(connection, jobs, batch.jobs.values())
    _insert(connection, job_args, batch.args)
    for end in batch.ends:
        values = {name: value for name, value in end.items() if name != "id"}
        connection.execute(update(jobs).where(jobs.c.id == end["id"]).values(**values))
    _insert(connection, job_results, batch.results)
    _insert(connection, journal, batch.notes)
    _insert(connection, job_output, batch.logs)
    for kept in batch.kept:
        cache.keep(connection, run.workspace_id, kept)


def _insert(connection: Connection, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    listed = [dict(row) for row in rows]
    if listed:
        connection.execute(insert(table), listed)


def write_and_add(
    connection: Connection, run: Job, batch: Batch, new: NewJob, worker_id: str | None
) -> Job | None:
    """Store a batch and a script job of the run; the job, if it is leased to `worker_id` at once."""
    write(connection, run, batch)
    store.insert_job(connection, new, worker_id)
    return None if worker_id is None else leased(new, worker_id)


def begin_limited(connection: Connection, run: Job, batch: Batch, share: Share, now: int) -> bool:
    """Store a batch in which an inner flow begins, if its key has room for it; else nothing of it."""
    if room_under(connection, run.workspace_id, share, now) <= 0:
        return False
    write(connection, run, batch)
    return True


@dataclass(frozen=True)
class Parking:
    """How a run that only waits is put down."""

    wake_at: int | None
    """Microseconds since 1970; None: only an event wakes it."""
    flow_status: str
    seen: Mapping[str, int]
    """How many events the walk has seen at each gate that it waits at."""


def park(connection: Connection, run: Job, batch: Batch, parking: Parking) -> bool:
    """Put a run down; False, and it is not, if there is an event that the walk has not seen, or a cancellation."""
    write(connection, run, batch)
    if connection.execute(select(jobs.c.canceled_by).where(jobs.c.id == run.id)).scalar_one() is not None:
        return False
    now_there = events.counts(connection, parking.seen)
    if any(now_there.get(gate, 0) != seen for gate, seen in parking.seen.items()):
        return False
    connection.execute(
        update(jobs)
        .where(jobs.c.id == run.id)
        .values(
            state="queued",
            worker_id=None,
            scheduled_for=NEVER if parking.wake_at is None else parking.wake_at,
            flow_status=parking.flow_status,
        )
    )
    return True


def finish(
    connection: Connection,
    run: Job,
    batch: Batch,
    end: Ending,
    flow_status: str,
    now: int,
) -> None:
    """Store the last batch and the end of a run, and scrub what is to be deleted then; raises LeaseLost."""
    write(connection, run, batch)
    connection.execute(update(jobs).where(jobs.c.id == run.id).values(flow_status=flow_status))
    if not store.finish(connection, run, end, now):
        raise LeaseLost
    kept = Kept.of(run, now)
    if kept is not None and end.status is Status.SUCCESS:
        cache.keep(connection, run.workspace_id, kept)
    forget(connection, run.id)


def give_back(connection: Connection, run: Job, batch: Batch, now: int) -> None:
    """Store a batch and put the run down as it is; it is due at once. Raises LeaseLost."""
    write(connection, run, batch)
    store.release(connection, run, now)


def end_all(
    connection: Connection,
    run: Job,
    end: Ending,
    flow_status: str | None,
    now: int,
) -> None:
    """End a run and every flow job in it that has not ended, scrub what is to be; raises LeaseLost."""
    end_parts(connection, run.id, end, now)
    if flow_status is not None:
        connection.execute(update(jobs).where(jobs.c.id == run.id).values(flow_status=flow_status))
    if not store.finish(connection, run, end, now):
        raise LeaseLost
    forget(connection, run.id)


def replace_args(connection: Connection, run: Job, args: bytes) -> None:
    """The run's arguments are what its preprocessor made of them; raises LeaseLost."""
    if not store.holds(connection, run):
        raise LeaseLost
    connection.execute(update(job_args).where(job_args.c.job_id == run.id).values(body=args))
    connection.execute(update(jobs).where(jobs.c.id == run.id).values(preprocessed=True))


def note_cancellation(connection: Connection, run_id: str, by: str, why: str, now: int) -> None:
    """Mark a run as to be cancelled; one that is put down is due at once."""
    alive = and_(jobs.c.id == run_id, jobs.c.state != "completed")
    connection.execute(update(jobs).where(alive).values(canceled_by=by, canceled_reason=why))
    connection.execute(update(jobs).where(alive, jobs.c.state == "queued").values(scheduled_for=now))


def owner(connection: Connection, run_id: str) -> str | None:
    """The workspace of a run; None if there is no such run, or it has ended."""
    alive = jobs.c.id == run_id, jobs.c.state != "completed"
    return connection.execute(select(jobs.c.workspace_id).where(*alive)).scalar_one_or_none()


# ------------------------------------------------------------ cancellation


def unfinished(connection: Connection, run_id: str) -> list[tuple[str, Role, str]]:
    """Jobs of a run, the run itself not, that have not ended: id, role, state."""
    rows = connection.execute(
        select(jobs.c.id, jobs.c.role, jobs.c.state).where(
            jobs.c.run_id == run_id, jobs.c.id != run_id, jobs.c.state != "completed"
        )
    )
    return [(row.id, row.role, row.state) for row in rows]


def end_parts(connection: Connection, run_id: str, end: Ending, now: int) -> None:
    """End every flow job inside a run that has not ended."""
    found = [job_id for job_id, role, _ in unfinished(connection, run_id) if role == "part"]
    if not found:
        return
    statement = update(jobs).where(jobs.c.id == bindparam("part")).values(**store.ended(end, now))
    connection.execute(statement, [{"part": job_id} for job_id in found])
    _insert(connection, job_results, [{"job_id": job_id, "body": end.result} for job_id in found])
