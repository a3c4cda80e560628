"""The service's own log: for machines one JSON object a line, never a script's output."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from executor import telemetry


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The log of the other tests goes where it went."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_line_is_one_json_object_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """With level, UTC time and the given members; a trace stays on its line."""
    telemetry.configure("info")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        telemetry.log.exception("it failed", job="j")
    telemetry.log.debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["event"], said["job"], said["level"]) == ("it failed", "j", "error")
    assert said["timestamp"].endswith("Z")
    assert "ValueError: two\nlines" in said["exception"]
