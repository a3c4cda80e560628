"""The input spec: defaults are filled, required args and JSON types are checked (section 6.4)."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import BadInput
from executor.flows.schema import TYPES, apply_schema, check_schema


def spec(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


def refused(schema: Any, args: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        apply_schema(schema, args)
    error = caught.value
    assert error.field
    assert error.detail.startswith(f"{error.field}: ")
    assert error.remedy
    return error


@pytest.mark.parametrize("schema", [None, {}, {"properties": None}, {"type": "object", "x-y": [1]}, spec()])
def test_without_properties_nothing_is_checked(schema: Any) -> None:
    """Args that the schema does not name pass."""
    assert apply_schema(schema, {"x": 1, "y": None}) == {"x": 1, "y": None}


def test_defaults_fill_what_is_missing() -> None:
    """A given arg stays, null and false too; the caller's dict is not changed."""
    schema = spec(
        a={"default": 1},
        b={"type": "boolean", "default": True},
        c={"default": 3},
        d={"type": "object", "default": {"e": 5}},
    )
    args = {"z": 0, "b": False, "c": None}
    before = copy.deepcopy(args)
    assert apply_schema(schema, args) == {"a": 1, "d": {"e": 5}, "z": 0, "b": False, "c": None}
    assert args == before


def test_a_default_of_null_is_none() -> None:
    """Editors write `default: null` for every parameter; a required one stays missing."""
    schema = spec(["a"], a={"type": "string", "default": None})
    assert refused(schema, {}).field == "args.a"
    assert apply_schema(spec(a={"type": "string", "default": None}), {}) == {}


def test_a_missing_required_arg_is_named() -> None:
    """With what it should be; a default satisfies the requirement."""
    error = refused(spec(["n"], n={"type": "integer"}), {"m": 1})
    assert (error.field, error.detail) == ("args.n", "args.n: is missing")
    assert "give a whole number" in str(error.remedy)
    assert refused(spec(["a b"]), {}).field == 'args["a b"]'
    assert apply_schema(spec(["n"], n={"default": 4}), {}) == {"n": 4}


VALUES: dict[str, list[Any]] = {
    "string": ["", "1"],
    "integer": [0, -5, 2.0, 10**30],
    "number": [0, 1.5],
    "boolean": [True, False],
    "object": [{}, {"a": 1}],
    "array": [[], [1]],
    "null": [None],
}


@pytest.mark.parametrize("name", TYPES)
def test_each_json_type(name: str) -> None:
    """A whole number is a number, a boolean is neither, null is a type of its own."""
    also = {"integer": ["number"], "number": ["integer"]}
    for value in VALUES[name]:
        assert apply_schema(spec(x={"type": name}), {"x": value}) == {"x": value}
    for other in VALUES.keys() - {name, *also.get(name, [])}:
        for value in VALUES[other]:
            error = refused(spec(x={"type": name}), {"x": value})
            assert error.field == "args.x"
            assert f"{TYPES[name]} belongs here" in error.detail
    assert refused(spec(x={"type": "integer"}), {"x": 1.5}).field == "args.x"
    assert apply_schema(spec(x={"type": "number"}), {"x": 3}) == {"x": 3}


def test_several_types_any_type_and_nullable() -> None:
    """One of them is enough."""
    either = spec(x={"type": ["string", "null"]})
    assert apply_schema(either, {"x": None}) == {"x": None}
    assert "a text or null belongs here, not 5" in refused(either, {"x": 5}).detail
    assert apply_schema(spec(x={"type": "string", "nullable": True}), {"x": None}) == {"x": None}
    assert "leave it out" in str(refused(spec(x={"type": "string"}), {"x": None}).remedy)
    unchecked: tuple[Any, ...] = ({}, {"type": []}, {"type": "any"}, True, {"oneOf": [{"type": "string"}]})
    for anything in unchecked:
        assert apply_schema(spec(x=anything), {"x": 5}) == {"x": 5}


@pytest.mark.parametrize("text", ["$res:f/a/b", "$var:u/a/b", "$encrypted:xyz"])
def test_a_reference_stands_for_a_value_of_any_type(text: str) -> None:
    """The job resolves it; here nobody can know its type."""
    schema = spec(["x"], x={"type": "object", "properties": {"y": {"type": "integer"}}})
    assert apply_schema(schema, {"x": text}) == {"x": text}
    assert apply_schema(schema, {"x": {"y": text}}) == {"x": {"y": text}}
    assert refused(schema, {"x": "res:f/a/b"}).field == "args.x"


