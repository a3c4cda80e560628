"""What expressions see, by the place they stand in, and what they give (docs/openflow.md section 2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from executor.flows.document import InputTransform, Static
from executor.flows.expressions import places
from executor.flows.expressions.places import Place as ExpressionPlace
from executor.flows.expressions.scope import ExpressionFailed
from executor.flows.results import Results
from executor.flows.values import Args, End, Value, failed, object_text
from executor.flows.world import World
from executor.script import compact_json

HEAVY_BYTES = 256 * 1024
"""What sees larger arguments than that waits for a turn before they are made into one text."""


class StepFailed(Exception):
    """A module cannot go on: an expression in it failed, or gave what it may not give."""

    def __init__(self, end: End) -> None:
        super().__init__()
        self.end = end


FAILED = b"!"
"""What a journal's entry begins with where a decision failed; no JSON does, and no number."""


async def decided(world: World, path: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
    """What `act` gave when the run came to `path` first. A StepFailed that it raised is raised again.

    An expression that failed may succeed later: the variable that it asked for is there by then. A walk
    that is begun again must not learn of that.
    """

    async def whole() -> bytes:
        try:
            return await act()
        except StepFailed as failure:
            return FAILED + await world.text(failure.end.value)

    text = await world.once(path, whole)
    if text.startswith(FAILED):
        raise StepFailed(End(Value(text.removeprefix(FAILED)), ok=False))
    return text


@dataclass(frozen=True)
class Approvals:
    """What a step right behind a gate sees of it; for every other step nothing."""

    payloads: tuple[bytes, ...] = ()
    approvers: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, bytes]:
        """`resumes`, `resume` and `approvers`."""
        return {
            "resumes": b"[" + b",".join(self.payloads) + b"]",
            "resume": self.payloads[-1] if self.payloads else b"null",
            "approvers": compact_json(list(self.approvers)),
        }


@dataclass(frozen=True)
class View:
    """Where an expression stands: whose input, results and environment it sees."""

    world: World
    args: Args
    results: Results
    flow_env: Mapping[str, str]
    previous: Value
    previous_id: str | None
    approvals: Approvals = Approvals()
    more: Mapping[str, bytes] = field(default_factory=dict)

    async def value_of(self, transform: InputTransform, place: ExpressionPlace = places.INPUT) -> bytes:
        """A transform's value as JSON; raises StepFailed."""
        if isinstance(transform, Static):
            return transform.as_json
        if place is places.INPUT and self.more:
            place = places.FAILURE_INPUT
        return await self._evaluate(transform.expr, place, self.more)

    async def holds(self, expr: str) -> bool:
        """Whether a predicate in a module is true; so say `skip_if` and the branches."""
        return await self._holds(expr, places.CHOICE)

    async def holds_after(self, expr: str, result: Value, all_iters: bytes | None = None) -> bool:
        """Whether a stop predicate is true of a step's result."""
        return await self._after(result)._holds(
            expr, places.STOP, {} if all_iters is None else {"all_iters": all_iters}
        )

    async def may_retry(self, expr: str, failure: Value) -> bool:
        """Whether `retry_if` is true of a failure."""
        return await self._after(failure)._holds(expr, places.RETRY)

    async def seconds_after(self, transform: InputTransform, result: Value) -> bytes:
        """The value of a `sleep`, which sees the result it follows."""
        return await self._after(result).value_of(transform, places.SLEEP)

    async def holds_at_start(self, expr: str) -> bool:
        """Whether a flow's `skip_expr` is true, which sees only what the run was given."""
        names = {"WM_SCHEDULED_FOR": compact_json(self.world.scheduled_for)}
        return await self._holds(expr, places.SKIP_FLOW, names)

    def _after(self, result: Value) -> View:
        return replace(self, previous=result, previous_id=None)

    async def _holds(
        self, expr: str, place: ExpressionPlace, more: Mapping[str, bytes] = MappingProxyType({})
    ) -> bool:
        return await self._evaluate(expr, place, more, as_boolean=True) == b"true"

    async def _evaluate(
        self, expr: str, place: ExpressionPlace, more: Mapping[str, bytes], as_boolean: bool = False
    ) -> bytes:
        async def evaluated() -> bytes:
            names = {**self.approvals.names, **more, **await self._big_names(expr)}
            return await self.world.evaluate(expr, _Scope(self, names), place, as_boolean=as_boolean)

        try:
            if not self._is_heavy(expr):
                return await evaluated()
            async with self.world.heavy_turn():  # a crowd of branches must not make all that at once
                return await evaluated()
        except ExpressionFailed as failure:
            raise StepFailed(failed(failure.reason, failure.message)) from failure

    def _is_heavy(self, expr: str) -> bool:
        """Whether what the expression sees is to be made of large values first."""
        if _sees_previous(expr) and self.previous.text is None:
            return True
        return "flow_input" in expr and self.args.size > HEAVY_BYTES

    async def _big_names(self, expr: str) -> dict[str, bytes]:
        """The names whose values may be big; one that the text does not mention is not made."""
        return {
            "flow_input": self.args.text if "flow_input" in expr else b"{}",
            "previous_result": await self.world.text(self.previous) if _sees_previous(expr) else b"null",
            "flow_env": object_text({name: compact_json(value) for name, value in self.flow_env.items()}),
        }


def _sees_previous(expr: str) -> bool:
    return "result" in expr or "error" in expr


@dataclass(frozen=True)
class _Scope:
    """`executor.flows.world.Scope` of one view."""

    view: View
    names: Mapping[str, bytes]

    async def result(self, step_id: str) -> bytes | None:
        view = self.view
        if step_id == view.previous_id:
            return await view.world.text(view.previous)
        found = view.results.get(step_id)
        return None if found is None else await view.world.text(found)

    async def variable(self, path: str) -> bytes:
        return await self.view.world.variable(path)

    async def resource(self, path: str) -> bytes:
        return await self.view.world.resource(path)

    def result_ids(self) -> Collection[str]:
        ids = self.view.results.ids()
        previous = self.view.previous_id
        return ids if previous is None or previous in ids else [*ids, previous]
