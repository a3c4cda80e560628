"""Statements about jobs: who gets which, who may change it, what is kept of it."""

from __future__ import annotations

import threading
import uuid
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, select
from sqlalchemy.pool import StaticPool

from executor.errors import Conflict, TooManyJobs
from executor.jobs import queue, store
from executor.jobs.ending import after, canceled, ending
from executor.jobs.job import Job, OutputKind, Status, leased
from executor.jobs.leases import Completion, LeaseLost, ReturnToQueue, give_up
from executor.script import Isolation, Returned
from executor.storage.tables import job_args, job_results, jobs, metadata
from tests.storage.rows import new_job

MANY = 1000
PLACE = Isolation("fake", "image", "runc", "none", "1:1", (), True, 64, 0.5, 8, "c")
DONE = ending(Returned(b'{"wm_labels": ["a"]}'), 1)


def queued(db: Connection, job_id: str = "j", **given: object) -> str:
    assert store.add(db, new_job(id=job_id, **given), None, MANY)
    return job_id


def claimed(db: Connection, worker: str = "w", now: int = 100) -> Job:
    found = queue.claim(db, worker, now, "main")
    assert found is not None
    return found[0]


def now_of(db: Connection, job_id: str = "j") -> Job:
    job = store.get(db, "main", job_id)
    assert job is not None
    return job


def test_a_job_is_stored_as_it_was_asked_for(db: Connection) -> None:
    """Every member comes back; it waits, has no lease and was never tried."""
    new = new_job(args=b'{"a": 1.50}', path="f/x", lock="l", parent_job="p", root_job="r", scheduled_for=7)
    assert store.add(db, new, None, MANY)
    job = now_of(db, new.id)
    for key, value in vars(new).items():
        if key not in ("args", "log"):
            assert getattr(job, key) == value, key
    assert store.args(db, new.id) == b'{"a": 1.50}'
    assert (job.state, job.worker_id, job.attempt, job.started_at) == ("queued", None, 0, None)


def test_a_job_may_be_born_with_a_lease(db: Connection) -> None:
    """It runs then, for the first time, and nobody else can take it."""
    assert store.add(db, new_job(id="j", created_at=5), "w", MANY)
    job = now_of(db)
    assert (job.state, job.worker_id, job.attempt, job.started_at) == ("running", "w", 1, 5)
    assert queue.claim(db, "other", 100, "main") is None


@pytest.mark.parametrize("worker", [None, "w"])
def test_the_same_request_again_adds_nothing(db: Connection, worker: str | None) -> None:
    """Whatever became of the job since."""
    new = new_job()
    for _ in range(2):
        store.add(db, new, worker, MANY)
    assert store.add(db, replace(new, created_at=9), worker, MANY) is False
    assert len(db.execute(select(jobs)).all()) == len(db.execute(select(job_args)).all()) == 1


@pytest.mark.parametrize("other", [{"request_hash": "another"}, {"workspace_id": "other"}])
def test_an_id_of_another_request_is_a_conflict(db: Connection, other: dict[str, Any]) -> None:
    """Naming the parameter; an id of another workspace says nothing of that job."""
    new = new_job()
    store.add(db, new, None, MANY)
    with pytest.raises(Conflict) as caught:
        store.add(db, replace(new, **other), None, MANY)
    assert caught.value.field == "job_id"


def test_the_queue_is_bounded_but_not_for_what_runs_at_once(db: Connection) -> None:
    """Only waiting jobs count, and a repeated request is no new job."""
    first = new_job()
    store.add(db, first, None, 2)
    store.add(db, new_job(), None, 2)
    store.add(db, new_job(), "w", 2)
    with pytest.raises(TooManyJobs, match="2 jobs"):
        store.add(db, new_job(), None, 2)
    assert store.add(db, first, None, 2) is False
    claimed(db)
    assert store.add(db, new_job(), None, 2) is True


def test_claims_are_first_in_first_out(db: Connection) -> None:
    """By the time a job is due, then by the time it was created; what is not due waits."""
    for job_id, due, created in (("c", 5, 1), ("a", 1, 9), ("d", 5, 2), ("b", 2, 9), ("later", 101, 0)):
        queued(db, job_id, scheduled_for=due, created_at=created)
    assert [claimed(db).id for _ in range(4)] == ["a", "b", "c", "d"]
    assert queue.claim(db, "w", 100, "main") is None
    assert queue.next_due(db, 100, "main") == 101


def test_a_claim_is_for_one_workspace(db: Connection) -> None:
    """One tenant's queue does not hold up the others; who waits is known."""
    queued(db, "first", workspace_id="other")
    queued(db, "second", scheduled_for=1)
    queued(db, "third", role="run", workspace_id="other")
    assert sorted(queue.workspaces(db)) == ["main", "other"]
    assert claimed(db).id == "second"
    assert queue.claim(db, "w", 100, "main") is None
    assert queue.next_due(db, 100, "main") is None
    assert queue.workspaces(db) == queue.workspaces(db, "run") == ["other"]


