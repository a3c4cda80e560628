"""Scripts that misbehave, from the shared abuse kit, against a real service with real containers of either engine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from executor.runtimes import scan
from executor.sandbox.images import Images
from executor.settings import load
from tests.acceptance.service import TOKEN, RealService
from tests.docs import ROOT
from tests.engines import BOTH
from tests.servers.database import DatabaseServer

pytestmark = pytest.mark.engine

KIT = ROOT / "tests" / "conformance" / "run_abuse.py"
CATEGORIES = "input,result,output,process,isolation,network,tenancy,resources"
LEAVE_S = 15
POOL = 8
"""Containers that wait: misbehaving scripts get those like any other."""
LEFT = str(POOL + 1)
"""What may still run after the last job: those, and the container that holds the workspace's network."""


@pytest.fixture(params=BOTH)
def guarded(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql_server: DatabaseServer
) -> Iterator[RealService]:
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
    yield service
    service.close()


@pytest.mark.timeout(900)
def test_misbehaving_scripts_hurt_nothing(guarded: RealService, postgresql_server: DatabaseServer) -> None:
    assert guarded.process is not None
    runtimes = scan()
    with closing(Images(load().base_image, runtimes)) as images:
        image = images.tag_for("bash")
    command = [
        sys.executable, str(KIT), "--base-url", f"http://127.0.0.1:{guarded.port}", "--token", TOKEN,
        "--only", CATEGORIES, "--languages", ",".join(runtimes.names()), "--time-scale", "2",
        "--label", f"executor={guarded.instance}", "--pool-max", LEFT, "--service-pid", str(guarded.process.pid),
        "--image", image, "--database", json.dumps(postgresql_server.connection()),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == []
    assert sum(line.startswith("PASS") for line in lines) > 50, done.stdout + done.stderr
    deadline = time.monotonic() + LEAVE_S
    while (left := own(guarded.containers())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == [], "the kit sees docker's containers only"


def own(containers: list[str]) -> list[str]:
    """Those of jobs; not those that wait for one, or hold a workspace's network."""
    return [name for name in containers if not name.startswith(("/executor-holder-", "/executor-pool-"))]
