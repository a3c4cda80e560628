"""Trouble of our own, in a running service: every job still ends, and its slot is free again."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor import worker
from executor.jobs.leases import give_up
from executor.runtimes import bundled
from executor.sandbox.fake import FakeChannel, FakeEngine
from tests.service import LocalService, local_service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]


class Odd(FakeEngine):
    """Fails in a way nobody foresaw, so many times."""

    oddities = 0

    async def start(self, spec: Any) -> FakeChannel:
        if self.oddities:
            self.oddities -= 1
            raise RuntimeError("nobody foresaw this")
        return await super().start(spec)


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalService]:
    monkeypatch.setattr(worker, "RETRY_US", 10_000)
    async with local_service(tmp_path, Odd(), concurrency=1) as running:
        yield running


async def fine(service: LocalService) -> bool:
    """Whether the only slot still works."""
    job = await service.ended(await service.run({"result": 1}))
    return bool(job["status"] == "success")


async def test_a_bug_of_ours_fails_the_job_and_not_the_service(service: LocalService) -> None:
    """As `infrastructure`, with the exception's name; it is not tried again."""
    assert isinstance(service.engine, Odd)
    service.engine.oddities = 1
    job = await service.ended(await service.run({"result": 1}))
    assert (job["reason"], job["attempt"]) == ("infrastructure", 1)
    assert "RuntimeError" in job["result"]["error"]["message"]
    assert await fine(service)


async def test_an_end_that_cannot_be_stored_is_stored_as_that(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job without an end would be waited for for ever."""

    def wrong(*args: Any) -> None:
        monkeypatch.setattr("executor.worker.give_up", give_up)
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr("executor.worker.give_up", wrong)
    job = await service.ended(await service.run({"result": 1}))
    assert (job["status"], job["reason"]) == ("failure", "infrastructure")
    assert "could not be stored" in job["result"]["error"]["message"]
    assert await fine(service)


async def test_a_run_that_lost_us_is_not_a_cancelled_one(service: LocalService) -> None:
    """jobinit ends a script whose service is gone; when we are still here, it was the stream."""
    job = await service.ended(await service.run({"stopped": "cancelled"}))
    assert (job["status"], job["reason"], job["attempt"]) == (
        "failure",
        "infrastructure",
        worker.ATTEMPTS_MAX,
    )
    assert job["canceled_by"] is None
    assert await fine(service)


async def test_a_frame_that_is_none_is_our_trouble(service: LocalService) -> None:
    """The script is run again, and in the end not blamed."""
    job = await service.ended(await service.run({"garbage": "{"}))
    assert (job["reason"], job["attempt"]) == ("infrastructure", worker.ATTEMPTS_MAX)
    assert await fine(service)


async def test_no_extra_of_an_error_makes_it_our_trouble(service: LocalService) -> None:
    """What a script puts into its exception is its own affair: too deep to be read, it is left out."""
    deep: Any = 1
    for _ in range(150):
        deep = {"a": deep}
    error = {"name": "E", "message": "m", "extra": deep, "reason": "script_error"}
    job = await service.ended(await service.run({"error": error}))
    assert (job["reason"], job["attempt"]) == ("script_error", 1)
    assert job["result"]["error"] == {"name": "E", "message": "m", "reason": "script_error"}


async def test_a_language_that_is_gone_after_a_restart_fails_its_jobs(tmp_path: Path) -> None:
    """They were accepted when it was there; they end, and say why."""
    runtimes = tmp_path / "runtimes"
    shutil.copytree(bundled("runtimes"), runtimes)
    async with local_service(tmp_path / "data", runtimes=str(runtimes)) as service:
        job_id = await service.run({"result": 1}, language="bash", query={"scheduled_in_secs": 1})
    shutil.rmtree(runtimes / "bash")
    async with local_service(tmp_path / "data", runtimes=str(runtimes)) as service:
        job = await service.ended(job_id)
        assert job["reason"] == "infrastructure"
        assert "'bash'" in job["result"]["error"]["message"]
