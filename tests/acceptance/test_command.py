"""The command, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from executor.containers import docker_parts
from executor.runtimes import scan
from executor.settings import load
from tests.acceptance.service import RealService

pytestmark = pytest.mark.engine


def executor(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command; do not raise."""
    command = [sys.executable, "-m", "executor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello.py"
    path.write_text("def main(n=1, name='x'):\n    print('hello', name)\n    return {'n': n + 1}\n")
    return path


def test_result_on_stdout_log_on_stderr(hello: Path) -> None:
    done = executor("run", str(hello), "--arg", "n=3", "--arg", "name=Ada")
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"n": 4}\n'.replace(" ", ""), "hello Ada\n")


def test_json_tells_everything(hello: Path) -> None:
    done = executor("run", str(hello), "--json", "--limit", "memory_mb=100")
    told = json.loads(done.stdout)
    assert (told["success"], told["result"]) == (True, {"n": 2})
    assert (told["sandbox"]["memory_mb"], told["sandbox"]["network"]) == (100, "none")
    assert told["usage"]["memory_peak_bytes"] > 0


@pytest.mark.parametrize(
    ("script", "options", "code", "says"),
    [
        ("def main(): raise ValueError('boom')", [], 1, "ValueError: boom"),
        ("def main(): return undefined", [], 1, "NameError"),
        ("import time\ndef main(): time.sleep(9)", ["--limit", "timeout_s=1"], 124, "timeout"),
        ("def main(): return bytearray(1 << 30)", ["--limit", "memory_mb=64"], 137, "out_of_memory"),
        ("def main(): pass", ["--limit", "memory_mb=0"], 2, "limits.memory_mb"),
        ("def main(): pass", ["--limit", "nonsense"], 2, "NAME=VALUE"),
        ("def main(): pass", ["--language", "cobol"], 2, "python3"),
    ],
)
def test_exit_codes_mean_something(
    tmp_path: Path, script: str, options: list[str], code: int, says: str
) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    done = executor("run", str(path), *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_an_unknown_file_name_asks_for_the_language(tmp_path: Path) -> None:
    path = tmp_path / "script.xyz"
    path.write_text("")
    done = executor("run", str(path))
    assert done.returncode == 2
    assert "--language" in done.stderr


def test_ctrl_c_cancels_the_script(tmp_path: Path) -> None:
    path = tmp_path / "script.sh"
    path.write_text("echo up\nsleep 60\n")
    command = [sys.executable, "-m", "executor", "run", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(30) == 130
    assert time.monotonic() - began < 8
    process.communicate()


def test_doctor_finds_a_healthy_host_healthy(tmp_path: Path) -> None:
    done = executor("doctor", "--json", env={**os.environ, "EXECUTOR_DATA_DIR": str(tmp_path / "data")})
    findings = json.loads(done.stdout)
    assert [finding for finding in findings if not finding["ok"]] == []
    assert done.returncode == 0
    names = {finding["name"] for finding in findings}
    assert {"engine", "capabilities", "memory limit", "process limit", "network", "root file system"} <= names
    (shared,) = [finding["detail"] for finding in findings if finding["name"] == "shared directories"]
    assert shared.startswith("ext4:"), shared


def test_doctor_says_which_shared_directories_work_and_why(tmp_path: Path) -> None:
    """Where the engine does not see our mounts, a volume of its own serves; bounded as the settings say."""
    environment = {
        **os.environ,
        "EXECUTOR_DATA_DIR": str(tmp_path),
        "EXECUTOR_SHARED_MB": "20",
        "EXECUTOR_SHARED_FILES": "300",
    }
    tmp_path.chmod(0o700)
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-m",
        "executor",
        "doctor",
        "--json",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    (found,) = [finding for finding in json.loads(done.stdout) if finding["name"] == "shared directories"]
    assert found["ok"], found
    assert found["detail"].startswith("volume:")
    assert "20 MiB and 300 files" in found["detail"]
    assert found["detail"].count("does not see") == 2
    assert list(tmp_path.iterdir()) == []


def test_doctor_without_an_engine_says_what_to_do(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
        "EXECUTOR_DATA_DIR": str(tmp_path),
    }
    tmp_path.chmod(0o700)
    done = executor("doctor", env=environment)
    assert done.returncode == 1
    assert "executor setup" in done.stdout
    assert "Traceback" not in done.stderr


def test_images_are_listed() -> None:
    plans = json.loads(executor("images", "list", "--json").stdout)
    assert {"distro", "builder", "base", "bash", "deno", "go", "python3"} <= {plan["name"] for plan in plans}
    assert all(plan["present"] for plan in plans)


def test_workspaces_are_made_and_listed(service: RealService, tmp_path: Path) -> None:
    environment = {**os.environ, "EXECUTOR_PORT": str(service.port), "EXECUTOR_TOKEN": "acceptance-token"}
    policy = tmp_path / "policy.json"
    policy.write_text('{"concurrency": 2, "networks": [{"cidr": "10.0.0.0/8", "ports": [5432]}]}')
    made = executor("workspace", "create", "team-a", "--policy", str(policy), env=environment)
    assert made.returncode == 0, made.stderr
    got = json.loads(executor("workspace", "get", "team-a", env=environment).stdout)
    assert got["policy"]["concurrency"] == 2
    again = executor("workspace", "create", "team-a", env=environment)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    listed = json.loads(executor("workspace", "list", "--json", env=environment).stdout)
    assert [workspace["id"] for workspace in listed] == ["main", "team-a"]


def test_a_wrong_setting_is_named() -> None:
    done = executor("serve", env={**os.environ, "EXECUTOR_PORT": "seventy"})
    assert done.returncode == 2
    assert "EXECUTOR_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_by_hand_an_image_prints_json_lines_and_nothing_else() -> None:
    settings = load()
    runtimes = scan(settings.runtimes)
    tag = docker_parts(settings, runtimes).image_tag(runtimes.by_name["python3"])
    job = {"type": "job", "script": "def main(n):\n    print('hi')\n    return n * 2\n", "args": {"n": 21}}
    done = subprocess.run(
        ["docker", "run", "-i", "--rm", "--network", "none", tag],
        input=json.dumps(job) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert [frame["type"] for frame in frames if frame["type"] != "ready"] == ["log", "result", "exit"]
    assert frames[-2]["value"] == 42
    assert frames[-1]["code"] == 0
    assert done.stderr == ""
