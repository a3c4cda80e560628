"""`executor doctor --abuse`: what it says of a host that confines scripts, and of one that does not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.cli.abuse import examine
from executor.cli.abuse.cases import Case, cases
from executor.cli.abuse.page import page
from executor.cli.abuse.tries import HELLO
from executor.errors import Reason
from executor.sandbox import places
from executor.sandbox.hardening import harden
from executor.sandbox.spec import Hardening
from executor.script import Failed, Returned
from executor.settings import load
from tests.engines import BOTH


def doctor(*options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`executor doctor` as a person runs it."""
    command = [sys.executable, "-m", "executor", "doctor", *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **settings}
    )


@pytest.mark.engine
@pytest.mark.parametrize("engine", BOTH)
def test_this_host_holds_and_the_report_says_what_was_tried(engine: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = doctor("--abuse", "--json", "--html", str(file), EXECUTOR_ENGINE=engine)
    report = json.loads(done.stdout)
    assert [attempt for attempt in report["attempts"] if not attempt["ok"]] == []
    assert done.returncode == 0, done.stderr
    tried = [attempt["id"] for attempt in report["attempts"]]
    assert tried == [case.id for case in cases()] + ["hello", "nothing-left"]
    assert report["summary"] == {"ok": True, "tried": len(tried), "held": len(tried), "failed": 0}
    assert {attempt["isolation"]["engine"] for attempt in report["attempts"] if attempt["isolation"]} == {
        engine
    }
    assert all(image["id"].startswith("sha256:") for image in report["images"].values())
    assert report["confinement"]["python3"]["capabilities"] == []
    shown = file.read_text("utf-8")
    assert "<script" not in shown
    for said in (*tried, report["versions"]["kernel"], report["images"]["bash"]["id"]):
        assert said in shown


@pytest.mark.engine
def test_a_host_that_confines_less_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scripts in containers of a laxer make: an attempt that cannot fail would show nothing."""
    monkeypatch.setenv("EXECUTOR_ENGINE", "docker")
    monkeypatch.setattr(places, "harden", lax(harden))
    report = asyncio.run(examine(load(), lambda _: None))
    failed = {attempt["id"] for attempt in report.failed}
    assert failed >= {
        "fork-bomb",
        "disk",
        "inodes",
        "sparse-file",
        "root-file-system",
        "privileges",
        "system-calls",
        "host-stocks",
        "socket-buffers",
        "socket-families",
    }
    assert not report.ok
    assert "did not end as they must" in page(report)


def lax(harden: Callable[..., Hardening]) -> Callable[..., Hardening]:
    """A hardening that forgets most of what it should do, but lets the tests' host live."""

    def forgetful(*args: Any, **kwargs: Any) -> Hardening:
        hard = harden(*args, **kwargs)
        return replace(
            hard,
            uid=0,
            gid=0,
            pids=4000,
            memory_bytes=2 << 30,
            file_bytes=2 << 40,
            read_only_root=False,
            no_new_privileges=False,
            capabilities=("MKNOD", "SYS_CHROOT"),  # none that reaches beyond the container
            seccomp="none",
            tcp_bytes=2 << 40,
            tmpfs=tuple(replace(place, size_bytes=1 << 30, inodes=400_000) for place in hard.tmpfs),
        )

    return forgetful


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Returned(b'"hello"'), None),
        (Returned(b'"forged"'), 'returned "forged"'),
        (Failed(Reason.TIMEOUT, "timed out after 1 s"), "ended with timeout: timed out after 1 s"),
    ],
)
def test_a_case_objects_to_any_other_end(outcome: Returned | Failed, said: str | None) -> None:
    assert HELLO.objection(outcome, "") == said


def test_a_case_that_must_fail_objects_to_success_and_to_what_must_not_be_seen() -> None:
    case = replace(HELLO, result=None, ends=["timeout", "out_of_memory"], lacks="root:")
    assert case.objection(Returned(b"1"), "") == "ended with success: 1"
    assert case.objection(Failed(Reason.TIMEOUT, "x"), "") is None
    assert case.objection(Failed(Reason.TIMEOUT, "x"), "root:*") == "its log or result holds 'root:'"


def test_each_case_is_told_apart_and_says_what_it_is_for() -> None:
    found: list[Case] = cases()
    assert len({case.id for case in found}) == len(found) > 20
    for case in found:
        assert case.tries
        assert case.must
        assert case.result is not None or case.ends != "success", "else nothing could be wrong with it"


def test_wrong_usage_is_told() -> None:
    done = doctor("--html", "report.html")
    assert done.returncode == 2
    assert "--abuse" in done.stderr
    done = doctor("--abuse", "--html", "/nowhere/report.html")
    assert done.returncode == 2
    assert "/nowhere is no directory" in done.stderr
