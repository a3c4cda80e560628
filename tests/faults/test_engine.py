"""The Docker engine stopped, killed and restarted while jobs run, and its image store full."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from executor.runtimes import bundled
from tests.acceptance.service import RealService
from tests.engines import BOTH, needs_root
from tests.faults.places import filled
from tests.faults.second_engine import SecondEngine, second_engine
from tests.faults.settling import End, eventually, readiness, ready_again, settled

pytestmark = [
    pytest.mark.engine,
    pytest.mark.faults,
    pytest.mark.long,
    pytest.mark.timeout(400),
    needs_root,
]
AWAY_S = 75
"""Three tries of a job, and more."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SecondEngine]:
    """A second engine; where unix sockets may have a name as long as theirs."""
    folder = Path("/run") / f"executor-test-{tmp_path.name[:20]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with second_engine(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=BOTH)
def service(request: pytest.FixtureRequest, engine: SecondEngine, tmp_path: Path) -> Iterator[RealService]:
    """A service on that engine, with Bash as its only language."""
    languages = tmp_path / "languages"
    shutil.copytree(bundled("runtimes") / "bash", languages / "bash")
    settings = {
        "DOCKER_HOST": engine.address,
        "EXECUTOR_RUNTIMES": str(languages),
        "EXECUTOR_CONCURRENCY": "4",
    }
    # A tag says what an image is made from, the engine's own base image included: so each engine is asked.
    asked = [sys.executable, "-m", "executor", "images", "tag", "bash"]
    here, there = (
        subprocess.run(
            asked, env={**os.environ, **more}, check=True, capture_output=True, text=True
        ).stdout.strip()
        for more in ({}, settings)
    )
    engine.load(here, there)
    own = RealService(tmp_path / "data", EXECUTOR_ENGINE=request.param, **settings)
    own.folder.mkdir()
    try:
        own.start()
        yield own
    finally:
        if not engine.answers():
            engine.start()
        own.close()


def at_work(service: RealService, attempts: range) -> dict[str, End]:
    """Jobs that run, and some that wait behind them."""
    accepted = {
        service.submit("bash", f"echo up\nsleep 3\necho {n}\n"): End(result=str(n), attempts=attempts)
        for n in range(8)
    }
    service.running(next(iter(accepted)))
    return accepted


def says_no(service: RealService) -> None:
    """`/ready` says that the engine is away."""
    eventually(lambda: readiness(service)[0] == 503, lambda: readiness(service), 15)
    assert any(told.startswith("engine: ") for told in readiness(service)[1]), readiness(service)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_goes_and_comes_back_costs_no_job(
    service: RealService, engine: SecondEngine, how: signal.Signals
) -> None:
    """What it ran is run again; what oci ran goes on; `/ready` tells."""
    accepted = at_work(service, range(1, 4))
    engine.end(how)
    says_no(service)
    engine.start()
    ready_again(service, 60)
    settled(service, accepted, end_s=120)


def test_who_cannot_begin_waits_for_an_engine_that_is_long_away(
    service: RealService, engine: SecondEngine
) -> None:
    """Longer than its calls are repeated, by far; it has not run, so that costs no attempt."""
    service.ended(service.submit("bash", "echo the image is known"))
    engine.end(signal.SIGKILL)
    says_no(service)
    accepted = {service.submit("bash", f"echo {n}"): End(result=str(n)) for n in range(8)}
    time.sleep(AWAY_S)
    engine.start()
    settled(service, accepted, end_s=120)


def test_a_full_image_store_is_told_and_got_over(service: RealService, engine: SecondEngine) -> None:
    """Jobs that find no room fail as our trouble, at most; when there is room again all work."""
    accepted = at_work(service, range(1, 4))
    with filled(engine.disk):
        eventually(lambda: readiness(service)[0] == 503, lambda: readiness(service), 15)
        assert any(told.startswith("room: the engine's directory") for told in readiness(service)[1])
    settled(service, accepted, end_s=120)


def test_the_machine_has_its_own_engine_still() -> None:
    """Nothing here ever touches it."""
    client = docker.from_env()
    try:
        assert client.ping()
    finally:
        client.close()
