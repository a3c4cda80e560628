"""References in values: `$var:PATH`, `$res:PATH`, `$encrypted:…`, `$WM_NAME` (docs/openflow.md section 2.5).

A text that is a reference as a whole is replaced by what it names. Objects are looked through, arrays
are not. A resource's value may hold references again; a variable's text is never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from executor.script import compact_json, is_light

MARKERS = (b'"$var:', b'"$res:', b'"$encrypted:')
LEVELS_MAX = 200
"""Objects inside one another, with those that come in by reference; as deep as our JSON decoder goes."""
LOOKUPS_MAX = 1000
"""References in one value."""
BYTES_MAX = 64 * 1024 * 1024
"""All that the references of one value bring in."""


class Unresolved(Exception):
    """A reference names nothing, or too much; the message is for the user."""


class NotStored(Exception):
    """There is no such variable or resource, or it cannot be read; the message says why."""


@dataclass(frozen=True)
class Sources:
    """Where references are looked up, in one workspace. Each raises NotStored."""

    variable: Callable[[str], Awaitable[str]]
    resource: Callable[[str], Awaitable[bytes]]
    """The stored value, JSON."""
    decrypted: Callable[[str], str]
    context: Mapping[str, str]
    """The job's own variables, by name."""


async def resolve_args(args: bytes, sources: Sources) -> bytes:
    """A job's arguments, a JSON object, with every reference in them resolved; raises Unresolved."""
    if not has_references(args):
        return args
    if not is_light(args):
        raise Unresolved("The arguments have references, and too many values beside them to look through")
    resolved = {}
    try:
        for name, value in json.loads(args).items():
            text = compact_json(value)
            resolved[name] = await _Resolution(sources, f"for `{name}`", name).of(value, text)
        return compact_json(resolved)
    except ValueError as error:  # an earlier step may write 1e999, or thousands of digits
        raise Unresolved(f"The arguments have references, and a number out of range: {error}") from None


async def resolve_resource(path: str, value: bytes, sources: Sources) -> bytes:
    """The value of the resource at `path` with every reference in it resolved; raises Unresolved."""
    if not has_references(value):
        return value
    if not is_light(value):
        raise Unresolved(f"Resource {path} has references, and too many values to look through")
    resolution = _Resolution(sources, f"in resource `{path}`", path)
    return compact_json(await resolution.of(json.loads(value), value, (path,)))


def has_references(text: bytes) -> bool:
    """Whether a JSON text may hold a reference."""
    # A single byte is found ten times as fast, and most texts have none.
    return b"$" in text and any(marker in text for marker in MARKERS)


@dataclass(frozen=True)
class _Spot:
    """A value inside another one, and the resources that led to it."""

    holder: dict[str, Any]
    key: str
    level: int
    trail: tuple[str, ...]


@dataclass
class _Resolution:
    """The references of one value. `where` ends its complaints, `name` is the value's."""

    sources: Sources
    where: str
    name: str
    lookups: int = 0
    bytes_in: int = 0
    found: dict[str, bytes] = field(default_factory=dict)

    async def of(self, value: Any, text: bytes, trail: tuple[str, ...] = ()) -> Any:
        """`value`, whose JSON is `text`, resolved; it is changed in place."""
        if not has_references(text):
            return value
        root = {"": value}
        todo = [_Spot(root, "", 0, trail)]
        while todo:  # not recursive: how deep it goes is the users' choice
            spot = todo.pop()
            todo += await self._resolve(spot)
        return root[""]

    async def _resolve(self, spot: _Spot) -> list[_Spot]:
        """Resolve one value; give those inside it that are to be looked at."""
        value = spot.holder[spot.key]
        if spot.level > LEVELS_MAX:
            raise Unresolved(f"References {self.where} are nested over {LEVELS_MAX} levels deep")
        if isinstance(value, dict):
            return [_Spot(value, key, spot.level + 1, spot.trail) for key in value]
        if not isinstance(value, str) or not value.startswith("$"):
            return []
        kind, colon, rest = value.partition(":")
        marker = kind + colon
        if marker == "$res:":
            return await self._put_resource(spot, rest)
        if marker == "$var:":
            spot.holder[spot.key] = json.loads(await self._looked_up(value, rest, self._variable))
        elif marker == "$encrypted:":
            spot.holder[spot.key] = self._decrypted(rest)
        elif value[1:] in self.sources.context:
            spot.holder[spot.key] = self.sources.context[value[1:]]
        return []

    async def _put_resource(self, spot: _Spot, path: str) -> list[_Spot]:
        """Put a resource's value in place of its reference; it is to be looked at next."""
        if "/" not in path:
            raise Unresolved(f"Argument `{self.name}` is an invalid resource path: {path}")
        if path in spot.trail:
            way = " → ".join((*spot.trail[spot.trail.index(path) :], path))
            raise Unresolved(f"Resource {path} not usable {self.where}: it refers to itself: {way}")
        text = await self._looked_up(f"$res:{path}", path, self._resource)
        spot.holder[spot.key] = json.loads(text)
        return [_Spot(spot.holder, spot.key, spot.level + 1, (*spot.trail, path))]

    async def _looked_up(
        self, reference: str, path: str, look_up: Callable[[str], Awaitable[bytes]]
    ) -> bytes:
        """The JSON text that a reference stands for; read once, but counted each time."""
        self.lookups += 1
        if self.lookups > LOOKUPS_MAX:
            raise Unresolved(f"There are over {LOOKUPS_MAX} references {self.where}")
        if reference not in self.found:
            self.found[reference] = await look_up(path)
        text = self.found[reference]
        self.bytes_in += len(text)
        if self.bytes_in > BYTES_MAX:
            raise Unresolved(f"The references {self.where} bring in over {BYTES_MAX >> 20} MiB")
        return text

    async def _variable(self, path: str) -> bytes:
        try:
            return compact_json(await self.sources.variable(path))
        except NotStored as error:
            raise Unresolved(f"Variable {path} not found {self.where}: {error}") from None

    async def _resource(self, path: str) -> bytes:
        try:
            return await self.sources.resource(path)
        except NotStored as error:
            raise Unresolved(f"Resource {path} not found {self.where}: {error}") from None

    def _decrypted(self, sealed: str) -> str:
        try:
            return self.sources.decrypted(sealed)
        except NotStored as error:
            raise Unresolved(f"Encrypted value not usable {self.where}: {error}") from None
