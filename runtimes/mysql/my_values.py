"""MySQL's values: JSON values to what the driver makes literals of, and the server's texts to JSON."""

import base64
import re

from pymysql.constants import FIELD_TYPE
from sqlrun import values
from sqlrun.errors import BadInput
from sqlrun.values import quoted

BINARY = frozenset(["blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary", "bytea"])
DATES = frozenset(["date", "datetime", "timestamp", "time"])
# 2023-12-01T16:18:00.000Z
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d{1,6})?)\d*(?:Z|\+00:?00)?")
_BINARY_CHARSET = 63


def value_in(declared, value):
    """What the driver has to make a literal of. Raises BadInput."""
    kind = (declared.type or "text").partition("(")[0].strip()
    if value is None:
        return None
    if kind == "json":
        return values.as_text(declared.name, values.compact(value))
    if kind in BINARY:
        return values.from_base64(declared.name, value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if kind in DATES and isinstance(value, str):
        return _moment(kind, value)
    if isinstance(value, list) and kind.endswith("[]"):
        raise BadInput(f"argument `{declared.name}`: MySQL has no arrays; declare it as json")
    return values.as_text(declared.name, value)


def _moment(kind, text):
    """A moment as JSON has it, in the form that the type takes; all else goes as it is."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return text
    day, time = match.groups()
    return {"date": day, "time": time}.get(kind, f"{day} {time}")


# ---------------------------------------------------------------- out


def _text(value):
    """A text; what is no text (a blob, a bit field) in base64."""
    return quoted(value) if isinstance(value, str) else quoted(base64.b64encode(value).decode())


def _as_it_is(value):
    return value


def _whole(value):
    return str(int(value))  # ZEROFILL puts zeros before it, which JSON cannot have


def _json(value):
    return value if isinstance(value, str) else value.decode()


_WRITERS = {
    **dict.fromkeys(
        (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.INT24,
         FIELD_TYPE.YEAR),
        _whole,
    ),
    FIELD_TYPE.FLOAT: _as_it_is,
    FIELD_TYPE.DOUBLE: _as_it_is,
    FIELD_TYPE.JSON: _json,
}  # fmt: skip


def writer(field):
    """The function that makes JSON text of a column's values."""
    return _WRITERS.get(field.type_code, _text)
