"""PostgreSQL's values: JSON values to the server's text form, and back."""

import re
from dataclasses import dataclass

from sqlrun import values
from sqlrun.errors import BadInput
from sqlrun.values import quoted

TEXT_OID = 25
OIDS = {
    "bool": 16, "boolean": 16, "bytea": 17, "name": 19, "bigint": 20, "int8": 20, "smallint": 21, "int2": 21,
    "int": 23, "integer": 23, "int4": 23, "text": 25, "oid": 26, "json": 114, "real": 700, "float4": 700,
    "float": 701, "float8": 701, "double precision": 701, "double": 701, "char": 1042, "character": 1042,
    "varchar": 1043, "character varying": 1043, "date": 1082, "time": 1083, "timestamp": 1114,
    "timestamptz": 1184, "interval": 1186, "numeric": 1700, "decimal": 1700, "uuid": 2950, "jsonb": 3802,
    "inet": 869, "int[]": 1007, "integer[]": 1007, "int4[]": 1007, "bigint[]": 1016, "int8[]": 1016,
    "smallint[]": 1005, "int2[]": 1005, "text[]": 1009, "varchar[]": 1015, "bool[]": 1000, "boolean[]": 1000,
    "numeric[]": 1231, "real[]": 1021, "float4[]": 1021, "float8[]": 1022, "double precision[]": 1022,
    "uuid[]": 2951, "date[]": 1182, "timestamp[]": 1115, "timestamptz[]": 1185, "json[]": 199,
    "jsonb[]": 3807, "bytea[]": 1001,
}  # fmt: skip
"""Numbers of the types that every server has, by the names people give them."""

# The cast right behind a placeholder; a type's name may have several words, and a size.
_CAST = re.compile(
    r"\s*::\s*(?:pg_catalog\.)?(?P<name>\"[^\"]+\"|[A-Za-z_][\w.]*)"
    r"(?P<more>\s+precision|\s+varying)?(?:\s*\([\d,\s]*\))?(?P<array>(?:\s*\[\d*\])*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Kind:
    """The type of a value on its way in; `is_cast`: the statement names it itself."""

    name: str
    is_cast: bool = False

    @property
    def element(self):
        """The type of an array's elements; None if it is no array."""
        return Kind(self.name.partition("[")[0]) if self.name.endswith("]") else None


def kind_of(statement, placeholder, declared):
    """The type of a placeholder's value: its cast's, else its comment's, else None."""
    for place in statement.placeholders:
        if place.name == placeholder and (match := _CAST.match(statement.text, place.end)):
            name = match["name"].lower() + " ".join(["", *(match["more"] or "").lower().split()])
            return Kind(name + "[]" * match["array"].count("["), is_cast=True)
    return Kind(declared.type) if declared and declared.type else None


def text_in(name, kind, value):
    """The bytes that stand for a JSON value of this type. Raises BadInput."""
    if value is None:
        return None
    text = _text(name, kind, value)
    if "\0" in text:
        raise BadInput(f"argument `{name}` holds a NUL character, which PostgreSQL has none for; remove it")
    return text.encode()


def _text(name, kind, value):
    base = kind.name.partition("(")[0] if kind else "text"
    if base in ("json", "jsonb"):
        return values.as_text(name, values.compact(value))
    if kind and kind.element and isinstance(value, list):
        return _array(name, kind.element, value)
    if base == "bytea":
        return "\\x" + values.from_base64(name, value).hex()
    return values.as_text(name, value)


def _array(name, kind, items):
    """An array's literal; what is in quotes there is never taken for anything but text."""
    parts = []
    for item in items:
        if item is None:
            parts.append("NULL")
        elif isinstance(item, list) and kind.name not in ("json", "jsonb"):
            parts.append(_array(name, kind, item))
        else:
            escaped = _text(name, kind, item).replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{escaped}"')
    return "{" + ",".join(parts) + "}"


# ---------------------------------------------------------------- out


def _float(text):
    return "null" if text[-1] in "Ny" else text  # NaN, Infinity, -Infinity


def _timestamp(text):
    return '"' + text.replace(" ", "T", 1) + '"' if text[0].isdigit() else quoted(text)


def _timestamptz(text):
    if not (text[0].isdigit() and text[-1].isdigit()):  # infinity; a year before Christ
        return _timestamp(text)
    return _timestamp(text if ":" in text[-3:] else text + ":00")


def _as_it_is(text):
    return text


_WRITERS = {
    16: {"t": "true", "f": "false"}.__getitem__,
    20: _as_it_is, 21: _as_it_is, 23: _as_it_is, 26: _as_it_is,
    700: _float, 701: _float,
    114: _as_it_is, 3802: _as_it_is,
    1114: _timestamp, 1184: _timestamptz,
}  # fmt: skip
_ARRAYS = {
    1000: 16, 1001: 17, 1005: 21, 1007: 23, 1016: 20, 1028: 26, 1021: 700, 1022: 701, 199: 114, 3807: 3802,
    1115: 1114, 1185: 1184, 1009: 25, 1015: 1043, 1014: 1042, 1002: 18, 1003: 19, 1231: 1700, 1182: 1082,
    1183: 1083, 1270: 1266, 1187: 1186, 2951: 2950, 1041: 869, 651: 650, 1040: 829, 791: 790, 1561: 1560,
    1563: 1562,
}  # fmt: skip
_ARRAY_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([{},])|([^{},"]+)', re.DOTALL)
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)


def writer(oid):
    """The function that makes JSON text of a value's text form, for the type with this number."""
    if oid in _ARRAYS:
        write = _WRITERS.get(_ARRAYS[oid], quoted)
        return lambda text: _array_out(text, write)
    return _WRITERS.get(oid, quoted)


def _array_out(text, write):
    parts = []
    # An array that does not begin at 1 says so before its braces.
    for match in _ARRAY_TOKEN.finditer(text, text.index("{")):
        inside, mark, bare = match.groups()
        if mark:
            parts.append({"{": "[", "}": "]", ",": ","}[mark])
        elif bare == "NULL":
            parts.append("null")
        else:
            parts.append(write(_UNESCAPE.sub(r"\1", inside) if bare is None else bare))
    return "".join(parts)
