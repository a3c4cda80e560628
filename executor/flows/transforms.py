"""What expressions see, by the place they stand in, and what they give (docs/openflow.md section 2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from executor.errors import Reason
from executor.flows.document import InputTransform, Static
from executor.flows.expressions import ExpressionFailed
from executor.flows.results import Results
from executor.flows.values import Args, End, Value, failed, member, object_text
from executor.flows.world import World
from executor.script import compact_json


class StepFailed(Exception):
    """A module cannot go on: an expression in it failed, or gave what it may not give."""

    def __init__(self, end: End) -> None:
        super().__init__()
        self.end = end


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

    async def value_of(self, transform: InputTransform) -> bytes:
        """A transform's value as JSON; raises StepFailed."""
        if isinstance(transform, Static):
            return transform.as_json
        return await self.evaluate(transform.expr, with_params=True)

    async def evaluate(self, expr: str, *, with_params: bool = False, as_boolean: bool = False) -> bytes:
        """The value of an expression that stands in a module: transform, iterator, predicate or `skip_if`."""
        names = {**self.approvals.names, **self.more}
        if with_params:
            names["params"] = b"{}"
        return await self._evaluate(expr, names, as_boolean, has_result=not with_params, has_error=True)

    async def holds(self, expr: str) -> bool:
        """Whether a predicate in a module is true."""
        return await self.evaluate(expr, as_boolean=True) == b"true"

    async def holds_after(self, expr: str, result: Value, all_iters: bytes | None = None) -> bool:
        """Whether a stop predicate is true of a step's result."""
        after = View(self.world, self.args, self.results, self.flow_env, result, None)
        names = {} if all_iters is None else {"all_iters": all_iters}
        text = await after._evaluate(expr, names, True, has_result=True, has_error=False)
        return text == b"true"

    async def holds_at_start(self, expr: str) -> bool:
        """Whether a flow's `skip_expr` is true, which sees only what the run was given."""
        scheduled_for = compact_json(self.world.scheduled_for)
        names = {"WM_SCHEDULED_FOR": scheduled_for, "flow_input": self.args.text}
        return await self._asked(expr, names, True) == b"true"

    async def number_after(self, transform: InputTransform, result: Value) -> bytes:
        """The value of a `sleep`, which sees the result it follows."""
        if isinstance(transform, Static):
            return transform.as_json
        after = View(self.world, self.args, self.results, {}, result, None)
        return await after._evaluate(transform.expr, {}, False, has_result=True, has_error=False)

    async def _evaluate(
        self, expr: str, names: Mapping[str, bytes], as_boolean: bool, *, has_result: bool, has_error: bool
    ) -> bytes:
        return await self._asked(
            expr, {**names, **await self._common(expr, has_result, has_error)}, as_boolean
        )

    async def _asked(self, expr: str, names: Mapping[str, bytes], as_boolean: bool) -> bytes:
        scope = _Scope(self, names)
        try:
            return await self.world.evaluate(expr, scope, as_boolean=as_boolean)
        except ExpressionFailed as failure:
            reason = Reason.TIMEOUT if failure.timed_out else Reason.BAD_INPUT
            raise StepFailed(failed(reason, str(failure))) from failure

    async def _common(self, expr: str, has_result: bool, has_error: bool) -> dict[str, bytes]:
        """The names that may be big; those that the text does not mention are left out."""
        found: dict[str, bytes] = {}
        if "flow_input" in expr:
            found["flow_input"] = self.args.text
        if "flow_env" in expr:
            found["flow_env"] = object_text({k: compact_json(v) for k, v in self.flow_env.items()})
        if "result" in expr or "error" in expr:
            previous = await self.world.text(self.previous)
            found["previous_result"] = previous
            if has_result:
                found["result"] = previous
            if has_error and "error" in expr:
                found["error"] = member(previous, "error")
        return found


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
