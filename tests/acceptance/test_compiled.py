"""A language that compiles, as its users see it: a new script is compiled, an unchanged one is not."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service import RealService

pytestmark = pytest.mark.engine

HELLO = "package inner\n\nfunc main(n int) int {\n\treturn n + %d\n}\n"
SLOW = "package inner\n\nfunc main() int {\n\treturn f0(1)\n}\n\n" + "".join(
    f"func f{n}(a int) int {{\n\tfor i := range a {{\n\t\ta += i * {n}\n\t}}\n\treturn a\n}}\n\n"
    for n in range(5_000)
)
"""Compiles for some seconds."""


def compiled(service: RealService) -> int:
    """How often the service has called the compiler."""
    found = re.search(
        r'^executor_compile_seconds_count\{language="go"\} (\d+)',
        service.http.get("/metrics").text,
        re.MULTILINE,
    )
    return int(found[1]) if found else 0


def result_of(service: RealService, content: str, workspace: str = "main", **args: Any) -> Any:
    """The result of a Go script."""
    body = {"language": "go", "content": content, "args": args}
    response = service.http.post(f"/api/w/{workspace}/jobs/run_wait_result/preview", json=body)
    return response.json()


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait for it."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)


def compiles(service: RealService) -> bool:
    """Whether a compiler's container is there."""
    return any(name.startswith("/executor-compile-") for name in service.containers())


def test_an_unchanged_script_is_compiled_once_and_each_edit_once(service: RealService) -> None:
    before = compiled(service)
    for edition, calls in ((1, 3), (2, 2), (3, 1), (1, 1)):
        for n in range(calls):
            assert result_of(service, HELLO % edition, n=n) == n + edition
    assert compiled(service) - before == 3


def test_jobs_at_the_same_time_share_one_compiler(service: RealService) -> None:
    before = compiled(service)
    jobs = [service.submit("go", HELLO % 100, {"n": n}) for n in range(6)]
    assert [service.ended(job)["result"] for job in jobs] == [n + 100 for n in range(6)]
    assert compiled(service) - before == 1


def test_workspaces_do_not_share_programs(service: RealService) -> None:
    service.http.post("/api/workspaces/create", json={"id": "team-go", "name": "team-go"}).raise_for_status()
    before = compiled(service)
    for workspace in ("main", "team-go", "main", "team-go"):
        assert result_of(service, HELLO % 200, workspace, n=1) == 201
    assert compiled(service) - before == 2
    assert {path.name for path in (service.folder / "programs").iterdir()} == {"main", "team-go"}


def test_a_compile_error_is_the_job_s_error_and_log(service: RealService) -> None:
    job = service.ended(service.submit("go", "package inner\n\nfunc main() int {\n\treturn missing\n}\n"))
    assert job["result"]["error"] == {
        "name": "ExecutionErr",
        "message": 'exit code for "go build": 1, last log lines:\nmain.go:4:9: undefined: missing',
        "reason": "script_error",
        "exit_code": 1,
    }
    assert job["logs"] == "main.go:4:9: undefined: missing\n"


def test_a_job_that_is_cancelled_while_it_compiles_ends_at_once(service: RealService) -> None:
    job_id = service.submit("go", SLOW)
    until(lambda: compiles(service))
    began = time.monotonic()
    service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json={"reason": "enough"})
    assert service.ended(job_id)["status"] == "canceled"
    assert time.monotonic() - began < 10
    service.await_no_containers(5)


def test_a_service_that_is_killed_while_it_compiles_compiles_again(own_service: RealService) -> None:
    """And after another kill the program is still there."""
    own_service.start()
    job_id = own_service.submit("go", SLOW)
    until(lambda: compiles(own_service))
    own_service.kill()
    assert list((own_service.folder / "programs").glob("*/*")) == []
    own_service.start()
    job = own_service.ended(job_id)
    assert (job["result"], job["attempt"]) == (1, 2)
    assert compiled(own_service) == 1
    own_service.await_no_containers(10)
    own_service.kill()
    own_service.start()
    assert result_of(own_service, SLOW) == 1
    assert compiled(own_service) == 0


def test_the_command_compiles_too(tmp_path: Path) -> None:
    script = tmp_path / "hello.go"
    script.write_text(HELLO % 1)
    command = [sys.executable, "-m", "executor", "run", str(script), "--arg", "n=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")
