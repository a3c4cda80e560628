"""From an outcome to what a job records: status, result, stream, labels, who ended it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from executor.errors import Reason
from executor.jobs.ending import (
    LABEL_CHARS_MAX,
    LABELS_MAX,
    canceled,
    ending,
    infrastructure,
    labels_of,
    with_stream,
    without_secrets,
)
from executor.jobs.job import Status
from executor.jobs.redaction import Redactor
from executor.script import Failed, Returned, Usage

texts = st.text(max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
spaces = st.text(" \t\n\r", max_size=3)


@st.composite
def json_text(draw: st.DrawFn, value: st.SearchStrategy[Any]) -> tuple[bytes, Any]:
    """A value, and one of the many texts it may come as."""
    made = draw(value)
    white = draw(spaces)
    text = json.dumps(made, separators=("," + white, white + ":"), ensure_ascii=draw(st.booleans()))
    return (draw(spaces) + text + draw(spaces)).encode("utf-8", "replace"), json.loads(text)


@given(json_text(st.dictionaries(texts, values, max_size=4)), st.text(min_size=1))
def test_a_stream_becomes_a_field_of_a_result_object(pair: tuple[bytes, Any], stream: str) -> None:
    """Whatever the object's text looks like, it stays that object with `wm_stream` added."""
    text, value = pair
    assume("wm_stream" not in value)
    assert json.loads(with_stream(text, stream)) == {**value, "wm_stream": stream}


@given(json_text(values.filter(lambda v: v is not None and not isinstance(v, dict))), st.text())
def test_a_stream_changes_no_other_result(pair: tuple[bytes, Any], stream: str) -> None:
    """Arrays, numbers and texts have no place for it."""
    text, value = pair
    assert json.loads(with_stream(text, stream)) == value


@given(spaces, st.text(min_size=1))
def test_a_stream_takes_the_place_of_null(white: str, stream: str) -> None:
    """A script that only streams has its stream as result."""
    assert json.loads(with_stream((white + "null" + white).encode(), stream)) == stream


@given(json_text(values))
def test_without_a_stream_a_result_keeps_its_digits_and_spaces(pair: tuple[bytes, Any]) -> None:
    """Nothing is decoded and written anew."""
    assert with_stream(pair[0], "") == pair[0].strip()


def test_a_stream_wins_over_a_field_of_that_name() -> None:
    """`wm_stream` is the stream's name."""
    assert json.loads(with_stream(b'{"wm_stream": 1, "a": 2}', "s")) == {"a": 2, "wm_stream": "s"}


def test_a_success_has_its_result_usage_and_labels() -> None:
    """The stream is part of the recorded result."""
    outcome = Returned(b'{"wm_labels": ["a", "b"]}', Usage(1, 2, 3), "s")
    end = ending(outcome, 300)
    assert end.status is Status.SUCCESS
    assert json.loads(end.result) == {"wm_labels": ["a", "b"], "wm_stream": "s"}
    assert (end.labels, end.reason, end.canceled_by) == (["a", "b"], None, None)
    assert (end.memory_peak_bytes, end.cpu_ms) == (3, 2)


@pytest.mark.parametrize(
    "result",
    [
        b"null",
        b'"wm_labels"',
        b'["wm_labels"]',
        b'{"a": {"wm_labels": ["x"]}}',
        b'{"wm_labels": "x"}',
        b'{"wm_labels": ["x", 1]}',
        b'{"wm_labels": {"x": 1}}',
        b'{"wm_labels": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_only_a_string_array_at_the_top_names_labels(result: bytes) -> None:
    """Anything else under that name is just a result."""
    assert not labels_of(result)


def test_labels_are_bounded_in_number_and_length() -> None:
    """A script cannot fill the jobs table; NUL is left out, as no text column takes it everywhere."""
    many = labels_of(json.dumps({"wm_labels": ["x" * 999] * 999}).encode())
    assert many == ["x" * LABEL_CHARS_MAX] * LABELS_MAX
    assert labels_of(b'{"wm_labels": ["a\\u0000b"]}') == ["ab"]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.TIMEOUT])
def test_a_failure_records_its_reason_and_nobody_who_canceled_it(reason: Reason) -> None:
    """The reason stands in the job and in the error object alike."""
    end = ending(Failed(reason, "m", usage=Usage(1, 2, 3)), 300)
    assert (end.status, end.reason, end.canceled_by) == (Status.FAILURE, reason.value, None)
    assert json.loads(end.result) == {"error": {"name": "ExecutionErr", "message": "m", "reason": reason}}
    assert (end.memory_peak_bytes, end.cpu_ms) == (3, 2)


@pytest.mark.parametrize(
    ("seconds", "said"), [(5.0, "duration > 5"), (0.25, "duration > 0.25"), (3600, "duration > 3600")]
)
def test_a_timeout_is_a_failure_that_says_after_how_long(seconds: float, said: str) -> None:
    """`canceled_by: "timeout"`, `canceled_reason: "duration > N"`, and still no cancellation."""
    end = ending(Failed(Reason.TIMEOUT, "m"), seconds)
    assert (end.status, end.canceled_by, end.canceled_reason) == (Status.FAILURE, "timeout", said)


def test_an_error_object_has_the_members_that_are_known() -> None:
    """`{name, message, reason, stack?, extra?, exit_code?}`: absent, not null, where unknown."""
    full = Failed(Reason.SCRIPT_ERROR, "m", "E", "trace", {"a": 1}, 0)
    assert json.loads(ending(full, 1).result)["error"] == {
        "name": "E",
        "message": "m",
        "reason": "script_error",
        "stack": "trace",
        "extra": {"a": 1},
        "exit_code": 0,
    }


def test_an_error_text_that_is_no_unicode_is_still_stored() -> None:
    """A lone surrogate is written in its escaped form: the result stays UTF-8."""
    end = ending(Failed(Reason.SCRIPT_ERROR, "m", extra={"a": "\ud800"}), 1)
    assert json.loads(end.result.decode("utf-8"))["error"]["extra"] == {"a": "\ud800"}


def test_a_cancellation_says_who_and_why() -> None:
    """`Job canceled: <reason> by <user>`, with `canceler`."""
    end = canceled("ruben", 'too "slow"', Usage(1, 2, 3))
    assert (end.status, end.reason) == (Status.CANCELED, "cancelled")
    assert (end.canceled_by, end.canceled_reason) == ("ruben", 'too "slow"')
    assert json.loads(end.result)["error"] == {
        "name": "Canceled",
        "message": 'Job canceled: too "slow" by ruben',
        "canceler": "ruben",
        "reason": "cancelled",
    }
    assert (end.memory_peak_bytes, end.cpu_ms) == (3, 2)


def test_our_own_trouble_is_an_internal_error() -> None:
    """`InternalError` with reason `infrastructure`."""
    end = infrastructure("no engine")
    assert (end.status, end.reason) == (Status.FAILURE, "infrastructure")
    error = json.loads(end.result)["error"]
    assert error == {"name": "InternalError", "message": "no engine", "reason": "infrastructure"}


def test_an_error_of_too_many_values_is_not_masked_one_by_one_but_left_out() -> None:
    end = ending(Failed(Reason.SCRIPT_ERROR, "m", extra={"a": ["s3cr3t-1"] * 3_000_000}), 1)
    shown = json.loads(without_secrets(end, Redactor(["s3cr3t-1"])).result)
    assert shown["error"]["reason"] == "script_error"
    assert "too many values" in shown["error"]["message"]
