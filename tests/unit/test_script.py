"""A job's limits: completed from the defaults, refused by name above the maxima."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.api.answers import answer
from executor.errors import BadInput
from executor.flows.values import recovers
from executor.jobs.desk import Early
from executor.jobs.ending import labels_of
from executor.script import Limits, compact_json, is_light, resolve_limits
from executor.settings import Bound, LimitBounds, WholeBound

BOUNDS = LimitBounds(cpus=Bound(default=1, maximum=2))
KEYS = list(LimitBounds.model_fields)
WHOLE = [key for key in KEYS if key not in ("timeout_s", "cpus")]


def test_the_limits_as_shipped_are_those_of_the_semantics_page() -> None:
    """docs/openflow.md section 6.1 has this table."""
    mib = 1024 * 1024
    assert resolve_limits({}, LimitBounds()) == Limits(300, 256, 1, 128, 64, mib, 8 * mib)
    most = {key: getattr(LimitBounds(), key).maximum for key in KEYS if key != "cpus"}
    assert most == {
        "timeout_s": 3600,
        "memory_mb": 2048,
        "pids": 512,
        "tmp_mb": 1024,
        "log_bytes": 16 * mib,
        "result_bytes": 64 * mib,
    }


@pytest.mark.parametrize("key", KEYS)
def test_each_limit_can_be_asked_for_up_to_its_maximum(key: str) -> None:
    """The maximum itself is allowed; the other limits keep their defaults."""
    most = getattr(BOUNDS, key).maximum
    found = resolve_limits({key: most}, BOUNDS)
    assert getattr(found, key) == most
    for other in set(KEYS) - {key}:
        assert getattr(found, other) == getattr(BOUNDS, other).default


@pytest.mark.parametrize("key", KEYS)
def test_a_limit_above_its_maximum_is_refused_with_field_and_maximum(key: str) -> None:
    """The remedy gives the maximum in full, so that it can be copied."""
    most = getattr(BOUNDS, key).maximum
    with pytest.raises(BadInput) as caught:
        resolve_limits({key: most + 1}, BOUNDS)
    assert caught.value.field == f"limits.{key}"
    assert caught.value.remedy is not None
    assert caught.value.remedy.endswith(f" {int(most)}")


@pytest.mark.parametrize("value", [0, -1, -0.5, float("nan"), "1", True, False, [], {}, [1]])
@pytest.mark.parametrize("key", KEYS)
def test_what_is_no_positive_number_is_refused(key: str, value: Any) -> None:
    """Booleans and texts are no numbers, NaN is not positive."""
    with pytest.raises(BadInput, match="positive number") as caught:
        resolve_limits({key: value}, BOUNDS)
    assert caught.value.field == f"limits.{key}"


@pytest.mark.parametrize("key", WHOLE)
def test_what_is_counted_is_whole(key: str) -> None:
    """No half process; 2.0 is a whole number as JSON writes it."""
    with pytest.raises(BadInput, match="whole number"):
        resolve_limits({key: 1.5}, BOUNDS)
    assert getattr(resolve_limits({key: 2.0}, BOUNDS), key) == 2


@pytest.mark.parametrize("key", ["disk", "", "timeout", "TIMEOUT_S", "__class__"])
def test_an_unknown_limit_is_refused_and_the_known_ones_named(key: str) -> None:
    """A misspelt limit is never silently ignored."""
    with pytest.raises(BadInput) as caught:
        resolve_limits({key: 1}, BOUNDS)
    assert caught.value.field == f"limits.{key}"
    assert caught.value.remedy is not None
    assert all(known in caught.value.remedy for known in KEYS)


def test_null_means_the_default() -> None:
    """As leaving it out."""
    assert resolve_limits(dict.fromkeys(KEYS), BOUNDS) == resolve_limits({}, BOUNDS)


def test_a_default_above_the_maximum_is_lowered_to_it() -> None:
    """The maximum is the stronger word."""
    bounds = BOUNDS.model_copy(update={"memory_mb": WholeBound(default=256, maximum=64)})
    assert resolve_limits({}, bounds).memory_mb == 64


@given(st.sampled_from(KEYS), st.integers() | st.floats())
def test_any_number_is_within_bounds_or_refused(key: str, value: float) -> None:
    """What comes out is positive and at most the maximum."""
    try:
        found = getattr(resolve_limits({key: value}, BOUNDS), key)
    except BadInput:
        return
    assert 0 < found <= getattr(BOUNDS, key).maximum
    assert found == value


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
any_text = st.text(st.characters())  # with lone surrogates


@given(json_values, any_text)
def test_our_json_is_strict_utf_8_and_means_the_same(value: Any, text: str) -> None:
    """Also for texts that are no Unicode: their surrogates are escaped."""
    assert json.loads(compact_json([value, text]).decode("utf-8")) == [value, text]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_does_not_have_is_refused(value: float) -> None:
    """No `NaN` ever leaves us."""
    with pytest.raises(ValueError, match="JSON"):
        compact_json({"a": [value]})


COMMAS = rb"a,b,[c]\n\"" * 400_000
HEAVY_TEXT = (
    b'{"wm_labels":["x"],"windmill_status_code":201,"recover":true,"a":[' + b"[]," * 900_000 + b"[]]}"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", True),
        (b"[" + b"[]," * 400_000 + b"1]", True),
        (b"[" + b"[]," * 900_000 + b"1]", False),
        (b"[" + b"0," * 3_000_000 + b"1]", False),
        (b"[" + b'"",' * 3_000_000 + b"1]", False),
        (b'{"page":"' + COMMAS + b'"}', True),
        (b'{"page":"' + COMMAS + b'","more":[' + b"[]," * 900_000 + b"1]}", False),
    ],
    ids=["nothing", "some", "arrays", "numbers", "texts", "one text", "both"],
)
def test_what_may_be_decoded_beside_requests_is_known_by_its_values(text: bytes, expected: bool) -> None:
    """Not by its bytes: a page of text is decoded in no time, however long."""
    assert is_light(text) is is_light(bytearray(text)) is expected


def test_a_result_of_too_many_values_is_looked_into_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is served as it is."""
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was decoded"))
    assert labels_of(HEAVY_TEXT) is None
    assert recovers(HEAVY_TEXT) is False
    done = Early(True, HEAVY_TEXT)
    assert (answer(done).status_code, bytes(answer(done).body)) == (200, HEAVY_TEXT)
