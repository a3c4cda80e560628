"""Where the values of an expression come from, and how its evaluation fails."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from executor.errors import Reason


class Scope(Protocol):
    """What the walk offers to the expressions of a step. Every value is JSON text in UTF-8.

    Nothing is asked for that the expression does not touch. What it touches may be asked for twice: when its
    child process was killed from outside, the evaluation begins again.
    """

    @property
    def names(self) -> Mapping[str, bytes]:
        """The values of the place's names; those of `places.DEFAULTS` may be missing."""

    async def result(self, step_id: str) -> bytes | None:
        """The result of the step, or None if no step of this id is known here: then it is null."""

    def result_ids(self) -> Collection[str]:
        """The ids that `result` knows, for an expression that lists `results`."""

    async def variable(self, path: str) -> bytes:
        """The variable's value. Raises ExpressionCallFailed."""

    async def resource(self, path: str) -> bytes:
        """The resource's value. Raises ExpressionCallFailed."""


class ExpressionCallFailed(Exception):
    """variable() or resource() has nothing to give; the expression sees an Error with this message."""


class ExpressionFailed(Exception):
    """An expression failed: data for the walk, which makes the module's failure of it.

    `message` is complete (docs/openflow.md sections 2.2 and 2.6).
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timed_out = timed_out

    @property
    def reason(self) -> Reason:
        """The failure's reason in the closed list."""
        return Reason.TIMEOUT if self.timed_out else Reason.BAD_INPUT
