"""JSON values as Python has them: what is one, where it is in a document, how it is shown.

Knows nothing of flows. A decoder of JSON gives nothing else; YAML, and callers in Python, can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from math import isfinite
from typing import Any

from executor.errors import BadInput

DEPTH_MAX = 190
"""Levels of nesting. Our JSON decoder takes 200; a request wraps the document in some."""
VALUES_MAX = 1_000_000
"""Objects, arrays, texts, numbers and so on in one document, where it repeats a YAML anchor each time."""
SHOWN_CHARS_MAX = 60
PLACE_CHARS_MAX = 400
BITS_MAX = 13_000
"""Of a whole number; Python writes no more than 4300 digits."""

_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_Link = tuple["_Link", str | int] | None


def at(where: str, *parts: str | int) -> str:
    """The place `parts` below `where`, as a JavaScript programmer would write it: `a.b[2]["c d"]`."""
    for part in parts:
        if isinstance(part, int):
            where += f"[{part}]"
        elif _NAME.fullmatch(part):
            where += f".{short(part)}"
        else:
            where += f"[{quoted(part)}]"
    return where if len(where) <= PLACE_CHARS_MAX else f"{where[:60]} … {where[60 - PLACE_CHARS_MAX :]}"


def short(text: str) -> str:
    """At most SHOWN_CHARS_MAX characters of `text`."""
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"


def quoted(text: str) -> str:
    """A text as JSON writes it, shortened; what a terminal cannot show is escaped."""
    cut = short(text)
    return json.dumps(cut, ensure_ascii=not cut.isprintable()).replace("\x7f", "\\u007f")


def shown(value: Any) -> str:
    """A wrong value as a message can repeat it: short, and never the inside of an object or array."""
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > BITS_MAX:
        return "a number of thousands of digits"
    if isinstance(value, int | float):
        return short(repr(value))
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    return f"a Python {type(value).__name__}"


def check_plain(value: Any, where: str, *, depth_max: int = DEPTH_MAX, values_max: int = VALUES_MAX) -> None:
    """Raise BadInput, naming the place, unless `value` is what a JSON document can say.

    Refused are NaN and infinities, numbers of thousands of digits, texts that are no Unicode, keys that
    are no texts, other Python objects, and what is nested too deep or too large. A structure that
    contains itself is endlessly deep. Takes a fraction of a second at most, whatever `value` is.
    """
    complaint = _complaint(value)
    if complaint:
        raise _bad(where, None, complaint)
    left = values_max
    stack: list[tuple[Any, int, _Link]] = [(value, 1, None)] if type(value) in (dict, list) else []
    while stack:
        holder, depth, link = stack.pop()
        left -= len(holder)
        if left < 0:
            raise BadInput(
                f"{where}: over {values_max} values in it", field=where, remedy="pass data as arguments"
            )
        if depth > depth_max:
            raise _bad(where, link, f"over {depth_max} levels deep", "nest less, or call an inner flow")
        for key, inner in _members(holder, where, link):
            if type(inner) is dict or type(inner) is list:
                stack.append((inner, depth + 1, (link, key)))
            elif complaint := _complaint(inner):
                raise _bad(where, (link, key), complaint)


def _members(holder: dict[Any, Any] | list[Any], where: str, link: _Link) -> Iterable[tuple[Any, Any]]:
    if isinstance(holder, list):
        return enumerate(holder)
    for key in holder:
        if type(key) is not str:
            raise _bad(where, link, f"the key {shown(key)} is not a text", "put it in quotes")
        if not key.isascii() and not _is_unicode(key):
            raise _bad(where, link, f"the key {quoted(key)} is not Unicode text")
    return holder.items()


def _complaint(value: Any) -> str | None:
    """What is wrong with one value, its inside aside."""
    kind = type(value)
    if kind is str:
        return None if value.isascii() or _is_unicode(value) else f"{quoted(value)} is not Unicode text"
    if kind is int:
        return None if value.bit_length() <= BITS_MAX else "the number has too many digits"
    if kind is float:
        return None if isfinite(value) else f"{value} is not a number that JSON has"
    if value is None or kind is bool or kind is dict or kind is list:
        return None
    return f"{shown(value)} is not a JSON value"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad(where: str, link: _Link, detail: str, remedy: str = "write what JSON can say") -> BadInput:
    parts: list[str | int] = []
    while link is not None:
        link, part = link
        parts.append(part)
    place = at(where, *reversed(parts))
    return BadInput(f"{place}: {detail}", field=place, remedy=remedy)
