"""Stopping, starting again, losing runs, leases and the database for a while: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from executor import datadir, worker
from executor.jobs import dispatch
from executor.runtimes import scan
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER
from executor.sandbox.fake import FakeChannel, FakeEngine
from executor.sandbox.hardening import harden
from executor.sandbox.spec import ContainerSpec
from executor.settings import Settings
from executor.storage import engines
from executor.storage.tables import jobs
from tests.databases import LOCK, another_program
from tests.service import LocalService, local_service
from tests.storage.rows import LIMITS
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second tries come at once."""
    monkeypatch.setattr(worker, "RETRY_US", 10_000)
    monkeypatch.setattr(dispatch, "STORE_RETRY_S", 0.05)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path, concurrency=1) as running:
        yield running


def other_process(folder: Path) -> AbstractContextManager[Connection]:
    """The database as another program sees it."""
    return another_program(Settings(data_dir=folder).resolved_database_url())


def state_of(folder: Path, job_id: str) -> tuple[Any, ...]:
    with other_process(folder) as connection:
        found = connection.execute(
            select(jobs.c.state, jobs.c.worker_id, jobs.c.attempt).where(jobs.c.id == job_id)
        )
        return tuple(found.one())


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_graceful_stop_keeps_every_job_and_its_place(tmp_path: Path) -> None:
    """What ran is put back where it was, before what waited; each ends once, in the order of arrival."""
    first, second = FakeEngine(), FakeEngine()
    async with local_service(tmp_path, first, concurrency=2) as service:
        ids = [await service.run({"log": f"{n}\n"}, {"sleep": 0.8}, {"result": n}) for n in range(6)]
        await service.started(ids[1])
    assert first.living == {}, "the containers of interrupted runs are gone"
    for job_id in ids:
        assert state_of(tmp_path, job_id)[:2] == ("queued", None)
    async with local_service(tmp_path, second, concurrency=2) as service:
        jobs = [await service.ended(job_id) for job_id in ids]
    assert [job["result"] for job in jobs] == list(range(6))
    assert [job["attempt"] for job in jobs] == [2, 2, 1, 1, 1, 1]
    starts = [job["started_at"] for job in jobs]
    assert starts == sorted(starts)
    assert len(second.started) == 6
    assert jobs[5]["logs"] == "5\n"
    assert jobs[0]["logs"].endswith("0\n")


async def test_a_graceful_stop_lets_short_jobs_end(tmp_path: Path) -> None:
    """Within `drain_s`; what waits is not begun."""
    async with local_service(tmp_path, concurrency=1, drain_s=60) as service:
        running = await service.run({"sleep": 0.5}, {"result": 1})
        await service.started(running)
        waiting = await service.run({"result": 2})
        began = time.monotonic()
    assert time.monotonic() - began < 30
    assert state_of(tmp_path, running)[0] == "completed"
    assert state_of(tmp_path, waiting)[0] == "queued"


async def test_who_waits_for_a_job_is_told_when_the_service_stops(tmp_path: Path) -> None:
    """503, as the job will run after the restart, and not a failure of the script."""
    async with local_service(tmp_path, concurrency=1) as service:
        await service.run({"sleep": 60})
        body = {"language": "bash", "content": '[{"result": 1}]'}
        asking = asyncio.create_task(service.http.post("/api/w/main/jobs/run_wait_result/preview", json=body))
        async with asyncio.timeout(30):
            while (await service.get("jobs/queue/count")).json()["database_length"] < 1:
                await asyncio.sleep(0.01)
        service.service.stop_taking()
        assert (await asking).status_code == 503


async def test_a_job_that_is_claimed_while_the_service_stops_is_given_back(tmp_path: Path) -> None:
    """Nothing is started after the end, and the job is not left to a dead worker."""
    engine = FakeEngine()
    async with local_service(tmp_path, engine, drain_s=10) as service:
        due = time.monotonic() + 2
        waiting = await service.run({"result": 2}, query={"scheduled_for": soon(2)})
        await asyncio.sleep(due - 0.5 - time.monotonic())
        blocked = asyncio.create_task(service.context.desk.database.write(lambda _: time.sleep(3)))
        await asyncio.sleep(1)  # the queue is being asked now, behind the block
    await blocked
    assert state_of(tmp_path, waiting) == ("queued", None, 0)
    assert engine.started == []


async def test_a_lost_run_is_made_again(service: LocalService) -> None:
    """When the engine loses the stream nobody knows what happened: the script runs anew, its log goes on."""
    service.engine.losses = 1
    job = await service.ended(await service.run({"log": "x"}, {"stream": "s"}, {"result": None}))
    assert (job["status"], job["attempt"], job["result"]) == ("success", 2, "s")
    assert "RUN 2" in job["logs"]
    assert job["logs"].endswith("x")
    assert len({spec.name for spec in service.engine.started}) == 2, "each run has a container of its own"


async def test_a_script_that_takes_its_container_down_is_given_up(service: LocalService) -> None:
    """After ATTEMPTS_MAX runs, as our own trouble; later jobs are not held up."""
    bad = await service.run({"log": "y"}, {"vanish": True})
    good = await service.run({"result": 1})
    job = await service.ended(bad)
    assert (job["status"], job["reason"], job["attempt"]) == (
        "failure",
        "infrastructure",
        worker.ATTEMPTS_MAX,
    )
    assert job["result"]["error"]["name"] == "InternalError"
    assert job["logs"].count("y") == worker.ATTEMPTS_MAX
    assert (await service.ended(good))["status"] == "success"


