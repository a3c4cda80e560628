"""The service stopped and killed under load, and with a long queue."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.acceptance.service import RealService
from tests.faults.settling import End, readiness, settled
from tests.faults.test_database import FLOW

pytestmark = [pytest.mark.engine, pytest.mark.faults]

QUEUED = 2000


class Load:
    """Clients that hand in scripts and flows until they are told to stop, and note what was accepted."""

    def __init__(self, service: RealService, attempts: tuple[int, ...]) -> None:
        self.accepted: dict[str, End] = {}
        self._service = service
        self._attempts = attempts
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._submit, args=(n,)) for n in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _submit(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            text = f"{client}-{number}"
            try:
                self._one(text, is_flow=number % 5 == 0)
            except (httpx.TransportError, AssertionError):  # not accepted, as far as we know
                time.sleep(0.1)
            time.sleep(0.1)

    def _one(self, text: str, *, is_flow: bool) -> None:
        if not is_flow:
            job_id = self._service.submit("bash", f"sleep 0.2\necho {text}\n")
            self.accepted[job_id] = End(result=text, attempts=self._attempts)
            return
        response = self._service.http.post("/api/w/main/jobs/run/preview_flow", json={"value": FLOW})
        assert response.status_code == 201
        self.accepted[response.text] = End(result=["s"] * 3, attempts=range(1, 50))


def test_sigterm_under_load_loses_nothing_and_runs_nothing_twice(service: RealService) -> None:
    """What runs ends, what waits is for the next service, `/ready` says that this one stops."""
    service.start()
    seen = []
    with Load(service, attempts=(1,)) as load:
        time.sleep(2)
        service.signal(signal.SIGTERM)
        assert service.process is not None
        while service.process.poll() is None:
            seen.append(readiness(service))
            time.sleep(0.05)
        assert service.process.returncode == 0
        assert service.containers() == []
        service.start()
        time.sleep(1)
    assert all(status != 200 for status, _ in seen[1:]), seen
    assert len(load.accepted) > 20
    settled(service, load.accepted)


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_thousand_queued_jobs_live_through_a_restart(service: RealService, how: str) -> None:
    """Each ends once, with its own result; at most what ran at the kill runs a second time."""
    service.settings["EXECUTOR_POOL_MAX"] = "16"
    service.start()

    def submit(number: int) -> str:
        return service.submit("bash", f"echo {number}\n")

    with ThreadPoolExecutor(8) as clients:
        ids = list(clients.map(submit, range(QUEUED)))
    if how == "killed":
        service.kill()
    else:
        service.stop()
    service.start()
    attempts = (1, 2) if how == "killed" else (1,)
    settled(
        service,
        {job_id: End(result=str(n), attempts=attempts) for n, job_id in enumerate(ids)},
        end_s=600,
    )
    again = [job_id for job_id in ids if service.job(job_id)["attempt"] > 1]
    assert len(again) <= int(service.settings["EXECUTOR_CONCURRENCY"])
