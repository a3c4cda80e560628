"""Values on their way in, as far as the databases agree: JSON texts, base64, defaults in comments."""

import base64
import binascii
import json

from sqlrun.errors import BadInput

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
INTEGERS = frozenset(
    [
        "int",
        "integer",
        "int2",
        "int4",
        "int8",
        "smallint",
        "bigint",
        "tinyint",
        "mediumint",
        "uint",
        "hugeint",
        "serial",
        "bigserial",
        "oid",
    ]
)
FLOATS = frozenset(["float", "float4", "float8", "real", "double", "double precision"])
BOOLEANS = frozenset(["bool", "boolean"])

quoted = json.encoder.encode_basestring
"""The JSON text of a string; what is not ASCII stays as it is."""


def compact(value):
    """The JSON text of a JSON value, without spaces."""
    return _encode(value)


def as_text(name, value):
    """A value as text: a string as it is, all else as JSON. Raises BadInput for one that UTF-8 lacks."""
    text = value if isinstance(value, str) else compact(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"argument `{name}`: it holds half a surrogate pair, which is no character") from None
    return text


def from_base64(name, value):
    """The bytes of a base64 string; line breaks may be in it. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput(
            f"argument `{name}`: {type(value).__name__} is no base64 string, which its type asks for"
        )
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"argument `{name}`: it is not base64: {error}") from None


def default_of(argument):
    """The default in an argument's comment as a JSON value; None without one.

    Numbers and truth values are read where the type asks for them; quotes around a text go.
    """
    text, kind = argument.default, argument.type or "text"
    if text is None or text.strip().lower() == "null":
        return None
    text = text.strip()
    try:
        if kind in INTEGERS:
            return int(text)
        if kind in FLOATS:
            return float(text)
        if kind in BOOLEANS:
            return {"true": True, "false": False}[text.lower()]
        if kind.endswith("[]") or kind in ("json", "jsonb"):
            return json.loads(text)
    except (ValueError, KeyError):
        raise BadInput(
            f"argument `{argument.name}`: its default {text!r} is no {kind}; correct the comment"
        ) from None
    is_quoted = len(text) >= 2 and text[0] == text[-1] == "'"
    return text[1:-1] if is_quoted else text


def bound(statement, declared, args, *, use_defaults=False):
    """The arguments that a statement's placeholders stand for: (declaration or None, value) by placeholder.

    A placeholder that no comment declares stands for the argument of its own name; a missing
    argument is null, or its default where the language has defaults.
    """
    found = {}
    for placeholder in statement.placeholders:
        argument = declared.get(placeholder.name)
        value = args.get(argument.name if argument else placeholder.name)
        if value is None and argument and use_defaults:
            value = default_of(argument)
        found[placeholder.name] = (argument, value)
    return found
