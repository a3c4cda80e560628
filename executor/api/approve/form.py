"""The form that a gate's JSON Schema describes: its fields, and the payload of what was filled in.

A property becomes the control that suits it; one that is too involved becomes a box for JSON. Nothing
in a schema makes the page fail: what is not understood is ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from executor.errors import BadInput
from executor.flows.plain import check_plain
from executor.flows.schema import TYPES, apply_schema

Kind = Literal["text", "area", "number", "boolean", "choice", "choices", "lines", "json"]
Posted = Mapping[str, Sequence[str]]

FIELDS_MAX = 200
LONG_CHARS = 100
"""A text as long as this gets a box of several lines."""
INPUT_TYPES = {
    "email": "email",
    "uri": "url",
    "url": "url",
    "date": "date",
    "time": "time",
    "date-time": "datetime-local",
    "password": "password",
}
MULTILINE = {"textarea", "multiline", "markdown", "sql", "yaml"}


class Unfit(Exception):
    """What was filled in is no value of the field; the message is for the one who did."""


@dataclass(frozen=True)
class Field:
    """One property of the form's schema, and how it is asked for."""

    name: str
    key: str
    """The name of its control in the page."""
    kind: Kind
    schema: Mapping[str, Any]
    required: bool
    default: Any
    options: Sequence[Any] = ()

    @property
    def label(self) -> str:
        """What it is called."""
        title = self.schema.get("title")
        return title if isinstance(title, str) and title else self.name

    @property
    def description(self) -> str | None:
        """What its schema says about it."""
        text = self.schema.get("description")
        return text if isinstance(text, str) and text else None

    @property
    def input_type(self) -> str:
        """Of a control for one line of text."""
        if self.kind == "number":
            return "number"
        if self.schema.get("password") is True:
            return "password"
        return INPUT_TYPES.get(str(self.schema.get("format")), "text")

    @property
    def is_whole(self) -> bool:
        """Whether a number may have no fraction."""
        return _type(self.schema) == "integer"

    def bound(self, keyword: str) -> int | float | None:
        """A number of its schema; None for what is none."""
        value = self.schema.get(keyword)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def count(self, keyword: str) -> int | None:
        """A whole number of its schema, not below zero."""
        value = self.bound(keyword)
        return value if isinstance(value, int) and value >= 0 else None

    def initial(self) -> list[str]:
        """What its control holds at first, as it would be posted."""
        value = self.default
        if self.kind == "boolean":
            return ["on"] if value is True else []
        if self.kind == "choice":
            return [str(n) for n, option in enumerate(self.options) if _same(option, value)]
        if self.kind == "choices":
            chosen = _list(value)
            return [str(n) for n, option in enumerate(self.options) if any(_same(option, v) for v in chosen)]
        if value is None:
            return []
        if self.kind == "lines":
            return ["\n".join(map(str, value))] if isinstance(value, list) else []
        if self.kind == "json":
            return [json.dumps(value, ensure_ascii=False, indent=2)]
        text = value if isinstance(value, str) else json.dumps(value)
        return [text[:16] if self.input_type == "datetime-local" else text]


