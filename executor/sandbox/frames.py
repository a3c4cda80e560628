"""The JSON lines between us and `jobinit`, PID 1 of every container (ARCHITECTURE.md, "The frames").

Whatever comes out of a container is untrusted: every line is capped before it is read on, and a
result stays the bytes it came as.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LINE_BYTES_MAX = 2 * 1024 * 1024
RESULT_PREFIX = b'{"type":"result","value":'
RESULT_SUFFIX = b"}"
ERROR_PREFIX = b'{"type":"error",'
EXTRA_DEPTH_MAX = 100


class FrameError(Exception):
    """The container broke the protocol; its output cannot be trusted further."""


@dataclass(frozen=True)
class Ready:
    """The language runner is booted and waits for a job."""


@dataclass(frozen=True)
class Log:
    """Text the script wrote."""

    text: str


@dataclass(frozen=True)
class Stream:
    """Text the script added to its result stream."""

    text: str


@dataclass(frozen=True)
class Result:
    """The script's result: one JSON value in UTF-8."""

    value: bytes


@dataclass(frozen=True)
class ScriptError:
    """The script's own error, or jobinit's verdict on its result."""

    name: str
    message: str
    stack: str | None
    extra: Mapping[str, Any] | None
    reason: str | None


@dataclass(frozen=True)
class Exit:
    """The end of the main process, and who ended it; always the last frame."""

    code: int | None
    signal: str | None
    stopped: str | None
    wall_ms: int
    cpu_ms: int
    memory_peak_bytes: int
    oom_kills: int


Frame = Ready | Log | Stream | Result | ScriptError | Exit


class FrameReader:
    """Cuts a byte stream into frames; `result_bytes` bounds the one big line there may be."""

    def __init__(self, result_bytes: int) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self.allow_result(result_bytes)

    def allow_result(self, result_bytes: int) -> None:
        """Bound the one big line anew: a container may have booted before its job was known."""
        self._result_line_max = len(RESULT_PREFIX) + result_bytes + len(RESULT_SUFFIX)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the bytes that arrived; give every frame they complete. Raises FrameError."""
        self._buffer += data
        while (end := self._buffer.find(b"\n", self._scanned)) >= 0:
            self._check_length(end)
            frame = self._cut(end)
            del self._buffer[: end + 1]
            self._scanned = 0
            if frame is not None:
                yield frame
        self._scanned = len(self._buffer)
        self._check_length(self._scanned)

    def _cut(self, end: int) -> Frame | None:
        """The frame that the buffer begins with, up to `end`; a result's bytes are copied this once."""
        if self._buffer.startswith(RESULT_PREFIX):
            return _result(self._buffer, end)
        line = bytes(self._buffer[:end])
        return parse(line) if line.strip() else None

    def _check_length(self, length: int) -> None:
        limit = self._result_line_max if self._buffer.startswith(RESULT_PREFIX) else LINE_BYTES_MAX
        if length > limit:
            raise FrameError(f"a frame has over {limit} bytes")


def _result(line: bytes | bytearray, end: int) -> Result:
    """The result in the first `end` bytes, which begin as one; raises FrameError."""
    if end <= len(RESULT_PREFIX) + len(RESULT_SUFFIX) or not line.startswith(RESULT_SUFFIX, end - 1):
        raise FrameError("a result frame is cut short")
    value = bytes(memoryview(line)[len(RESULT_PREFIX) : end - len(RESULT_SUFFIX)])
    try:
        # ASCII is looked through in place; decoding makes a text as long as the result.
        if not value.isascii():
            value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(f"a result is not UTF-8: {error}") from error
    return Result(value)


def parse(line: bytes) -> Frame:
    """One line as a frame; raises FrameError for anything else."""
    if line.startswith(RESULT_PREFIX):
        return _result(line, len(line))
    try:
        return _typed(_loaded(line))
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise FrameError(f"not a frame: {line[:80]!r} ({type(error).__name__}: {error})") from error


def _loaded(line: bytes) -> Any:
    """A frame's JSON; an error whose `extra` Python cannot read (too deep, too long a number) goes without.

    A script chooses its `extra`, so it must not turn its own failure into trouble of ours. Within a
    JSON string the quotes would be escaped: what is found here are members, in jobinit's order.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        start, end = line.find(b',"extra":'), line.rfind(b',"reason":')
        if not line.startswith(ERROR_PREFIX) or not 0 <= start < end:
            raise
        return json.loads(line[:start] + line[end:])


def _typed(frame: Any) -> Frame:
    match frame["type"]:
        case "ready":
            return Ready()
        case "log":
            return Log(_text(frame["text"]))
        case "stream":
            return Stream(_text(frame["text"]))
        case "error":
            return ScriptError(
                name=_text(frame["name"]),
                message=_text(frame["message"]),
                stack=None if frame.get("stack") is None else _text(frame["stack"]),
                extra=_extra(frame.get("extra")),
                reason=None if frame.get("reason") is None else _text(frame["reason"]),
            )
        case "exit":
            return Exit(
                code=None if frame["code"] is None else _number(frame["code"]),
                signal=None if frame["signal"] is None else _text(frame["signal"]),
                stopped=None if frame["stopped"] is None else _text(frame["stopped"]),
                wall_ms=_number(frame["wall_ms"]),
                cpu_ms=_number(frame["cpu_ms"]),
                memory_peak_bytes=_number(frame["memory_peak_bytes"]),
                oom_kills=_number(frame["oom_kills"]),
            )
        case other:
            raise ValueError(f"unknown type {other!r}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text belongs")
    # A lone surrogate can neither be stored nor sent as UTF-8.
    return value.encode("utf-8", "replace").decode("utf-8")


def _number(value: Any) -> int:
    """A measure: never negative, and small enough to be stored."""
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} where a whole number belongs")
    return min(max(int(value), 0), 2**63 - 1)


def _extra(value: Any) -> Mapping[str, Any] | None:
    """An error's own attributes, if they can be stored and sent: strict JSON, not too deep."""
    return value if isinstance(value, dict) and _is_plain(value, EXTRA_DEPTH_MAX) else None


def _is_plain(value: Any, depth: int) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case dict() | list():
            inside = value.values() if isinstance(value, dict) else value
            return depth > 0 and all(_is_plain(item, depth - 1) for item in inside)
        case _:
            return True


def job_line(
    *,
    script: str,
    args: bytes | None,
    args_file: str | None,
    env: Mapping[str, str],
    limits: Mapping[str, float],
) -> bytes:
    """The `job` frame. `args` is spliced in as it is; with `args_file` it travels as a file instead.

    `attached` makes the end of our stream a cancellation: a script whose service is gone ends.
    """
    head = json.dumps(
        {"type": "job", "script": script, "env": dict(env), "limits": dict(limits), "attached": True}
    )
    if args_file is not None:
        return head[:-1].encode() + b',"args_file":' + json.dumps(args_file).encode() + b"}\n"
    # JSON text may hold raw newlines between tokens, but a frame is one line; in strings they are escaped.
    inline = (args or b"{}").replace(b"\n", b" ").replace(b"\r", b" ")
    return head[:-1].encode() + b',"args":' + inline + b"}\n"


def signal_line(name: str) -> bytes:
    """The frame that sends a signal to the script, as a cancellation does."""
    return json.dumps({"type": "signal", "signal": name}).encode() + b"\n"
