"""What a list of jobs may be narrowed by: JSON containment, as PostgreSQL's `@>` has it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.api.listing import Listing
from executor.jobs.filters import FILTERS, contains

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)

# Each answer is PostgreSQL's own to `select VALUE::jsonb @> SUBSET::jsonb`.
CASES: list[tuple[Any, Any, bool]] = [
    ({"a": 1, "b": 2}, {"a": 1}, True),
    ({"a": 1}, {"a": 2}, False),
    ({"a": 1}, {"a": 1, "b": 2}, False),
    ({"a": 1}, {}, True),
    ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"d": 2}}}, True),
    ({"a": {"b": 1}}, {"b": 1}, False),
    ({"a": None}, {"a": None}, True),
    ({}, {"a": None}, False),
    ([1, 2, 3], [3, 1], True),
    ([1, 2], [1, 1, 1], True),
    ([1], [1, 2], False),
    ([1, [2, 3]], [[3]], True),
    ([[1, 2]], [1], False),
    ([1, 2], [], True),
    ([{"a": 1, "b": 2}], [{"a": 1}], True),
    (["foo", "bar"], "bar", True),
    ([["bar"]], "bar", False),
    ({"a": ["bar"]}, {"a": "bar"}, False),
    ("bar", ["bar"], False),
    ("foobar", "foo", False),
    (1, 1.0, True),
    ({"n": 2.0}, {"n": 2}, True),
    (1, True, False),
    (0, False, False),
    (True, True, True),
    (None, False, False),
    ([], {}, False),
    ({}, [], False),
    (None, None, True),
    ("1", 1, False),
]


@pytest.mark.parametrize(("value", "subset", "expected"), CASES)
def test_containment_is_postgresql_s(value: Any, subset: Any, expected: bool) -> None:
    """Objects by key, arrays as sets, scalars by value and JSON type."""
    assert contains(value, subset) is expected


@given(values)
def test_everything_contains_itself(value: Any) -> None:
    """The least one may expect."""
    assert contains(value, value)


@given(st.dictionaries(st.text("ab", max_size=2), values, max_size=4), st.data())
def test_an_object_contains_each_part_of_itself(value: dict[str, Any], data: st.DataObject) -> None:
    """Leaving members out never makes a filter stricter."""
    kept = data.draw(st.sets(st.sampled_from(sorted(value)))) if value else set()
    assert contains(value, {key: value[key] for key in kept})


def test_every_filter_is_a_query_parameter() -> None:
    assert set(FILTERS) <= set(Listing.model_fields)


def test_a_filter_takes_no_longer_than_what_is_filtered() -> None:
    """Arrays are not compared each with each where that is not needed, and objects not without end."""
    begun = time.thread_time()
    assert contains([0] * 200_000 + [1], [1] * 1000)
    assert contains([{"a": n} for n in range(1000)], [{"a": 999}])
    assert not contains([{"a": 0}] * 20_000, [{"a": 1}] * 20_000)
    assert time.thread_time() - begun < 10
