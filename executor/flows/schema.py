"""The input spec: a JSON Schema that fills defaults and checks args (docs/openflow.md section 6.4).

What counts: the schema's `properties` and `required`; of a property `default`, `type` (one name or
several) and `nullable`, and in objects and arrays inside it the types of `properties` and `items`.
All other keywords are ignored: they draw forms. Defaults and `required` inside an arg do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from executor.errors import BadInput
from executor.flows.plain import at, check_plain, shown

TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
ANY = "any"
"""A type that Windmill's editor writes for parameters without annotation."""
REFERENCES = ("$var:", "$res:", "$encrypted:")
"""A text that begins so stands for a value that only the job will see, of whatever type."""


def apply_schema(
    schema: Any,
    args: Mapping[str, Any],
    *,
    where: str = "args",
    schema_where: str = "schema",
    check: bool = True,
) -> dict[str, Any]:
    """The args, completed by the schema's defaults and checked.

    `schema` None checks nothing, `check` False only fills in. An arg that is missing gets its `default`; a default of null is
    none, since editors write it for every parameter. Raises BadInput naming the arg below `where`: a
    required one without a value, or a value of another JSON type; naming the place below
    `schema_where`, if the schema is malformed. `args` is not changed.
    """
    check_schema(schema, schema_where)
    if schema is None:
        return dict(args)
    properties: Mapping[str, Any] = schema.get("properties") or {}
    filled = {**_defaults(properties, args, at(schema_where, "properties")), **args}
    if not check:
        return filled
    for name in schema.get("required") or ():
        if name not in filled:
            raise BadInput(
                f"{at(where, name)}: is missing",
                field=at(where, name),
                remedy=f"give {_wanted(properties.get(name)) or 'it'}, as the schema requires it",
            )
    for name, value in filled.items():
        _check_value(value, properties.get(name), at(where, name))
    return filled


def check_schema(schema: Any, where: str = "schema") -> None:
    """Raise BadInput, naming the place below `where`, unless `schema` is one that `apply_schema` can use."""
    if schema is None:
        return
    check_plain(schema, where)
    if not isinstance(schema, dict):
        raise _malformed(where, schema, "an object")
    required = schema.get("required")
    if required is not None:
        if not isinstance(required, list):
            raise _malformed(f"{where}.required", required, "an array")
        for number, name in enumerate(required):
            if not isinstance(name, str):
                raise _malformed(at(where, "required", number), name, "a text")
    _check_keywords(schema, where)


def _check_keywords(schema: Any, where: str) -> None:
    """One schema, and those inside; a boolean is one too."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _malformed(where, schema, "an object")
    for name in _listed(schema.get("type")):
        if not isinstance(name, str) or (name not in TYPES and name != ANY):
            raise BadInput(
                f"{where}.type: {shown(name)} is no JSON type",
                field=f"{where}.type",
                remedy=f"use one of {', '.join(TYPES)}",
            )
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise _malformed(f"{where}.properties", properties, "an object")
    for name, inner in (properties or {}).items():
        _check_keywords(inner, at(where, "properties", name))
    items = schema.get("items")
    if items is not None and not isinstance(items, list):  # a list is an old form, for tuples
        _check_keywords(items, f"{where}.items")


def _defaults(properties: Mapping[str, Any], args: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The defaults of args that are missing, in the schema's order; each of its own schema's type."""
    found = {}
    for name, schema in properties.items():
        if name not in args and isinstance(schema, dict) and schema.get("default") is not None:
            _check_value(schema["default"], schema, at(where, name, "default"))
            found[name] = schema["default"]
    return found


def _check_value(value: Any, schema: Any, where: str) -> None:
    """Raise BadInput unless the value, and what is inside it, has the schema's JSON type."""
    misfit = _misfit(value, schema)
    if misfit is None:
        return
    parts, given, violated = misfit
    place, wanted = at(where, *reversed(parts)), _wanted(violated)
    optional = ", or leave it out" if given is None else ""
    raise BadInput(
        f"{place}: {wanted} belongs here, not {shown(given)}", field=place, remedy=f"give {wanted}{optional}"
    )


def _misfit(value: Any, schema: Any) -> tuple[list[str | int], Any, Any] | None:
    """The first part of the value that has not its schema's type: its way from inside out, itself, the schema."""
    if not isinstance(schema, dict) or _is_reference(value):
        return None
    if _wanted(schema) and not any(_is(value, name) for name in _names(schema)):
        return [], value, schema
    for key, inner, inner_schema in _inside(value, schema):
        misfit = _misfit(inner, inner_schema)
        if misfit is not None:
            misfit[0].append(key)
            return misfit
    return None


def _inside(value: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str | int, Any, Any]]:
    """The parts of an object or array that the schema says something about: key, value, schema."""
    if isinstance(value, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name in value:
                yield name, value[name], inner
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, inner in enumerate(value):
            yield number, inner, schema["items"]


def _wanted(schema: Any) -> str:
    """The types that a schema asks for, in words; empty if any will do."""
    names = _names(schema) if isinstance(schema, dict) else []
    return "" if ANY in names else " or ".join(TYPES[name] for name in names)


def _names(schema: Mapping[str, Any]) -> list[str]:
    names = _listed(schema.get("type"))
    return [*names, "null"] if names and schema.get("nullable") is True else names


def _listed(kind: Any) -> list[Any]:
    """`type` is absent, one name or several."""
    if kind is None:
        return []
    return kind if isinstance(kind, list) else [kind]


def _is(value: Any, name: str) -> bool:
    """JSON has one kind of number: 2.0 is an integer."""
    match name:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case _:
            return value is None


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(REFERENCES)


def _malformed(where: str, given: Any, wanted: str) -> BadInput:
    return BadInput(
        f"{where}: {wanted} belongs here, not {shown(given)}", field=where, remedy=f"write {wanted}"
    )
