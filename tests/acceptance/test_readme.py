"""What README.md shows is what happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.docs import ROOT

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


@pytest.mark.parametrize("name", ["hello.py", "sum.go"])
def test_the_run_examples_print_what_is_shown(tmp_path: Path, name: str) -> None:
    pattern = rf"\$ cat {re.escape(name)}\n(.*?)\n\n    \$ .venv/bin/executor (run [^\n]*)\n(.*?)\n\n"
    match = re.search(pattern, README, re.DOTALL)
    assert match is not None
    source, command, output = match.groups()
    (tmp_path / name).write_text(re.sub(r"^    ", "", source, flags=re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-m", "executor", *command.split()],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == output.split()
