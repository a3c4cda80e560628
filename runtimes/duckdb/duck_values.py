"""DuckDB's values: JSON values to parameters, and the client's Python objects to JSON."""

import base64
import datetime
import decimal
import math
import uuid

from sqlrun import values
from sqlrun.values import quoted

# Types that a JSON value already is when it arrives; for all others the engine converts.
_PLAIN = values.INTEGERS | values.FLOATS | values.BOOLEANS | {"text", "varchar", "string", "char"}
_BLOBS = frozenset(["blob", "bytea", "binary", "varbinary"])


def placeholder(place, declared, value):
    """What stands in the statement for a value: the parameter, cast to its declared type."""
    kind = declared.type if declared else None
    if kind is None or kind in _PLAIN or kind in _BLOBS:
        return f"${place.name}"
    return f"CAST(${place.name} AS {kind})"


def value_in(name, declared, value):
    """The Python object that the client makes a parameter of. Raises BadInput."""
    kind = (declared.type if declared else None) or "text"
    if value is None:
        return None
    if kind in _BLOBS:
        return values.from_base64(name, value)
    if kind == "json":
        return values.compact(value)
    if kind in ("text", "varchar", "string", "char"):
        # Without a type a number stays a number, as LIMIT needs it.
        is_typed = declared is not None and declared.type is not None
        return values.as_text(name, value) if is_typed or isinstance(value, str | dict) else value
    return value


# ---------------------------------------------------------------- out


def writer(kind):
    """The function that makes JSON text of a column's values, for the type of this name."""
    if kind == "JSON":
        return str
    if kind in ("VARCHAR", "UUID"):
        return lambda value: quoted(str(value))
    if kind.endswith("INT") or kind in ("INTEGER", "UINTEGER"):
        return str
    return lambda value: values.compact(_plain(value))


def _plain(value):
    """The value in what JSON has: dates, decimals and UUIDs are strings, blobs base64, NaN is null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal() | uuid.UUID() | datetime.timedelta():
            return str(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(_plain(key)): _plain(item) for key, item in value.items()}
    return value
