"""Whole OpenFlow workflows on a real service with real containers: the shared conformance cases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import TOKEN, RealService
from tests.databases import fresh
from tests.docs import ROOT
from tests.servers.database import DatabaseServer

pytestmark = pytest.mark.engine
KIT = ROOT / "tests" / "conformance" / "run_openflow.py"
NEED = "wmill"
"""What this version has not: packages beyond the image's."""


@pytest.mark.timeout(900)
def test_every_conformance_case_of_flows_passes(service: RealService) -> None:
    passes_every_case(service)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_conformance_case_of_flows_passes_on_postgresql(
    tmp_path: Path, postgresql_server: DatabaseServer
) -> None:
    with fresh(postgresql_server) as url:
        service = RealService(tmp_path / "data", EXECUTOR_DATABASE_URL=url)
        service.folder.mkdir()
        try:
            service.start()
            passes_every_case(service)
        finally:
            service.close()


def passes_every_case(service: RealService) -> None:
    """The kit says so, and has tried them all."""
    command = [
        sys.executable, str(KIT), "--base-url", f"http://127.0.0.1:{service.port}", "--token", TOKEN,
        "--skip-requires", NEED, "--jobs", "4", "--timeout", "180",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == [], done.stdout
    assert sum(line.startswith("pass") for line in lines) >= 104, done.stdout + done.stderr


def test_flow_run_shows_a_tree_and_prints_the_result(tmp_path: Path) -> None:
    """JSON or YAML, no service needed; the exit code says how it ended."""
    demo = ROOT / "executor" / "cli" / "demo_flow.yaml"
    done = flow_run(str(demo), "--arg", "count=3")
    assert json.loads(done.stdout)["so_far"] == {"orders": 3, "total": 60}
    assert done.returncode == 0
    assert "iteration 2" in done.stderr
    failing = tmp_path / "fails.json"
    step = {"id": "a", "value": {"type": "rawscript", "language": "bash", "content": "exit 3"}}
    failing.write_text(json.dumps({"modules": [step]}))
    done = flow_run(str(failing))
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (1, 3)
    failing.write_text(json.dumps({"modules": [{"id": "a", "value": {"type": "nonsense"}}]}))
    done = flow_run(str(failing))
    assert done.returncode == 2
    assert "value.modules[0].value" in done.stderr


def flow_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`executor flow run`."""
    return subprocess.run(
        [sys.executable, "-m", "executor", "flow", "run", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