def fields_of(schema: Any, default_args: Any = None, enums: Any = None) -> list[Field]:
    """The fields of a form, in the schema's order; what the gated step says goes before the schema."""
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return []
    properties: dict[str, Any] = schema["properties"]
    first, required = _list(schema.get("order")), _list(schema.get("required"))
    known = [name for name in first if isinstance(name, str) and name in properties]
    names = list(dict.fromkeys([*known, *properties]))
    given = default_args if isinstance(default_args, dict) else {}
    offered = enums if isinstance(enums, dict) else {}
    return [
        _field(f"field-{number}", name, properties[name], name in required, given, offered)
        for number, name in enumerate(names[:FIELDS_MAX])
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _field(
    key: str, name: str, schema: Any, required: bool, given: Mapping[str, Any], offered: Mapping[str, Any]
) -> Field:
    own: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
    items: Mapping[str, Any] = own["items"] if isinstance(own.get("items"), dict) else {}
    is_array = _type(own) == "array"
    enum = offered.get(name, items.get("enum") if is_array else own.get("enum"))
    default = given.get(name, own.get("default"))
    options = _list(enum)
    kind = ("choices" if is_array else "choice") if options else _kind(own, items, default)
    return Field(name, key, kind, own, required, default, options)


def _kind(schema: Mapping[str, Any], items: Mapping[str, Any], default: Any) -> Kind:
    match _type(schema):
        case "string":
            long = isinstance(default, str) and (len(default) > LONG_CHARS or "\n" in default)
            lines = str(schema.get("format")) in MULTILINE or "minRows" in schema or long
            return "area" if lines else "text"
        case "number" | "integer":
            return "number"
        case "boolean":
            return "boolean"
        case "array" if _type(items) == "string":
            return "lines"
        case _:
            return "json"


def _type(schema: Mapping[str, Any]) -> str | None:
    """The property's one type beside null; None for several, or any."""
    kind = schema.get("type")
    names = [name for name in (kind if isinstance(kind, list) else [kind]) if name != "null"]
    return names[0] if len(names) == 1 and isinstance(names[0], str) and names[0] in TYPES else None


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def payload_of(fields: Sequence[Field], posted: Posted) -> tuple[dict[str, Any], dict[str, str]]:
    """The payload that was filled in, and what is wrong with it, by the key of the field.

    A field left empty is left out, unless it is required.
    """
    payload: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        texts = [text.replace("\r\n", "\n") for text in posted.get(field.key, ())]
        try:
            if field.kind in ("boolean", "choices") or any(text.strip() for text in texts):
                payload[field.name] = _value(field, texts)
            if field.required and payload.get(field.name) in (None, []):
                raise Unfit("Please fill this in.")
        except Unfit as error:
            wrong[field.key] = str(error)
    return payload, wrong


def _value(field: Field, texts: Sequence[str]) -> Any:
    match field.kind:
        case "boolean":
            return bool(texts)
        case "choice":
            return _option(field, texts[0])
        case "choices":
            return [_option(field, text) for text in texts]
        case "number":
            return _number(field, texts[0].strip())
        case "lines":
            return [line for line in texts[0].split("\n") if line.strip()]
        case "json":
            return _json(field, texts[0])
        case "text" | "area":
            return _text(field, texts[0])


def _option(field: Field, text: str) -> Any:
    if not text.isdecimal() or len(text) > 9 or int(text) >= len(field.options):
        raise Unfit("Please choose one of the options.")
    return field.options[int(text)]


def _number(field: Field, text: str) -> int | float:
    try:
        number: int | float = int(text) if text.lstrip("+-").isdecimal() and len(text) < 300 else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unfit("Please enter a number.")
    if field.is_whole and number != int(number):
        raise Unfit("Please enter a whole number.")
    least, most = field.bound("minimum"), field.bound("maximum")
    if least is not None and number < least:
        raise Unfit(f"Please enter a number of at least {least}.")
    if most is not None and number > most:
        raise Unfit(f"Please enter a number of at most {most}.")
    return int(number) if field.is_whole else number


def _text(field: Field, text: str) -> str:
    least, most = field.count("minLength"), field.count("maxLength")
    if most is not None and len(text) > most:
        raise Unfit(f"Please enter at most {most} characters.")
    if least is not None and len(text) < least:
        raise Unfit(f"Please enter at least {least} characters.")
    if field.input_type == "datetime-local" and len(text) == len("2026-11-22T18:30"):
        return f"{text}:00Z"
    return text


def _json(field: Field, text: str) -> Any:
    try:
        value = json.loads(text)
        check_plain(value, "field")
    except (ValueError, RecursionError, BadInput):
        raise Unfit("Please enter JSON: a text in quotes, a number, a list, an object.") from None
    try:
        apply_schema({"properties": {field.name: field.schema}}, {field.name: value}, where="field")
    except BadInput as error:
        if (error.field or "").startswith("field"):
            raise Unfit(f"This does not fit: {error.remedy or error.detail}.") from None
    return value
