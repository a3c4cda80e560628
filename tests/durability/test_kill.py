"""kill -9 at any moment: what was accepted reaches one final state, and never another one."""

from __future__ import annotations

import random
import signal
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.durability.killing import Child
from tests.service import local_service

pytestmark = pytest.mark.usefixtures("database_url")


def test_every_accepted_job_reaches_one_final_state(tmp_path: Path) -> None:
    """Killed again and again while jobs arrive, wait, run and end; nothing is lost, nothing ends twice."""
    chance = random.Random(7)
    asked: dict[str, int] = {}
    accepted: set[str] = set()
    ends: dict[str, dict[str, Any]] = {}
    kills = 3
    for _ in range(kills):
        killing = threading.Timer(chance.uniform(0, 0.1), lambda: child.end(signal.SIGKILL))
        enough = len(accepted) + chance.randint(3, 25)
        with Child(tmp_path) as child:
            while child.process.poll() is None:
                job_id = str(uuid.uuid4())
                asked[job_id] = len(asked)
                steps = ({"log": "x"}, {"sleep": chance.choice([0, 0.01, 0.1])}, {"result": asked[job_id]})
                if child.submit(*steps, job_id=job_id) is not None:
                    accepted.add(job_id)
                if len(accepted) == enough and killing.ident is None:
                    killing.start()
            killing.join()
    with Child(tmp_path) as child:
        for job_id in accepted:
            job = ends[job_id] = child.ended(job_id)
            assert (job["status"], job["result"]) == ("success", asked[job_id])
            assert 1 <= job["attempt"] <= kills + 1, "once more per kill"
            assert job["logs"].endswith("x")
        listed = child.http.get("/api/w/main/jobs/list", params={"per_page": 1000}).json()
        assert {job["id"] for job in listed} <= set(asked), (
            "what was not accepted may be there, but nothing else"
        )
        assert len(listed) == len({job["id"] for job in listed})
    with Child(tmp_path) as child:
        for job_id, end in ends.items():
            assert child.job(job_id) == end, "an end is final"


def test_a_submission_whose_answer_was_lost_can_be_repeated(tmp_path: Path) -> None:
    """The job id makes it safe: the job runs, whether or not the first request arrived."""
    chance = random.Random(3)
    ids: list[str] = []
    steps = ({"result": 1},)
    with Child(tmp_path) as child:
        threading.Timer(chance.uniform(0.05, 0.2), child.end, [signal.SIGKILL]).start()
        while child.process.poll() is None:
            ids.append(str(uuid.uuid4()))
            child.submit(*steps, job_id=ids[-1])
    with Child(tmp_path) as child:
        for job_id in ids[-3:]:
            assert child.submit(*steps, job_id=job_id) == job_id
            assert child.ended(job_id)["status"] == "success"


@pytest.mark.anyio
async def test_a_cancellation_asked_before_the_kill_is_honoured_after_it(tmp_path: Path) -> None:
    """The script does not run again."""
    with Child(tmp_path) as child:
        job_id = child.submit({"sleep": 60})
        assert job_id is not None
        child.until_running(job_id)
        body = {"reason": "changed my mind"}
        assert child.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json=body).status_code == 200
        assert child.job(job_id)["running"] is True, "its grace period has only begun"
        child.end(signal.SIGKILL)
    async with local_service(tmp_path) as service:
        job = await service.ended(job_id)
        assert (job["status"], job["canceled_reason"]) == ("canceled", "changed my mind")
        assert service.engine.started == []


def test_sigterm_ends_the_process_soon_and_keeps_the_jobs(tmp_path: Path) -> None:
    """Exit status 0; what ran waits for the next start."""
    with Child(tmp_path) as child:
        running = child.submit({"sleep": 1.5}, {"result": "late"})
        assert running is not None
        waiting = [child.submit({"result": n}) for n in range(5)]
        child.until_running(running)
        assert child.end(signal.SIGTERM) == 0
    with Child(tmp_path) as child:
        again = child.ended(running)
        assert (again["result"], again["attempt"]) == ("late", 2)
        assert [child.ended(job_id)["result"] for job_id in waiting if job_id] == list(range(5))
