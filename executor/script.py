"""What travels the whole path: a script, its limits, and how it ended.

These are plain values; nothing here talks to a database, a container or a client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from executor.errors import BadInput, Reason
from executor.settings import LimitBounds

WHOLE = frozenset({"memory_mb", "pids", "tmp_mb", "log_bytes", "result_bytes"})


@dataclass(frozen=True)
class Limits:
    """What one script may use: seconds, MiB, cores, processes and bytes."""

    timeout_s: float
    memory_mb: int
    cpus: float
    pids: int
    tmp_mb: int
    log_bytes: int
    result_bytes: int


def resolve_limits(asked: Mapping[str, Any], bounds: LimitBounds, where: str = "limits") -> Limits:
    """The limits of a job that asks for `asked`, completed from the defaults.

    Raises BadInput naming the key: an unknown one, a value that is no positive number, or one above
    its maximum (docs/openflow.md section 6.1).
    """
    check_limits(asked, bounds, where)
    values = {
        key: asked[key] if asked.get(key) is not None else min(bound.default, bound.maximum)
        for key, bound in ((key, getattr(bounds, key)) for key in type(bounds).model_fields)
    }
    return Limits(
        timeout_s=float(values["timeout_s"]),
        memory_mb=int(values["memory_mb"]),
        cpus=float(values["cpus"]),
        pids=int(values["pids"]),
        tmp_mb=int(values["tmp_mb"]),
        log_bytes=int(values["log_bytes"]),
        result_bytes=int(values["result_bytes"]),
    )


def check_limits(asked: Mapping[str, Any], bounds: LimitBounds, where: str) -> None:
    """Raise BadInput for the first key of `asked` that is no limit, or whose value `check_limit` refuses."""
    known = type(bounds).model_fields
    for key, value in asked.items():
        if key not in known:
            raise BadInput(
                f"{where}.{key}: there is no such limit",
                field=f"{where}.{key}",
                remedy=f"use one of {', '.join(known)}",
            )
        check_limit(key, value, getattr(bounds, key).maximum, where)


def check_limit(key: str, value: Any, maximum: float, where: str = "limits") -> None:
    """Raise BadInput unless `value` is a positive number of at most `maximum`; None means unset."""
    if value is None:
        return
    name = f"{where}.{key}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value > 0:
        raise BadInput(f"{name}: {value!r} is not a positive number", field=name, remedy=_at_most(maximum))
    if value > maximum:
        raise BadInput(f"{name}: {value} is above the maximum", field=name, remedy=_at_most(maximum))
    if key in WHOLE and value != int(value):
        raise BadInput(f"{name}: {value} is not a whole number", field=name, remedy=_at_most(maximum))


def _at_most(maximum: float) -> str:
    return f"give a positive number of at most {maximum:.15g}"


@dataclass(frozen=True)
class Script:
    """A script to run once: its source, its arguments as a JSON object in bytes, its environment."""

    language: str
    content: str
    args: bytes = b"{}"
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What a run used: milliseconds of wall and CPU time, peak memory in bytes (0: unknown)."""

    wall_ms: int = 0
    cpu_ms: int = 0
    memory_peak_bytes: int = 0


@dataclass(frozen=True)
class Returned:
    """The script succeeded; `value` is its result as JSON text, `stream` its result stream."""

    value: bytes
    usage: Usage = Usage()
    stream: str = ""


@dataclass(frozen=True)
class Failed:
    """The script did not succeed, and why; `docs/openflow.md` section 3.2 has the fields."""

    reason: Reason
    message: str
    name: str = "ExecutionErr"
    stack: str | None = None
    extra: Mapping[str, Any] | None = None
    exit_code: int | None = None
    usage: Usage = Usage()
    stream: str = ""
    timeout_s: float | None = None
    """The time limit that was struck, where it was not the job's own."""

    def as_json(self, **more: Any) -> bytes:
        """The failure as it is stored in the result's place: `{"error": {…}}`."""
        error: dict[str, Any] = {"name": self.name, "message": self.message, "reason": self.reason.value}
        for key in ("stack", "extra", "exit_code"):
            if getattr(self, key) is not None:
                error[key] = getattr(self, key)
        error.update(more)
        return compact_json({"error": error})


Outcome = Returned | Failed


@dataclass(frozen=True)
class Isolation:
    """How a run was isolated, for people who ask."""

    engine: str
    image: str
    runtime: str
    network: str
    user: str
    capabilities: tuple[str, ...]
    read_only_root: bool
    memory_mb: int
    cpus: float
    pids: int
    container: str
    reach: tuple[str, ...] = ()
    """What `network` is open to, as executor.reach writes it."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON."""
        return asdict(self)


HEAVY = 2_500_000
OBJECT_WEIGHT = 5
FEW_QUOTES = 20_000


def is_light(text: bytes | bytearray) -> bool:
    """Whether a JSON text may be decoded beside everybody else's requests: in less than half a second, whatever is in it.

    What takes long is not bytes but values, of which arrays and objects take five times as long as others.
    Counted are the characters that come with them: those in strings too, unless there are few strings.
    """
    if len(text) < HEAVY // OBJECT_WEIGHT or _weight(text) <= HEAVY:
        return True
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return plain.count(b'"') <= FEW_QUOTES and _weight(b"".join(plain.split(b'"')[::2])) <= HEAVY


def _weight(text: bytes | bytearray) -> int:
    return text.count(b",") + OBJECT_WEIGHT * (text.count(b"[") + text.count(b"{"))


def compact_json(value: Any) -> bytes:
    """`value` as compact, strict JSON; raises ValueError for NaN and infinities."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # a lone surrogate: only its escaped form is valid UTF-8
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def json_object(members: dict[str, Any], raw: dict[str, bytes]) -> bytes:
    """A JSON object of `members` and, spliced in without decoding, the JSON texts of `raw`."""
    text = compact_json(members)
    for key, value in raw.items():
        text = text[:-1] + (b"," if len(text) > 2 else b"") + compact_json(key) + b":" + value + b"}"
    return text
