"""A scope made of plain values, and the children of this process."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from executor.flows.expressions.places import CHOICE, Place
from executor.flows.expressions.pool import Expressions
from executor.flows.expressions.scope import ExpressionCallFailed, ExpressionFailed

TIMEOUT_S = 1.0
FLOW_INPUT = {
    "n": 2,
    "s": "text",
    "list": [3, 1, 2],
    "o": {"k": "v"},
    "none": None,
    "iter": {"index": 0, "value": "x"},
}
PREVIOUS = {"l": [10, 20], "o": {"p": "q"}, "error": {"name": "E", "message": "m"}}
RESULTS = {"a": {"l": [10, 20], "o": {"p": "q"}}, "b-c": "dash", "zero": 0}


class Values:
    """A scope whose values are given as Python ones, or as JSON text in bytes."""

    def __init__(
        self,
        names: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] = RESULTS,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        given = {"flow_input": FLOW_INPUT, "previous_result": PREVIOUS} if names is None else names
        self.names = {name: as_json(value) for name, value in given.items()}
        self.results = {name: as_json(value) for name, value in results.items()}
        self.variables = (
            {"u/test/greeting": "hello", "u/test/db": {"host": "h"}} if variables is None else variables
        )
        self.asked: list[str] = []

    async def result(self, step_id: str) -> bytes | None:
        self.asked.append(step_id)
        return self.results.get(step_id)

    def result_ids(self) -> Collection[str]:
        return list(self.results)

    async def variable(self, path: str) -> bytes:
        if path not in self.variables:
            raise ExpressionCallFailed(f"Variable {path} not found")
        return as_json(self.variables[path])

    async def resource(self, path: str) -> bytes:
        return await self.variable(path)


def as_json(value: Any) -> bytes:
    """`value` as JSON text, if it is not already."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


async def value(pool: Expressions, expr: str, scope: Values | None = None, place: Place = CHOICE) -> Any:
    """The value of `expr`, as Python reads its JSON."""
    return json.loads(await pool.evaluate(expr, scope or Values(), place))


async def failure(
    pool: Expressions, expr: str, scope: Values | None = None, place: Place = CHOICE
) -> ExpressionFailed:
    """How `expr` fails."""
    with pytest.raises(ExpressionFailed) as caught:
        await pool.evaluate(expr, scope or Values(), place)
    return caught.value


async def detail(pool: Expressions, expr: str, scope: Values | None = None, place: Place = CHOICE) -> str:
    """What comes after the sentence that every failed expression has."""
    said = (await failure(pool, expr, scope, place)).message
    begin = f"Error during isolated evaluation of expression `{expr}`:\n"
    assert said.startswith(begin)
    return said[len(begin) :]


def children() -> set[int]:
    """The processes whose parent we are, zombies aside."""
    mine = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            mine.add(int(stat.parent.name))
    return mine