def test_types_inside_objects_and_arrays_count_too() -> None:
    """Named by their place; defaults and requirements inside do not."""
    inner = {"type": "object", "required": ["q"], "properties": {"p": {"type": "integer", "default": 1}}}
    schema = spec(x={"type": "array", "items": inner}, y={"properties": {"a b": {"type": "string"}}})
    assert apply_schema(schema, {"x": [{}, {"p": 2, "r": "r"}]}) == {"x": [{}, {"p": 2, "r": "r"}]}
    assert refused(schema, {"x": [{}, {"p": "2"}]}).field == "args.x[1].p"
    assert refused(schema, {"x": [{}, 3]}).detail == "args.x[1]: an object belongs here, not 3"
    assert refused(schema, {"y": {"a b": 1}}).field == 'args.y["a b"]'
    assert apply_schema(schema, {"y": "without a type, anything"}) == {"y": "without a type, anything"}


MALFORMED: list[tuple[Any, str]] = [
    ([], "schema"),
    ("object", "schema"),
    (True, "schema"),
    ({"properties": []}, "schema.properties"),
    ({"properties": {"a": 3}}, "schema.properties.a"),
    ({"properties": {"a": {"type": "strng"}}}, "schema.properties.a.type"),
    ({"properties": {"a": {"type": {}}}}, "schema.properties.a.type"),
    ({"properties": {"a": {"type": ["string", 1]}}}, "schema.properties.a.type"),
    ({"properties": {"a": {"items": {"type": "x"}}}}, "schema.properties.a.items.type"),
    ({"properties": {"a": {"items": 3}}}, "schema.properties.a.items"),
    ({"properties": {"a": {"properties": 3}}}, "schema.properties.a.properties"),
    ({"required": "a"}, "schema.required"),
    ({"required": ["a", 1]}, "schema.required[1]"),
    ({"properties": {"a": {"type": "integer", "default": "1"}}}, "schema.properties.a.default"),
    ({"x": float("nan")}, "schema.x"),
]


@pytest.mark.parametrize(
    ("schema", "field"), MALFORMED, ids=[f"{n}-{f}" for n, (_, f) in enumerate(MALFORMED)]
)
def test_a_malformed_schema_is_named(schema: Any, field: str) -> None:
    """By the place in it, whatever the args are."""
    assert refused(schema, {}).field == field


def test_a_schema_can_be_checked_alone() -> None:
    """As when a flow is saved; a wrong default shows when it is used."""
    check_schema(None)
    check_schema(spec(["a"], a={"type": "string"}))
    with pytest.raises(BadInput) as caught:
        check_schema({"properties": 1}, "spec")
    assert caught.value.field == "spec.properties"


def test_deep_and_large_schemas_end_soon() -> None:
    """What nests without end is refused; a million elements are checked in about a second."""
    deep: dict[str, Any] = {}
    for _ in range(1000):
        deep = {"items": deep}
    assert "levels deep" in refused(deep, {}).detail
    schema = spec(x={"items": {"type": "integer"}})
    begin = time.thread_time()
    assert refused(schema, {"x": [0] * 500_000 + [""]}).field == "args.x[500000]"
    assert time.thread_time() - begin < 5


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["a", "b"])
schemas: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from([*TYPES, "any", "x"]) | st.lists(st.sampled_from(list(TYPES))),
            "default": json_values,
            "nullable": st.booleans(),
        },
    )
    | json_values,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(names, inner) | json_values,
            "items": inner,
            "required": st.lists(names) | json_values,
        },
    ),
    max_leaves=6,
)


@given(schemas, st.dictionaries(names, json_values))
def test_any_schema_completes_the_args_or_complains(schema: Any, args: dict[str, Any]) -> None:
    """What was given is kept; applied again it changes nothing."""
    complaint, found = None, {}
    try:
        found = apply_schema(schema, args)
    except BadInput as error:
        complaint = error
    if complaint:
        assert complaint.field
        assert complaint.field.startswith(("args", "schema"))
        return
    assert {name: found[name] for name in args} == args
    assert apply_schema(schema, found) == found
