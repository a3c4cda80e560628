"""Plain property paths into JSON, answered without JavaScript.

What is answered here is answered as JavaScript would, or not at all: `parse` knows few forms, and `follow`
raises NotPlain for whatever is an error, a method, a length or an inherited name. A value is handed on as the
JSON text it was found in, so that integers beyond 2^53, `1.0` and the like stay what they were; read by
JavaScript it is the very value that the engine would have given. The tests compare the two.

Imports only the standard library: the child processes use it too, for values too big for the service's loop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from json import decoder
from typing import Any

INHERITED = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "length",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)
"""What a value may have besides its own properties."""
LENGTH_MAX = 256
"""Characters of the longest expression that is looked at here."""

_NAME = r"[A-Za-z_$][A-Za-z0-9_$]*"
_QUOTED = r'"[^"\\\x00-\x1f\u2028\u2029]*"' + r"|'[^'\\\x00-\x1f\u2028\u2029]*'"
_INDEX = r"0|[1-9][0-9]{0,8}"
_ROOT = re.compile(_NAME)
_LINK = re.compile(rf"\??\.(?P<name>{_NAME})|(?:\?\.)?\[(?:(?P<index>{_INDEX})|(?P<quoted>{_QUOTED}))\]")
_CALL = re.compile(rf"(?P<function>variable|resource)\((?P<path>{_QUOTED})\)")
_LITERAL = re.compile(rf"true|false|null|{_INDEX}")
_SPACE = re.compile(r"[ \t\r\n]*")


class NotPlain(Exception):
    """The engine has to answer this one."""


@dataclass(frozen=True)
class Link:
    """One step of a path: `.key`, `["key"]` or `[0]`; `optional` with a `?.` before it."""

    key: str
    optional: bool


@dataclass(frozen=True)
class Plain:
    """A plain path: which value, and the way into it.

    `kind` and `key` say which: a `name` of the scope, the `result` of a step, a `variable`, a `resource`, or the
    `literal` itself. `root` is the name that the expression begins with. Each stage is a chain of its own: a
    `?.` ends the stage it is in, not the next.
    """

    kind: str
    key: str
    stages: tuple[tuple[Link, ...], ...]
    root: str | None

    @property
    def whole(self) -> bool:
        """Whether it is the value itself that is wanted."""
        return not any(self.stages)


ALIASES: Mapping[str, tuple[str, tuple[Link, ...]]] = {
    "result": ("previous_result", ()),
    "error": ("previous_result", (Link("error", optional=True),)),
}
"""Names that are another one, or a path into it."""


def parse(expr: str) -> Plain | None:
    """The plain path that `expr` is; None for everything else."""
    return _parse(expr.strip(" \t\r\n")) if len(expr) <= LENGTH_MAX else None


@lru_cache(maxsize=4096)
def _parse(text: str) -> Plain | None:
    if _LITERAL.fullmatch(text):
        return Plain("literal", text, (), None)
    root = _CALL.match(text) or _ROOT.match(text)
    links = _links(text, root.end()) if root else None
    if root is None or links is None:
        return None
    if root.re is _CALL:
        return Plain(root["function"], root["path"][1:-1], (links,), root["function"])
    if root[0] == "results":
        return Plain("result", links[0].key, (links[1:],), "results") if links else None
    name, way = ALIASES.get(root[0], (root[0], ()))
    return Plain("name", name, (way, links), root[0])


def _links(text: str, at: int) -> tuple[Link, ...] | None:
    """The links from `at` to the end; None if there is more than links, or one is an inherited name."""
    links = []
    while at < len(text):
        found = _LINK.match(text, at)
        if not found:
            return None
        key = found["name"] or found["index"] or found["quoted"][1:-1]
        if key in INHERITED:
            return None
        links.append(Link(key, optional=found[0].startswith("?")))
        at = found.end()
    return tuple(links)


def follow(plain: Plain, text: bytes) -> bytes | None:
    """The value at the path into the JSON `text`, as JSON text; None for undefined.

    Raises NotPlain where only the engine can tell.
    """
    if plain.whole:
        return text
    try:
        whole = text.decode()
        value: tuple[int, int] | None = (_skip(whole, 0), len(whole))
        for stage in plain.stages:
            for link in stage:
                if value is None or whole.startswith("null", value[0]):
                    if not link.optional:
                        raise NotPlain
                    value = None
                    break
                value = _step(whole, value[0], link.key)
    except (ValueError, StopIteration, IndexError, RecursionError):  # no JSON, or nested too deeply for us
        raise NotPlain from None
    return None if value is None else whole[slice(*value)].encode()


def encoded(value: bytes | None, boolean: bool) -> bytes:
    """What an evaluation gives for `value` (None: undefined): JSON text, as a truth value if that is asked."""
    if boolean:
        return b"true" if truth(value) else b"false"
    return b"null" if value is None else value


def truth(value: bytes | None) -> bool:
    """`Boolean(value)` of JSON text; None is undefined."""
    if value is None:
        return False
    text = value.strip(b" \t\r\n")
    if text[:1] in (b"{", b"["):
        return True
    if text[:1] == b'"':
        return text != b'""'
    return text == b"true" if text[:1] in (b"t", b"f", b"n") else float(text) != 0


def _step(text: str, at: int, key: str) -> tuple[int, int] | None:
    """Where the value is that the one at `at` has under `key`; None if it has none."""
    if text[at] == "{":
        return _member(text, at, key)
    if text[at] == "[" and re.fullmatch(_INDEX, key):
        return _element(text, at, int(key))
    raise NotPlain


def _member(text: str, at: int, key: str) -> tuple[int, int] | None:
    """The last member called `key` of the object at `at`."""
    found = None
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, at = _scan_string(text, at + 1)
        start = _skip(text, _skip(text, at) + 1)
        _, at = _scan(text, start)
        if name == key:
            found = start, at
        at = _next(text, at)
    return found


def _element(text: str, at: int, index: int) -> tuple[int, int] | None:
    """The element `index` of the array at `at`."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        start = at
        _, at = _scan(text, start)
        if index == 0:
            return start, at
        index -= 1
        at = _next(text, at)
    return None


def _next(text: str, at: int) -> int:
    """Where what follows the value that ends at `at` begins: the next one, or the closing bracket."""
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Numbers are passed over, not read: Python would refuse very long ones.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]
_scan_string: Callable[[str, int], tuple[str, int]] = decoder.scanstring  # type: ignore[attr-defined]


def _skip(text: str, at: int) -> int:
    """The first place from `at` that is no white space."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
