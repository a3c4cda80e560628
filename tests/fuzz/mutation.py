"""Mutations of valid input: of JSON-like values node by node, of texts and bytes piece by piece."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

F = TypeVar("F", bound=Callable[..., None])
S = TypeVar("S", str, bytes)
DEADLINE_MS = 3000
"""Longer for one input is a hang."""

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 2**53 + 1, 10**400, "", " ", "\0", "é", "a" * 300, [], {}, [[]], {"": {}}]
)


def seeded(count: int) -> Callable[[F], F]:
    """The same `count` inputs each time, as `make test` wants it; one that hangs fails."""
    return settings(
        max_examples=count,
        deadline=DEADLINE_MS,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def random(count: int) -> Callable[[F], F]:
    """Others each time; for tests marked `long`."""
    return settings(max_examples=count, deadline=DEADLINE_MS, suppress_health_check=list(HealthCheck))


Place = tuple[Any, Any]
"""A node: what it is in, and its key or index there."""


def places(value: Any) -> Iterator[Place]:
    """Every node but the root."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def drop(draw: st.DrawFn, inside: Any, key: Any, _: Sequence[Place]) -> None:
    del inside[key]


def replace(draw: st.DrawFn, inside: Any, key: Any, _: Sequence[Place]) -> None:
    inside[key] = copy.deepcopy(draw(ODD))


def transplant(draw: st.DrawFn, inside: Any, key: Any, others: Sequence[Place]) -> None:
    other, at = draw(st.sampled_from(others))
    inside[key] = copy.deepcopy(other[at])


def duplicate(draw: st.DrawFn, inside: Any, key: Any, _: Sequence[Place]) -> None:
    twin = copy.deepcopy(inside[key])
    if isinstance(inside, list):
        inside.insert(key, twin)
    else:
        inside[f"{key}_"] = twin


def rename(draw: st.DrawFn, inside: Any, key: Any, others: Sequence[Place]) -> None:
    if isinstance(inside, dict):
        inside[draw(st.sampled_from([str(at) for _, at in others]))] = inside.pop(key)


def nest(draw: st.DrawFn, inside: Any, key: Any, _: Sequence[Place]) -> None:
    for _level in range(draw(st.sampled_from([1, 1, 2, 30, 300]))):
        inside[key] = [inside[key]] if draw(st.booleans()) else {"type": inside[key]}


def flip(draw: st.DrawFn, inside: Any, key: Any, _: Sequence[Place]) -> None:
    match inside[key]:
        case bool(value):
            inside[key] = not value
        case int(number) | float(number):
            inside[key] = -number if draw(st.booleans()) else str(number)
        case str(text):
            inside[key] = text[: len(text) // 2] if draw(st.booleans()) else text + draw(st.text(max_size=3))
        case _:
            pass


CHANGES = (drop, replace, transplant, duplicate, rename, nest, flip)


@st.composite
def mutated(draw: st.DrawFn, values: Sequence[Any]) -> Any:
    """One of the values after one to four changes of nodes in it."""
    value = copy.deepcopy(draw(st.sampled_from(values)))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(value))
        if not found:
            break
        inside, key = draw(st.sampled_from(found))
        draw(st.sampled_from(CHANGES))(draw, inside, key, found)
    return value


@st.composite
def spliced(draw: st.DrawFn, values: Sequence[S], pieces: Sequence[S]) -> S:
    """One of the texts, or byte strings, with some of it cut, repeated, moved, or one of the pieces put in."""
    value = draw(st.sampled_from(values))
    for _ in range(draw(st.integers(1, 5))):
        begin = draw(st.integers(0, len(value)))
        end = min(len(value), begin + draw(st.sampled_from([0, 0, 1, 2, 5, 40])))
        put: Any = draw(st.sampled_from([*pieces, value[begin:end], value[begin:end] * 2]))
        value = value[:begin] + put + value[end:]
    return value
