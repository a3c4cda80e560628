"""References in values: what is replaced, what is left, and that no value can make it endless."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from executor.script import compact_json
from executor.workspace.references import (
    LEVELS_MAX,
    LOOKUPS_MAX,
    NotStored,
    Sources,
    Unresolved,
    resolve_args,
    resolve_resource,
)

pytestmark = pytest.mark.anyio


class Stored:
    """Variables and resources of which a test says only what matters to it; counts what is read."""

    def __init__(self, variables: dict[str, str] | None = None, **resources: Any) -> None:
        self.variables = variables or {}
        self.resources = {f"f/x/{name}": value for name, value in resources.items()}
        self.read: list[str] = []

    async def variable(self, path: str) -> str:
        self.read.append(path)
        if path not in self.variables:
            raise NotStored("there is none at this path")
        return self.variables[path]

    async def resource(self, path: str) -> bytes:
        self.read.append(path)
        if path not in self.resources:
            raise NotStored("there is none at this path")
        return compact_json(self.resources[path])

    def decrypted(self, sealed: str) -> str:
        return sealed[::-1]

    async def resolved(self, args: Any, **context: str) -> Any:
        sources = Sources(self.variable, self.resource, self.decrypted, context)
        return json.loads(await resolve_args(compact_json(args), sources))


async def test_whole_texts_are_replaced_and_nothing_else() -> None:
    stored = Stored({"f/x/v": "value"}, r={"a": 1})
    given = {
        "v": "$var:f/x/v",
        "r": "$res:f/x/r",
        "e": "$encrypted:abc",
        "$var:f/x/v": "key",
        "in": {"v": "$var:f/x/v", "n": [1, "$var:f/x/v", {"v": "$var:f/x/v"}]},
        "near": ["$VAR:f/x/v", " $var:f/x/v", "$variable:x", "$", "$:"],
        "odd": {"a": "$VAR:f/x/v", "b": "$", "c": "$:", "d": "$var", "e": "$res", "f": "$var:f/x/v"},
    }
    assert await stored.resolved(given) == {
        **given,
        "v": "value",
        "r": {"a": 1},
        "e": "cba",
        "in": {"v": "value", "n": [1, "$var:f/x/v", {"v": "$var:f/x/v"}]},
        "odd": {**given["odd"], "f": "value"},  # type: ignore[dict-item]
    }


async def test_arguments_without_references_are_passed_on_byte_for_byte() -> None:
    """Big ones are not even decoded."""
    sources = Sources(Stored().variable, Stored().resource, Stored().decrypted, {})
    args = b'{ "a": 1.50, "b": "$VAR:x", "c": "$WM_JOB_ID" }'
    assert await resolve_args(args, sources) is args


async def test_a_variable_s_text_is_never_a_reference() -> None:
    """Else whoever may set a variable could read what the job may."""
    stored = Stored({"f/x/v": "$var:f/x/w", "f/x/w": "secret"})
    assert await stored.resolved({"v": "$var:f/x/v"}) == {"v": "$var:f/x/w"}


async def test_resources_lead_to_resources() -> None:
    stored = Stored({"f/x/v": "value"}, a="$res:f/x/b", b={"c": "$res:f/x/c"}, c=["$var:f/x/v"], d=None)
    assert await stored.resolved({"a": "$res:f/x/a", "d": "$res:f/x/d"}) == {
        "a": {"c": ["$var:f/x/v"]},
        "d": None,
    }


async def test_the_job_s_own_variables_count_beside_references_only() -> None:
    stored = Stored(r={"job": "$WM_JOB_ID"})
    given = {"with": {"r": "$res:f/x/r", "job": "$WM_JOB_ID"}, "without": "$WM_JOB_ID"}
    assert await stored.resolved(given, WM_JOB_ID="7") == {
        "with": {"r": {"job": "7"}, "job": "7"},
        "without": "$WM_JOB_ID",
    }


async def test_what_is_used_often_is_read_once() -> None:
    stored = Stored({"f/x/v": "value"}, r={"v": "$var:f/x/v"})
    args = {"a": {str(n): "$res:f/x/r" for n in range(50)}}
    assert (await stored.resolved(args))["a"]["49"] == {"v": "value"}
    assert sorted(stored.read) == ["f/x/r", "f/x/v"]


@pytest.mark.parametrize(
    ("resources", "way"),
    [
        ({"a": "$res:f/x/a"}, "f/x/a → f/x/a"),
        ({"a": {"b": "$res:f/x/b"}, "b": {"c": {"a": "$res:f/x/a"}}}, "f/x/a → f/x/b → f/x/a"),
    ],
)
async def test_a_resource_that_refers_to_itself_is_refused_with_the_way(
    resources: dict[str, Any], way: str
) -> None:
    with pytest.raises(Unresolved, match=f"refers to itself: {way}"):
        await Stored(None, **resources).resolved({"arg": {"in": "$res:f/x/a"}})
    stored = Stored(None, **resources)
    sources = Sources(stored.variable, stored.resource, stored.decrypted, {})
    with pytest.raises(Unresolved, match="refers to itself"):
        await resolve_resource("f/x/a", await stored.resource("f/x/a"), sources)


async def test_resources_that_multiply_are_stopped_soon() -> None:
    """Ten of ten of ten …: 10 to the power of 12 values, of a kilobyte."""
    resources: dict[str, Any] = {
        f"r{n}": {str(i): f"$res:f/x/r{n + 1}" for i in range(10)} for n in range(12)
    }
    began = time.thread_time()
    with pytest.raises(Unresolved, match=f"over {LOOKUPS_MAX} references for `arg`"):
        await Stored(None, **resources, r12="end").resolved({"arg": "$res:f/x/r0"})
    assert time.thread_time() - began < 2


async def test_resources_that_grow_are_stopped_in_time() -> None:
    """A megabyte, a hundred times."""
    with pytest.raises(Unresolved, match="bring in over 64 MiB"):
        args = {"arg": {str(n): "$res:f/x/big" for n in range(100)}}
        await Stored(big="x" * (1 << 20)).resolved(args)


async def test_a_long_chain_of_resources_ends_in_a_message() -> None:
    """Never in the interpreter's recursion limit."""
    chain = {f"r{n}": {"next": f"$res:f/x/r{n + 1}"} for n in range(LEVELS_MAX)}
    with pytest.raises(Unresolved, match=f"over {LEVELS_MAX} levels"):
        await Stored(None, **chain).resolved({"arg": "$res:f/x/r0"})


async def test_arguments_as_deep_as_any_are_looked_through() -> None:
    value: Any = "$var:f/x/v"
    for _ in range(LEVELS_MAX - 2):
        value = {"in": value}
    found = await Stored({"f/x/v": "value"}).resolved({"arg": value})
    assert '"value"' in json.dumps(found)


@pytest.mark.parametrize("number", ["1e999", "9" * 5000])
async def test_a_number_out_of_range_beside_a_reference_is_its_author_s(number: str) -> None:
    args = f'{{"n": {number}, "x": "$var:f/x/a"}}'.encode()
    stored = Stored({"f/x/a": "1"})
    sources = Sources(stored.variable, stored.resource, stored.decrypted, {})
    with pytest.raises(Unresolved, match="a number out of range"):
        await resolve_args(args, sources)
