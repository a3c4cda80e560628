"""The clock jumps while jobs run, wait and sleep. Only the service's own: the machine's is never touched."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.debian import apt_install
from tests.acceptance.service import RealService
from tests.faults.settling import End, settled

pytestmark = [pytest.mark.engine, pytest.mark.faults]

SLEEPING = {
    "modules": [
        {"id": "a", "value": {"type": "identity"}, "sleep": {"type": "static", "value": 4}},
        {
            "id": "b",
            "value": {"type": "rawscript", "language": "bash", "content": "echo b", "input_transforms": {}},
        },
    ]
}


@pytest.fixture(scope="session")
def faketime() -> Path:
    """The library of Debian's package libfaketime, installed if need be."""

    def found() -> list[Path]:
        return list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

    if not found():
        apt_install(["faketime"], print)
    assert found(), "the package faketime has no libfaketimeMT.so.1: the clock tests cannot run"
    return found()[0]


@pytest.fixture
def jump(service: RealService, faketime: Path, tmp_path: Path) -> Callable[[str], None]:
    """Starts the service on a clock of its own; each call moves that by so many seconds, days, hours."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    service.settings |= {
        "LD_PRELOAD": str(faketime),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    service.start()

    def move(by: str) -> None:
        new = offset.with_suffix(".new")
        new.write_text(by)
        new.replace(offset)

    return move


def at_work(service: RealService) -> dict[str, End]:
    """Six scripts, two of which wait for a slot, a flow that sleeps, a job that is due in a few seconds."""
    scripts = {service.submit("bash", f"echo up\nsleep 2\necho {n}\n"): End(result=str(n)) for n in range(6)}
    flow = service.http.post("/api/w/main/jobs/run/preview_flow", json={"value": SLEEPING}).text
    later = service.submit("bash", "echo later", query={"scheduled_in_secs": 5})
    service.running(next(iter(scripts)))
    return {**scripts, flow: End(result="b", attempts=range(1, 5)), later: End(result="later")}


@pytest.mark.parametrize("by", ["+1d", "-1h"])
def test_a_jump_hangs_nothing_and_ends_nothing_early(
    service: RealService, jump: Callable[[str], None], by: str
) -> None:
    """Time limits and waits of seconds do not become hours, and running scripts are not cut off."""
    accepted = at_work(service)
    jump(by)
    began = time.monotonic()
    settled(service, accepted, end_s=40)
    assert time.monotonic() - began < 60
    for job_id in accepted:
        job = service.job(job_id)
        assert job["started_at"] <= job["completed_at"], "nothing ends before it begins"


def test_a_clock_set_back_between_two_lives_hangs_nothing(
    service: RealService, jump: Callable[[str], None]
) -> None:
    """Jobs that wait were handed in at a time that has yet to come: they are due all the same."""
    accepted = {
        service.submit("bash", f"sleep 1\necho {n}\n"): End(result=str(n), attempts=(1, 2)) for n in range(8)
    }
    service.kill()
    jump("-1h")
    service.start()
    settled(service, accepted, end_s=40)


def test_the_service_really_sees_the_jump(service: RealService, jump: Callable[[str], None]) -> None:
    """Else the other tests here would prove nothing."""
    jump("+1d")
    job = service.job(service.submit("bash", "echo 1"))
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert not job["created_at"].startswith(today)
    settled(service, {job["id"]: End(result="1")})
