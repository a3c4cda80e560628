"""Egress as an operator meets it: policies on a running service, the command, and what a kill leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox.engine import LABEL
from tests.acceptance.service import RealService
from tests.security.network import CONNECT, REFUSED, engine, host_addresses, languages_with_egress, listener

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("languages")
    languages_with_egress(folder)
    return str(folder)


@pytest.fixture
def service(tmp_path: Path, languages: str) -> Iterator[RealService]:
    made = RealService(tmp_path / "data", EXECUTOR_RUNTIMES=languages, EXECUTOR_HOST="0.0.0.0")
    made.folder.mkdir()
    made.start()
    yield made
    made.close()


def reached(service: RealService, *targets: tuple[str, int]) -> Any:
    body = {"language": "python3", "content": CONNECT, "args": {"targets": targets}}
    response = service.http.post("/api/w/main/jobs/run_wait_result/preview", json=body)
    assert response.status_code in (200, 201), response.text
    return response.json()


def networks(service: RealService) -> list[str]:
    with engine() as client:
        found = client.api.networks(filters={"label": f"{LABEL}={service.instance}"})
        return [network["Name"] for network in found]


def test_a_policy_opens_and_closes_what_jobs_reach(service: RealService) -> None:
    """Without a restart; the service itself is never reached, though it listens on every address."""
    host = host_addresses()[0]
    with listener("0.0.0.0") as port:
        targets = (host, port), (host, service.port)
        assert reached(service, *targets) == [REFUSED, REFUSED]
        opened = {"policy": {"networks": [{"cidr": host, "ports": [port, service.port]}]}}
        assert service.http.post("/api/workspaces/set_policy/main", json=opened).status_code == 200
        assert reached(service, *targets) == ["hello", REFUSED]
        closed: dict[str, Any] = {"policy": {"networks": []}}
        assert service.http.post("/api/workspaces/set_policy/main", json=closed).status_code == 200
        assert reached(service, *targets) == [REFUSED, REFUSED]


def test_a_killed_service_leaves_nothing_after_its_next_start(service: RealService) -> None:
    """Holders end by themselves with it, as their stdin ends; the network goes with the next start."""
    reached(service, ("10.0.0.5", 80))
    before = networks(service)
    assert len(before) == 1
    assert any("holder" in name for name in service.containers())
    service.kill()
    await_gone(lambda: running(service))
    service.start()
    await_gone(lambda: [*networks(service), *service.containers()])
    assert reached(service, ("10.0.0.5", 80)) == [REFUSED]
    assert networks(service) != before


def test_a_stopped_service_leaves_nothing(service: RealService) -> None:
    reached(service, ("10.0.0.5", 80))
    service.stop()
    assert [*networks(service), *service.containers()] == []


def running(service: RealService) -> list[str]:
    with engine() as client:
        found = client.api.containers(filters={"label": f"{LABEL}={service.instance}"})
        return [container["Names"][0] for container in found]


def await_gone(left: Any, timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == []


def test_the_command_reaches_what_it_is_allowed(tmp_path: Path, languages: str) -> None:
    """`--allow` once per range; without it nothing is open."""
    host = host_addresses()[0]
    script = tmp_path / "connect.py"
    script.write_text(CONNECT)
    with listener("0.0.0.0") as port:
        targets = "targets=" + json.dumps([(host, port), (host, 1)])
        command = [sys.executable, "-m", "executor", "run", str(script), "--arg", targets]

        def run(*options: str) -> subprocess.CompletedProcess[str]:
            environment = {"PATH": "/usr/bin:/bin", "EXECUTOR_RUNTIMES": languages}
            return subprocess.run(
                [*command, *options], env=environment, capture_output=True, text=True, check=False
            )

        assert json.loads(run().stdout) == [REFUSED, REFUSED]
        allowed = run("--allow", "10.0.0.0/8", "--allow", f"{host}:{port}")
        assert json.loads(allowed.stdout) == ["hello", REFUSED], allowed.stderr
        wrong = run("--allow", "everywhere")
        assert (wrong.returncode, "--allow 'everywhere'" in wrong.stderr) == (2, True), wrong.stderr


def test_doctor_tries_a_holder_where_a_language_needs_one(tmp_path: Path, languages: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "EXECUTOR_RUNTIMES": languages, "EXECUTOR_NETWORKS": "10.0.0.0/8"}
    done = subprocess.run(
        [sys.executable, "-m", "executor", "doctor", "--json"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert findings["image holder"]["ok"]
    assert findings["egress"]["ok"], findings["egress"]
    assert "10.0.0.0/8" in findings["egress"]["detail"]
