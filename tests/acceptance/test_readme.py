"""What README.md shows is what happens."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import docker
import pytest

from executor.sandbox import distro
from tests.acceptance.service import RealService
from tests.docs import ROOT
from tests.servers.database import DatabaseServer

pytestmark = pytest.mark.engine
README = (ROOT / "README.md").read_text("utf-8")


def test_the_curl_examples_answer_as_shown(service: RealService) -> None:
    """Each body after `-d` gets the answer that the next indented line of JSON shows."""
    shown = re.findall(r"-d '(\{.*?\})'\n.*?\n    (\{\"[^\n]*\})\n", README, re.DOTALL)
    assert len(shown) == 2
    for body, answer in shown:
        response = service.http.post(
            "/api/w/main/jobs/run_wait_result/preview", content=json.dumps(json.loads(body, strict=False))
        )
        assert response.text == answer


def shown(name: str, tmp_path: Path) -> tuple[list[str], str]:
    """Write an example's file; its command line after `executor`, and what it is shown to print."""
    pattern = (
        rf"\$ cat {re.escape(name)}\n(.*?)\n\n    \$ .venv/bin/executor ((?:flow )?run [^\n]*)\n(.*?)\n\n"
    )
    match = re.search(pattern, README, re.DOTALL)
    assert match is not None
    source, command, output = match.groups()
    (tmp_path / name).write_text(re.sub(r"^    ", "", source, flags=re.MULTILINE))
    return shlex.split(command), output


def printed(command: list[str], tmp_path: Path) -> str:
    """What `executor` prints, log and result."""
    done = subprocess.run(
        [sys.executable, "-m", "executor", *command],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("name", ["hello.py", "greet.ts", "sum.go", "words.sh", "squares.sql"])
def test_the_run_examples_print_what_is_shown(tmp_path: Path, name: str) -> None:
    command, output = shown(name, tmp_path)
    assert printed(command, tmp_path).split() == output.split()


def test_the_image_example_prints_what_is_shown(tmp_path: Path) -> None:
    """On a machine without registry the image that stands in for the one named is taken."""
    command, output = shown("image.sh", tmp_path)
    with closing(docker.from_env()) as client:
        image = distro.chosen(client, "debian:bookworm-slim")
    assert image is not None
    script = tmp_path / "image.sh"
    script.write_text(script.read_text().replace("debian:bookworm-slim", image))
    assert printed(command, tmp_path).split() == output.split()


@pytest.mark.parametrize(("name", "server"), [("orders.pgsql", "postgresql"), ("orders.mysql", "mariadb")])
def test_the_database_examples_print_what_is_shown(
    tmp_path: Path, name: str, server: str, request: pytest.FixtureRequest
) -> None:
    """Asked of a test's own server, whose address stands in for the one shown."""
    running: DatabaseServer = request.getfixturevalue(f"{server}_server")
    command, output = shown(name, tmp_path)
    (tmp_path / "connection.json").write_text(json.dumps({"database": running.connection()}))
    command[command.index("--allow") + 1] = f"{running.host}:{running.port}"
    assert printed(command, tmp_path).split() == output.split()


def test_the_flow_example_prints_what_is_shown(tmp_path: Path) -> None:
    """The tree goes to stderr; the result is what is shown."""
    command, output = shown("greet.yaml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "executor", *command],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == output.strip()
    assert "iteration 1" in done.stderr
