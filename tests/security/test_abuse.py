"""Scripts that misbehave, from the shared abuse kit, against a real service with real containers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from executor.runtimes import scan
from executor.sandbox.images import Images
from executor.settings import load
from tests.acceptance.service import SERVE, TOKEN, RealService
from tests.docs import ROOT
from tests.engines import needs_root
from tests.servers.database import DatabaseServer

pytestmark = pytest.mark.engine

KIT = ROOT / "tests" / "conformance" / "run_abuse.py"
LEAVE_S = 15
POOL = 8
"""Containers that wait: misbehaving scripts get those like any other."""
LEFT = str(POOL + 1)
"""What may still run after the last job: those, and the container that holds the workspace's network."""


@dataclass
class Operated:
    """A service that the kit's own commands kill and start again; the second process is not our child."""

    service: RealService
    again: Path
    """Holds the process id of the service that was started again."""

    @property
    def kill(self) -> str:
        """The shell command that kills the first process."""
        assert self.service.process is not None
        return f"kill -9 {self.service.process.pid}"

    @property
    def start(self) -> str:
        """The shell command that starts the second one, given the service's environment."""
        log = shlex.quote(str(self.service.log_file))
        return f"setsid {shlex.join(SERVE)} >>{log} 2>&1 & echo $! > {shlex.quote(str(self.again))}"

    def close(self) -> None:
        """Stop whichever process there is."""
        if self.again.exists():
            pid = int(self.again.read_text())
            os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + LEAVE_S
            while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
                time.sleep(0.05)
        self.service.close()


@pytest.fixture
def operated(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql_server: DatabaseServer
) -> Iterator[Operated]:
    """A service whose environment holds the secret that no script may find; SQL reaches its server only."""
    reach = f"{postgresql_server.host}:{postgresql_server.port}"
    service = RealService(
        tmp_path / "data",
        X_SECRET="CANARY-7f3a-SERVICE",
        EXECUTOR_NETWORKS=reach,
        EXECUTOR_ENGINE=request.param,
        EXECUTOR_POOL_MAX=str(POOL),
    )
    service.folder.mkdir()
    service.start()
    operated = Operated(service, tmp_path / "again.pid")
    yield operated
    operated.close()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("operated", ["auto"], indirect=True)
def test_misbehaving_scripts_hurt_nothing(operated: Operated, postgresql_server: DatabaseServer) -> None:
    lines = misbehave(operated, postgresql_server)
    skipped = [line for line in lines if line.startswith("SKIP") and "manual" not in line]
    assert skipped == [], "with everything given, only what is for people is left out"
    assert sum(line.startswith("PASS") for line in lines) > 70


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "operated", ["docker", pytest.param("oci", marks=needs_root)], indirect=True, ids=["docker", "oci"]
)
def test_either_engine_isolates(operated: Operated, postgresql_server: DatabaseServer) -> None:
    lines = misbehave(operated, postgresql_server, "--only", "isolation")
    assert sum(line.startswith("PASS") for line in lines) > 8


def misbehave(operated: Operated, database: DatabaseServer, *options: str) -> list[str]:
    """The kit's lines, one per case, none of which may have failed, with nothing left afterwards."""
    service = operated.service
    assert service.process is not None
    runtimes = scan()
    with closing(Images(load().base_image, runtimes)) as images:
        image = images.tag_for("bash")
    command = [
        sys.executable, str(KIT), "--base-url", f"http://127.0.0.1:{service.port}", "--token", TOKEN,
        "--languages", ",".join(runtimes.names()), "--time-scale", "2",
        "--label", f"executor={service.instance}", "--pool-max", LEFT,
        "--service-pid", str(service.process.pid), "--shared-root", str(service.folder / "shared" / "runs"),
        "--image", image, "--database", json.dumps(database.connection()),
        "--kill-worker-cmd", operated.kill, "--start-worker-cmd", operated.start, *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=service.environment)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == []
    assert done.returncode == 0, done.stdout + done.stderr
    deadline = time.monotonic() + LEAVE_S
    while (left := own(service.containers())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == [], "the kit sees docker's containers only"
    return lines


def own(containers: list[str]) -> list[str]:
    """Those of jobs; not those that wait for one, or hold a workspace's network."""
    return [name for name in containers if not name.startswith(("/executor-holder-", "/executor-pool-"))]
