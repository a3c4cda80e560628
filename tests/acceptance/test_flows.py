"""Whole OpenFlow workflows on a real service with real containers: the shared conformance cases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.service import TOKEN, RealService, processes_with
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


def written(folder: Path, *modules: dict[str, Any], name: str = "flow.json") -> Path:
    """A flow in a file."""
    file = folder / name
    file.write_text(json.dumps({"modules": modules}))
    return file


def bash(id: str, content: str, **settings: Any) -> dict[str, Any]:
    return {"id": id, "value": {"type": "rawscript", "language": "bash", "content": content}, **settings}


def test_flow_run_says_where_to_approve_and_goes_on(tmp_path: Path) -> None:
    """The approval page's link is printed while the flow waits, also where stderr is no terminal."""
    gate = {"required_events": 2, "timeout": 60}
    flow = written(tmp_path, bash("ask", "echo 5", suspend=gate), {"id": "b", "value": {"type": "identity"}})
    with begun(flow) as running:
        for _ in range(2):
            page = link_in(running)
            assert requests.get(page, timeout=10).status_code == 200
            requests.post(page, data={"action": "resume"}, timeout=10).raise_for_status()
        stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, json.loads(stdout)) == (0, "5"), stderr


@pytest.mark.parametrize("content", ["sleep 60", "trap '' TERM; sleep 60"])
def test_ctrl_c_cancels_a_flow_and_leaves_nothing(tmp_path: Path, content: str) -> None:
    """130, with the error as result; the signal goes to the whole group, as a terminal sends it."""
    with begun(written(tmp_path, bash("a", f"echo begun; {content}")), "--logs") as running:
        while "begun" not in line_of(running):
            pass
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 130, stderr
    assert json.loads(stdout)["error"]["message"] == "Job canceled: Ctrl-C by admin"
    assert processes_with(str(tmp_path)) == []


def test_a_terminated_command_takes_its_service_along(tmp_path: Path) -> None:
    with begun(written(tmp_path, bash("a", "echo begun; sleep 60")), "--logs") as running:
        port = line_of(running).rpartition(":")[2].strip()
        while "begun" not in line_of(running):
            pass
        running.terminate()
        running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/health", timeout=5)


def test_flow_run_prints_logs_and_errors(tmp_path: Path) -> None:
    """`--logs` prints all of them, whole lines, before the tree; a failed step says why."""
    failing = bash("bad", "printf 'no line break'; exit 3")
    done = flow_run(str(written(tmp_path, bash("a", "echo one\necho two"), failing)), "--logs")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line for line in lines if line in ("one", "two", "no line break")] == [
        "one",
        "two",
        "no line break",
    ]
    assert any('exit code for "bash run": 3' in line for line in lines[-3:])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--arg", "novalue"], "write NAME=VALUE"),
        (["--arg", "a=1e999"], "too large for JSON"),
        (["--args", "FOLDER/flow.json/nothing"], "FOLDER/flow.json/nothing"),
        (["--allow", "everywhere"], "--allow 'everywhere'"),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(
    tmp_path: Path, given: list[str], message: str
) -> None:
    flow = written(tmp_path, {"id": "a", "value": {"type": "identity"}})
    done = flow_run(str(flow), *(text.replace("FOLDER", str(tmp_path)) for text in given))
    assert done.returncode == 2
    assert message.replace("FOLDER", str(tmp_path)) in done.stderr
    assert "starting the service" not in done.stderr


def test_arguments_of_all_kinds_arrive(tmp_path: Path) -> None:
    """JSON where it is JSON, else text; those of the command line win over the file's."""
    flow = written(tmp_path, {"id": "a", "value": {"type": "identity"}})
    file = tmp_path / "args.json"
    file.write_text('{"n": 1, "file": "ü"}')
    pairs = [
        "n=2",
        "t=text",
        "e=",
        'o={"a": [1.5, null]}',
        's="5"',
        "x=a=b",
        "nan=NaN",
        "big=9007199254740993",
    ]
    done = flow_run(str(flow), "--args", str(file), *(word for pair in pairs for word in ("--arg", pair)))
    assert json.loads(done.stdout) == {
        "n": 2, "file": "ü", "t": "text", "e": "", "o": {"a": [1.5, None]}, "s": "5", "x": "a=b",
        "nan": "NaN", "big": 9007199254740993,
    }  # fmt: skip


@contextmanager
def begun(*arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """`executor flow run`, in a process group of its own, as a terminal's shell starts it.

    What runs in the background of a script, perhaps these tests, was told to ignore SIGINT, and would
    pass that on.
    """
    command = [sys.executable, "-m", "executor", "flow", "run", *map(str, arguments)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with started as running:
        try:
            yield running
        finally:
            running.kill()


def line_of(running: subprocess.Popen[str]) -> str:
    """The next line on stderr."""
    assert running.stderr is not None
    line = running.stderr.readline()
    assert line, "the command has ended"
    return line


def link_in(running: subprocess.Popen[str]) -> str:
    """The next link to an approval's page."""
    while "/approve/" not in (line := line_of(running)):
        pass
    return line[line.index("http") :].strip()


def flow_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`executor flow run`."""
    return subprocess.run(
        [sys.executable, "-m", "executor", "flow", "run", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