def test_a_claim_is_a_lease_with_the_arguments(db: Connection) -> None:
    """Who runs it, since when, for the how-many-th time."""
    queued(db, args=b'{"n": 1}')
    found = queue.claim(db, "w", 100, "main")
    assert found is not None
    job, args = found
    assert (job.state, job.worker_id, job.attempt, job.started_at, args) == (
        "running",
        "w",
        1,
        100,
        b'{"n": 1}',
    )
    assert job == now_of(db)


def test_claims_at_once_never_give_a_job_to_two(engine: Engine) -> None:
    """Many workers, each with a connection of its own."""
    with engine.begin() as connection:
        for _ in range(60):
            store.add(connection, new_job(), None, MANY)
    taken: list[str] = []

    def work(worker: str) -> None:
        while True:
            with engine.begin() as connection:
                found = queue.claim(connection, worker, 100, "main")
            if found is None:
                return
            taken.append(found[0].id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 60


def stale(job: Job) -> list[Job]:
    """Leases that are not this job's: of another worker, of an earlier and a later attempt."""
    return [
        replace(job, worker_id="stranger"),
        replace(job, attempt=job.attempt - 1),
        replace(job, attempt=job.attempt + 1),
    ]


def test_only_the_lease_changes_a_running_job(db: Connection) -> None:
    """Fencing: a worker that was given up can neither end, nor release, nor place the job."""
    queued(db)
    store.release(db, claimed(db, "w"), 0)
    job = claimed(db, "w")
    assert job.attempt == 2
    for old in stale(job):
        assert store.finish(db, old, DONE, 200) is False
        assert store.release(db, old, 0) is False
        assert store.note_container(db, old, PLACE) is False
    assert now_of(db) == job
    assert store.result(db, "j") is None
    assert store.note_container(db, job, PLACE) is True
    assert now_of(db).isolation == {**asdict(PLACE), "capabilities": [], "reach": []}
    assert store.finish(db, job, DONE, 200) is True


def test_what_is_known_without_reading_is_what_is_stored(db: Connection) -> None:
    """A job that is leased when it is stored, and its end: they are told from memory."""
    new = new_job(id="j", args=b"[1]", log="said", priority=3, shared=True, step_id="a", role="script")
    assert store.add(db, new, "w", MANY)
    job = now_of(db)
    assert leased(new, "w") == job
    assert store.finish(db, job, DONE, 200, PLACE) is True
    ended = now_of(db)
    assert replace(after(job, DONE, 200), container=ended.container, isolation=ended.isolation) == ended
    assert (ended.container, store.result(db, "j")) == ("c", DONE.result)


def test_an_end_is_final(db: Connection) -> None:
    """Nothing that is done twice, or too late, changes it."""
    queued(db)
    job = claimed(db)
    assert store.finish(db, job, DONE, 200)
    ended = now_of(db)
    assert (ended.status, ended.completed_at, ended.worker_id, ended.labels) == (
        Status.SUCCESS,
        200,
        None,
        ["a"],
    )
    late = canceled("x", "late")
    assert store.finish(db, job, late, 300) is False
    assert store.finish_queued(db, "j", late, 300) is False
    assert store.release(db, job, 0) is False
    assert store.note_cancellation(db, "j", "x", "late") is False
    assert queue.claim(db, "w", 999, "main") is None
    assert now_of(db) == ended
    assert store.result(db, "j") == DONE.result
    assert len(db.execute(select(job_results)).all()) == 1


def test_an_attempt_that_never_ran_is_not_remembered(db: Connection) -> None:
    """Its log would else tell of a run that was lost."""
    queued(db)
    assert store.release(db, claimed(db), 150, ran=False) is True
    assert now_of(db).attempt == 0


def test_a_released_job_waits_again_and_remembers_its_attempts(db: Connection) -> None:
    """As new, but for the number of tries and a cancellation that was asked for."""
    queued(db)
    job = claimed(db)
    assert store.note_cancellation(db, "j", "ruben", "why") is True
    assert store.release(db, job, 150) is True
    waiting = now_of(db)
    assert (waiting.state, waiting.worker_id, waiting.started_at, waiting.attempt) == (
        "queued",
        None,
        None,
        1,
    )
    assert queue.claim(db, "w", 149, "main") is None
    again = claimed(db, "w2", 150)
    assert (again.attempt, again.canceled_by, again.canceled_reason) == (2, "ruben", "why")


def test_a_queued_job_ends_without_ever_running(db: Connection) -> None:
    """Only while it is queued."""
    queued(db)
    assert store.finish_queued(db, "j", canceled("x", "y"), 50) is True
    job = now_of(db)
    assert (job.state, job.status, job.started_at, job.attempt) == ("completed", Status.CANCELED, None, 0)
    queued(db, "k")
    claimed(db)
    assert store.finish_queued(db, "k", canceled("x", "y"), 50) is False
    assert now_of(db, "k").state == "running"


def test_cancelling_ends_what_waits_and_marks_what_runs(db: Connection) -> None:
    """In one step: a job that is put back between two would be neither."""
    queued(db)
    assert store.cancel(db, "j", canceled("ruben", "why"), 50) is True
    assert now_of(db).status == Status.CANCELED
    queued(db, "k")
    job = claimed(db)
    assert store.cancellation(db, job) is None
    assert store.cancel(db, "k", canceled("ruben", "why"), 50) is False
    assert (now_of(db, "k").state, store.cancellation(db, job)) == ("running", ("ruben", "why"))
    assert store.cancellation(db, replace(job, attempt=7)) is None
    assert store.finish(db, job, DONE, 60)
    assert store.cancel(db, "k", canceled("late", "late"), 70) is False
    assert (now_of(db, "k").status, now_of(db, "k").canceled_by) == (Status.SUCCESS, None)


@pytest.mark.parametrize("ran", [True, False])
def test_who_was_cancelled_meanwhile_does_not_wait_again(db: Connection, ran: bool) -> None:
    """Asked for after the run's word was chosen, before it is stored."""
    word = ReturnToQueue(999, ran)
    queued(db)
    assert give_up(db, claimed(db), word, [], 200) == word
    queued(db, "k")
    job = claimed(db)
    assert store.cancel(db, "k", canceled("ruben", "why"), 150) is False
    assert give_up(db, job, word, [], 200) == Completion(canceled("ruben", "why"))
    ended = now_of(db, "k")
    assert (ended.status, ended.canceled_by, ended.completed_at) == (Status.CANCELED, "ruben", 200)
    with pytest.raises(LeaseLost):
        give_up(db, job, word, [], 300)


def test_orphans_are_what_dead_workers_run(db: Connection) -> None:
    """Not what waits, is over, or belongs to the living."""
    for worker in ("dead", "alive"):
        queued(db, worker)
        claimed(db, worker)
    queued(db, "waiting")
    assert [job.id for job in store.orphans(db, ["alive"])] == ["dead"]


def test_a_job_is_known_in_its_workspace_only(db: Connection) -> None:
    """Ids of other tenants find nothing."""
    queued(db)
    assert store.get(db, "other", "j") is None
    assert store.get(db, "main", str(uuid.uuid4())) is None


def test_counts_are_the_workspace_s(db: Connection) -> None:
    """Waiting and running; what is over counts no more."""
    for number in range(3):
        queued(db, f"j{number}")
    queued(db, "o", workspace_id="other", scheduled_for=1)
    store.finish(db, claimed(db), DONE, 200)
    claimed(db)
    assert store.counts(db, "main") == (1, 1)
    assert store.counts(db, "other") == (1, 0)
    assert (store.waiting(db), store.waiting(db, "main"), store.waiting(db, "other")) == (2, 1, 1)


def test_a_scrubbed_job_has_lost_its_values(db: Connection) -> None:
    """Arguments, result, labels, log and stream; that it ran, and how it ended, stays."""
    queued(db, args=b'{"secret": 1}')
    job = claimed(db)
    for kind in get_args(OutputKind):
        store.append_output(db, "j", kind, 0, "secret")
    store.finish(db, job, DONE, 200)
    store.scrub(db, "j")
    assert (store.args(db, "j"), store.result(db, "j")) == (b"{}", b"{}")
    assert store.output(db, "j", "log") == ("##DELETED##", len("##DELETED##"))
    assert store.output(db, "j", "stream") == ("", 0)
    left = now_of(db)
    assert (left.deleted, left.labels, left.status) == (True, None, Status.SUCCESS)


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), max_size=8), st.integers(0, 90)
)
def test_output_from_any_offset_is_the_rest_of_the_text(pieces: list[str], offset: int) -> None:
    """However it was stored in pieces; offsets count characters."""
    memory = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(memory)
    with memory.begin() as db:
        position = 0
        for piece in pieces:
            store.append_output(db, "j", "log", position, piece)
            position += len(piece)
        store.append_output(db, "j", "stream", 0, "other")
        store.append_output(db, "k", "log", 0, "other")
        whole = "".join(pieces)
        assert store.output(db, "j", "log", offset) == (whole[offset:], len(whole))
    memory.dispose()