async def test_a_run_whose_lease_was_taken_away_changes_nothing(tmp_path: Path) -> None:
    """The old worker drops it: no end, no result; its slot and its container are free again."""
    engine = FakeEngine()
    async with local_service(tmp_path, engine, concurrency=1) as service:
        job_id = await service.run({"sleep": 1}, {"result": "mine"})
        await service.started(job_id)
        with other_process(tmp_path) as connection:
            taken = {"worker_id": "other", "attempt": jobs.c.attempt + 1}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**taken))
        assert (await service.ended(await service.run({"result": 2})))["status"] == "success"
        assert state_of(tmp_path, job_id) == ("running", "other", 2)
        assert (await service.get(f"jobs_u/completed/get_result_maybe/{job_id}")).json()["completed"] is False
        await until(lambda: not engine.living)
    async with local_service(tmp_path) as service:
        job = await service.ended(job_id)
        assert (job["result"], job["attempt"]) == ("mine", 3), "the other one is dead, too"


class Gated(FakeEngine):
    """Its containers start when the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def start(self, spec: ContainerSpec) -> FakeChannel:
        await self.gate.wait()
        return await super().start(spec)


async def test_a_lease_lost_before_the_script_starts_keeps_it_from_starting(tmp_path: Path) -> None:
    """The lease is looked at last thing before the job frame is sent."""
    engine = Gated()
    async with local_service(tmp_path, engine) as service:
        job_id = await service.run({"log": "must not be"}, {"result": 1})
        await until(lambda: job_id in service.context.desk.live)
        with other_process(tmp_path) as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(worker_id="other"))
        engine.gate.set()
        await until(lambda: not service.context.desk.live and not engine.living)
        job = await service.job(job_id)
        assert (job["running"], job["logs"], job["sandbox"]) == (True, "", None)


@pytest.mark.parametrize("patience_ms", [30_000, 50])
async def test_a_database_that_is_locked_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_ms: int
) -> None:
    """Runs go on and end; their ends, results and logs are stored when the lock is gone.

    Whether the database itself waits so long, or gives up and we try again.
    """
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", patience_ms)
    monkeypatch.setattr("executor.jobs.live.RETRY_S", 0.05)
    async with local_service(tmp_path, concurrency=4) as service:
        lines = [step for n in range(8) for step in ({"log": f"{n}\n"}, {"sleep": 0.1})]
        ids = [await service.run(*lines, {"result": n}) for n in range(6)]
        await service.started(ids[3])
        with other_process(tmp_path) as connection:
            for statement in LOCK[connection.dialect.name]:
                connection.exec_driver_sql(statement)
            asking = asyncio.create_task(service.submit({"result": "during"}))
            await asyncio.sleep(2)
            for job_id in ids:
                assert (await service.job(job_id))["type"] == "QueuedJob", "readers need not wait"
            connection.exec_driver_sql("COMMIT")
        for number, job_id in enumerate(ids):
            job = await service.ended(job_id)
            assert (job["status"], job["result"], job["attempt"]) == ("success", number, 1), job
            assert job["logs"] == "".join(f"{n}\n" for n in range(8))
        answer = await asking
        assert answer.status_code == (201 if patience_ms > 2000 else 503)
        listed = (await service.get("jobs/list")).json()
        assert len(listed) == 6 + (answer.status_code == 201), "what was refused is not there"
        assert (await service.submit({"result": 1})).status_code == 201


async def test_a_slot_meant_for_a_waiting_job_is_not_given_to_a_new_one(tmp_path: Path) -> None:
    """While the queue is asked, a submission queues up behind what waits: never more than `concurrency` run."""
    async with local_service(tmp_path, concurrency=1) as service:
        write = service.context.desk.database.write
        older = await service.run({"sleep": 0.3}, {"result": 1}, query={"scheduled_for": soon(0.4)})
        await asyncio.sleep(0.3)
        blocked = asyncio.create_task(write(lambda _: time.sleep(0.4)))
        await asyncio.sleep(0.2)
        newer = await service.run({"result": 2})
        jobs = [await service.ended(job_id) for job_id in (older, newer)]
        await blocked
    assert jobs[0]["completed_at"] <= jobs[1]["started_at"]


async def test_containers_and_folders_of_a_crash_are_removed_at_start(tmp_path: Path) -> None:
    """They carry the instance's label and a dead worker's; other instances' stay."""
    engine = FakeEngine()
    settings = Settings(data_dir=tmp_path)
    datadir.prepare(settings)
    left = datadir.containers(settings) / "executor-left"
    left.mkdir()
    (left / "args.json").write_text("{}")
    for name, instance in (("executor-left", datadir.instance(settings)), ("foreign", "another")):
        labels = {LABEL: instance, LABEL_ROLE: "job", LABEL_WORKER: "dead"}
        hardening = harden(scan().by_name["bash"], LIMITS)
        await engine.start(ContainerSpec(name, "image", hardening, labels))
    async with local_service(tmp_path, engine):
        await until(lambda: "executor-left" not in engine.living)
    assert set(engine.living) == {"foreign"}
    assert not left.exists()
