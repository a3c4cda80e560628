"""`Expressions`: evaluates the JavaScript expressions of flows. What the walk calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from executor.errors import Unavailable
from executor.flows.expressions import paths, places
from executor.flows.expressions.places import Place
from executor.flows.expressions.process import Child, ChildDied, ChildLimits, EvaluationFailed
from executor.flows.expressions.scope import ExpressionCallFailed, ExpressionFailed, Scope
from executor.flows.expressions.turns import Turns
from executor.settings import MIB
from executor.telemetry import expression_children_lost, expressions_evaluated, log

LOOK_INTO_BYTES = 64 * 1024
"""Values up to this size are looked into here, in a millisecond; bigger ones in a child, off the event loop."""
INLINE_BYTES = 4 * 1024
"""Values up to this size go along with the request; bigger ones when they are asked for."""


class Expressions:
    """A pool of child processes that evaluate expressions; started as needed, closed by `close()`.

    Evaluations over `children` wait; workspaces take turns, and one that has no child gets one more. A child is replaced when it died, was killed, or has
    evaluated `recycle_after` expressions. An evaluation that is cancelled costs its child.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 10.0,
        memory_mb: int = 64,
        result_bytes: int = 8 * MIB,
        children: int = 2,
        recycle_after: int = 1000,
    ) -> None:
        """Bound one evaluation by wall time, MiB of JavaScript memory and bytes of its result."""
        self._limits = ChildLimits(timeout_s=timeout_s, memory_mb=memory_mb, result_bytes=result_bytes)
        self._turns = Turns(children)
        self._heavy = Turns(children)
        self._recycle_after = recycle_after
        self._idle: list[Child] = []
        self._busy: dict[Child, asyncio.Timeout] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Expressions:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Kill every child and wait for their end. Evaluations under way raise Unavailable."""
        self._closed = True
        for limit in self._busy.values():
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
        while self._idle:
            self._end(self._idle.pop())
        await self._turns.none()  # whoever has a turn or waits for one ends now
        await asyncio.gather(*self._ending)

    async def evaluate(
        self, expr: str, scope: Scope, place: Place, *, as_boolean: bool = False, workspace_id: str = ""
    ) -> bytes:
        """Evaluate `expr` as it stands in `place`; return its value as JSON text, `undefined` as null.

        It waits for a turn of `workspace_id`. With `as_boolean` the value is `true` or `false`, as JavaScript's Boolean() has it. Raises
        ExpressionFailed, which is data for the walk; Unavailable, if no child can be started; and whatever
        the scope raises other than ExpressionCallFailed.
        """
        plain = paths.parse(expr)
        if plain and plain.root and not place.sees(plain.root):
            plain = None
        if plain:
            try:
                value = await _by_path(plain, scope, place)
            except paths.NotPlain:
                plain = None
            except _TooBig:
                pass
            else:
                expressions_evaluated.labels("path").inc()
                return paths.encoded(value, as_boolean)
        request = self._request(expr, scope, place, as_boolean, plain is not None)
        expressions_evaluated.labels("engine").inc()
        async with self._turns.turn(workspace_id):
            return await self._with_a_child(request, scope, place)

    def heavy_turn(self, workspace_id: str) -> AbstractAsyncContextManager[None]:
        """A turn of the workspace to make what an expression sees, where that is large: as many as there are children."""
        return self._heavy.turn(workspace_id)

    def _request(
        self, expr: str, scope: Scope, place: Place, as_boolean: bool, plain: bool
    ) -> dict[str, Any]:
        names = {name: _value(scope, name) for name in place.names}
        return {
            "expr": expr,
            "boolean": as_boolean,
            "plain": plain,
            "names": {n: v.decode() if len(v) <= INLINE_BYTES else None for n, v in names.items()},
            "result": place.result,
            "error": place.error,
            "results": place.results,
            "calls": place.calls,
            "memory_mb": self._limits.memory_mb,
            "result_bytes": self._limits.result_bytes,
        }

    async def _with_a_child(self, request: dict[str, Any], scope: Scope, place: Place) -> bytes:
        """Evaluate on a child; on another one if somebody killed the first."""
        try:
            try:
                return await self._evaluated(request, scope, place)
            except ChildDied as death:
                if not death.from_outside:
                    raise
            return await self._evaluated(request, scope, place)
        except EvaluationFailed as failure:
            raise _failed(request["expr"], str(failure)) from None
        except ChildDied as death:
            if death.by_its_alarm:
                raise _timed_out(request["expr"], self._limits.timeout_s) from None
            raise _failed(request["expr"], f"the evaluating process died: {death}") from None
        except _OutOfTime:
            raise _timed_out(request["expr"], self._limits.timeout_s) from None

    async def _evaluated(self, request: dict[str, Any], scope: Scope, place: Place) -> bytes:
        async def answer(what: str, key: str) -> bytes | None:
            return await _answered(what, key, scope, place)

        child = await self._take()
        limit = self._busy[child] = asyncio.timeout(self._limits.timeout_s)
        usable = False
        try:
            value = await _in_time(child.evaluate(request, answer), limit)
            usable = True
            return value
        except EvaluationFailed:
            usable = True
            raise
        except ChildDied as death:
            self._check_open()
            expression_children_lost.labels("died").inc()
            log.warning("a process for expressions died", how=str(death))
            raise
        except _OutOfTime:
            self._check_open()
            expression_children_lost.labels("timeout").inc()
            raise
        finally:
            self._give_back(child, usable)

    async def _take(self) -> Child:
        """An idle child, or a new one."""
        self._check_open()
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._end(child)
        child = await Child.start(self._limits)
        if self._closed:
            await child.kill()
        self._check_open()
        return child

    def _give_back(self, child: Child, usable: bool) -> None:
        del self._busy[child]
        if usable and child.evaluations < self._recycle_after and not self._closed:
            self._idle.append(child)
        else:
            self._end(child)

    def _end(self, child: Child) -> None:
        task = asyncio.ensure_future(child.kill())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the service is stopping")


class _OutOfTime(Exception):
    """The evaluation took longer than its limit."""


class _TooBig(Exception):
    """The value is not to be looked into on the event loop."""


async def _in_time(evaluation: Awaitable[bytes], limit: asyncio.Timeout) -> bytes:
    """The evaluation's value; raises _OutOfTime for this limit only, not for one inside the scope."""
    try:
        async with limit:
            return await evaluation
    except TimeoutError:
        if limit.expired():
            raise _OutOfTime from None
        raise


