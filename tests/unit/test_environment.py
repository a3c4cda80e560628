"""The environment a script finds: docs/openflow.md section 4.7, and nothing of the service's own."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.jobs.environment import environment, iso
from executor.jobs.job import Job, as_us
from executor.script import resolve_limits
from executor.settings import LimitBounds

PROMISED = [
    "WM_WORKSPACE",
    "WM_TOKEN",
    "WM_EMAIL",
    "WM_USERNAME",
    "WM_BASE_URL",
    "WM_JOB_ID",
    "WM_SCHEDULED_FOR",
    "WM_JOB_PATH",
    "WM_FLOW_JOB_ID",
    "WM_ROOT_FLOW_JOB_ID",
    "WM_FLOW_PATH",
    "WM_SCHEDULE_PATH",
    "WM_PERMISSIONED_AS",
    "WM_STATE_PATH",
    "WM_FLOW_STEP_ID",
    "WM_OBJECT_PATH",
    "WM_WORKER_GROUP",
    "BASE_INTERNAL_URL",
    "TZ",
]


def job(**given: Any) -> Job:
    """A job of which only these fields matter."""
    values: dict[str, Any] = dict.fromkeys(field.name for field in fields(Job))
    values.update(id="j", workspace_id="w", created_by="ruben", scheduled_for=0, attempt=1)
    return Job(**{**values, "limits": resolve_limits({}, LimitBounds()), **given})


def test_every_promised_variable_is_there_as_text() -> None:
    """A value that does not exist is the empty string, not unset."""
    found = environment(job(), "http://x")
    assert set(PROMISED) <= set(found)
    assert all(isinstance(value, str) for value in found.values())
    assert found["WM_JOB_PATH"] == found["WM_ROOT_FLOW_JOB_ID"] == ""


def test_the_job_says_who_it_is() -> None:
    """Ids, path, user and where to ask."""
    found = environment(job(path="f/a/b", root_job="r", scheduled_for=1_500_000), "http://x:1")
    assert (found["WM_WORKSPACE"], found["WM_JOB_ID"], found["WM_JOB_PATH"]) == ("w", "j", "f/a/b")
    assert (found["WM_USERNAME"], found["WM_PERMISSIONED_AS"]) == ("ruben", "u/ruben")
    assert found["WM_STATE_PATH"] == "u/ruben/tmp_state"
    assert found["WM_ROOT_FLOW_JOB_ID"] == "r"
    assert found["WM_BASE_URL"] == found["BASE_INTERNAL_URL"] == "http://x:1"
    assert found["WM_SCHEDULED_FOR"] == "1970-01-01T00:00:01.500000Z"


def test_nothing_of_the_service_s_environment_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of ours reaches a script."""
    before = environment(job(), "http://x")
    monkeypatch.setenv("EXECUTOR_TOKEN", "secret")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert environment(job(), "http://x") == before
    assert "secret" not in str(before)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (253402300799999999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_to_the_microsecond(micros: int, text: str) -> None:
    """No digit is lost on the way."""
    assert iso(micros) == text


zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.one_of(st.none(), zones)))
def test_a_time_survives_being_stored_and_shown(when: datetime) -> None:
    """In any zone; one without a zone is UTC."""
    shown = datetime.fromisoformat(iso(as_us(when)))
    assert shown == (when if when.tzinfo else when.replace(tzinfo=UTC))
