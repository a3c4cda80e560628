"""What travels through a flow: JSON values as text, arguments by name, and how a step ended.

Values stay JSON text from the script that gave them to the one that takes them; nothing decodes them
on the way but an expression that looks into them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from executor.errors import Reason
from executor.script import compact_json, is_light

LARGE_BYTES = 16 * 1024
"""Arguments that are larger than that are made into one value only where somebody wants to see it."""


@dataclass(frozen=True)
class Value:
    """A JSON value. `job` is the job whose result it is, if it is one's, so that it is stored once.

    A big one is not kept in memory: `text` is None then, and the world reads it where it is stored, or makes it
    of the arguments that it is.
    """

    text: bytes | None
    job: str | None = None
    args: Args | None = None

    @property
    def is_stored(self) -> bool:
        """Whether it is nowhere in memory."""
        return self.text is None and self.args is None


NULL = Value(b"null")


@dataclass(frozen=True)
class Args:
    """Named arguments as JSON texts. Those not in `own` are the arguments of job `base`."""

    values: Mapping[str, bytes]
    base: str | None = None
    own: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, bytes]) -> Args:
        """Arguments that rest on no other job's."""
        return cls(values, None, values)

    def beneath(self, job: str, own: Mapping[str, bytes]) -> Args:
        """The arguments of a child of `job`, whose arguments these are: the same, and `own` on top."""
        return Args({**self.values, **own}, job, own)

    @property
    def text(self) -> bytes:
        """All of them as one JSON object."""
        return object_text(self.values)

    @property
    def size(self) -> int:
        """The bytes of their texts."""
        return sum(map(len, self.values.values()))

    @property
    def value(self) -> Value:
        """All of them as one value; each branch has one of its own, so a large one is made when it is wanted."""
        return Value(self.text) if self.size <= LARGE_BYTES else Value(None, args=self)


NO_ARGS = Args({})


def object_text(members: Mapping[str, bytes]) -> bytes:
    """A JSON object whose members' values are JSON texts already."""
    return b"{" + b",".join(compact_json(key) + b":" + text for key, text in members.items()) + b"}"


def array_text(items: list[bytes]) -> bytes:
    """A JSON array whose items are JSON texts already."""
    return b"[" + b",".join(items) + b"]"


@dataclass(frozen=True)
class Stop:
    """An early stop on its way outwards (docs/openflow.md section 1.9, bubbling)."""

    is_skip: bool


@dataclass(frozen=True)
class End:
    """How a step, or a flow, ended."""

    value: Value
    ok: bool = True
    job: str | None = None
    stop: Stop | None = None
    """The flow around it ends too."""
    skipped: bool = False
    """It did not run: its gate does not count."""
    handled: bool = False
    """A failure module has run for this failure."""
    final: bool = False
    """Cancelled, or our own trouble: no retry, `continue_on_error` or failure module may catch it."""
    caught: bool = False
    """Failed, but the flow goes on."""

    def of_step(self, step_id: str) -> End:
        """A failure of the engine's own making, saying which step's it is."""
        if self.ok or self.value.text is None:
            return self
        whole = json.loads(self.value.text)
        whole["error"]["step_id"] = step_id
        return replace(self, value=Value(compact_json(whole)))


def failed(reason: Reason, message: str, name: str = "ExecutionErr", **more: Any) -> End:
    """A failure of the engine's own making: an expression, a gate, an early stop."""
    return End(error_value(reason, message, name, **more), ok=False)


def too_many_jobs(why: str) -> End:
    """The end of a run that has too many jobs: nothing inside may catch it, or there would be more of them."""
    return replace(failed(Reason.BAD_INPUT, why), final=True)


def error_value(reason: Reason, message: str, name: str = "ExecutionErr", **more: Any) -> Value:
    """`{"error": {name, message, reason, …}}` (docs/openflow.md section 3.2)."""
    error = {"name": name, "message": message, "reason": reason.value, **more}
    return Value(compact_json({"error": error}))


def recovers(text: bytes) -> bool:
    """Whether a failure module's result says that the flow is to count as successful."""
    if b'"recover"' not in text or not text.startswith(b"{") or not is_light(text):
        return False
    return json.loads(text).get("recover") is True