async def _by_path(plain: paths.Plain, scope: Scope, place: Place) -> bytes | None:
    """The value of a plain path, None for undefined. Raises NotPlain, _TooBig."""
    if plain.kind == "literal":
        return plain.key.encode()
    try:
        text = await _answered(plain.kind, plain.key, scope, place)
    except ExpressionCallFailed:
        raise paths.NotPlain from None  # the engine knows where in the text it happened
    text = b"null" if text is None else text
    if len(text) > LOOK_INTO_BYTES and not plain.whole:
        raise _TooBig
    return paths.follow(plain, text)


async def _answered(what: str, key: str, scope: Scope, place: Place) -> bytes | None:
    """The answer to a child's question; it gets nothing that its expression could not name."""
    if what == "name" and key in place.names:
        return _value(scope, key)
    if what == "result" and place.results:
        return await scope.result(key)
    if what == "ids" and place.results:
        return json.dumps(list(scope.result_ids())).encode()
    if what in ("variable", "resource") and place.calls:
        return await (scope.variable(key) if what == "variable" else scope.resource(key))
    raise AssertionError(f"BUG: a child asked for {what} {key!r}")


def _value(scope: Scope, name: str) -> bytes:
    """The value of a name of the place, as JSON text."""
    value = scope.names.get(name, places.DEFAULTS.get(name))
    assert value is not None, f"BUG: the scope has no {name}"
    return value


def _failed(expr: str, detail: str) -> ExpressionFailed:
    return ExpressionFailed(f"Error during isolated evaluation of expression `{expr}`:\n{detail}")


def _timed_out(expr: str, timeout_s: float) -> ExpressionFailed:
    said = f"The expression of evaluation `{expr}` took too long to execute (>{timeout_s * 1000:.0f}ms)"
    return ExpressionFailed(said, timed_out=True)
