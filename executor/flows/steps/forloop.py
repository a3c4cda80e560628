"""`forloopflow`: its modules once per item of an array, in turn or side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from executor.errors import Reason
from executor.flows.document import ForLoop, WhileLoop
from executor.flows.expressions import places
from executor.flows.step import Step
from executor.flows.steps.many import Many
from executor.flows.transforms import StepFailed
from executor.flows.values import Args, End, Value, array_text, failed, object_text
from executor.script import compact_json, is_light


async def forloop(step: Step) -> End:
    """Run the body for every item; the result is the array of their results."""
    loop = step.module.value
    if not isinstance(loop, ForLoop):
        raise AssertionError(f"BUG: {loop.type} is no for-loop")
    items = await _items(step, loop)
    if not items or not loop.modules:
        return End(Value(b"[]"))
    step.status.type, step.status.parallel = "InProgress", loop.parallel
    step.walk.expect(loop.modules, len(items))
    if loop.parallel:
        return await _side_by_side(step, loop, items)
    return await _in_turn(step, loop, items)


async def _items(step: Step, loop: ForLoop) -> list[bytes]:
    """The iterator's array, evaluated once per run of the module."""

    async def act() -> bytes:
        return await step.view.value_of(loop.iterator, places.CHOICE)

    text = await step.decided("iterator", act)
    if not is_light(text):
        message = (
            "the iterator's array has too many values to look into; iterate over fewer, or over their places"
        )
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    found = json.loads(text)
    if not isinstance(found, list):
        shown = text.decode()[:200]
        message = f"Expected an array value in the iterator expression, found: {shown}"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    most = step.world.iterations_max
    if len(found) > most:
        message = f"the iterator has {len(found)} items, more than {most} (EXECUTOR_FLOW_ITERATIONS_MAX)"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    return [compact_json(item) for item in found]


async def _in_turn(step: Step, loop: ForLoop, items: list[bytes]) -> End:
    """One iteration after the other; the first failure ends the loop, unless failures are skipped."""
    step.status.items = [json.loads(item) for item in items]
    results = Many(step)
    job: str | None = None
    for index, item in enumerate(items):
        step.status.iterator = {"index": index}
        end = await iteration(step, loop, index, item, own_results=False)
        job = end.job
        if end.final:
            return End(end.value, ok=False, final=True, job=end.job)
        await results.add(end)
        if not end.ok and not loop.skip_failures:
            return End(results.value, ok=False, handled=end.handled, job=end.job)
        if end.stop is not None or await breaks(step, index, end, results):
            break
    return End(results.value, job=job)


async def breaks(step: Step, index: int, end: End, results: Many) -> bool:
    """Whether the loop's own stop predicate is true of an iteration's result."""
    stop = step.module.stop_after_if
    if stop is None or not end.ok:
        return False
    all_iters = array_text(results.texts) if "all_iters" in stop.expr else None
    return await step.stop_holds(f"stop[{index}]", stop, end.value, all_iters)


async def _side_by_side(step: Step, loop: ForLoop, items: list[bytes]) -> End:
    """All iterations at once, or as many as `parallelism` says; all of them run to their end."""
    at_once = await _parallelism(step, loop)
    step.status.iterator = {"index": len(items) - 1, "itered_len": len(items)}
    ends = await step.world.activity.together(
        [partial(iteration, step, loop, index, item, own_results=True) for index, item in enumerate(items)],
        at_once,
    )
    final = next((end for end in ends if end.final), None)
    if final is not None:
        return End(final.value, ok=False, final=True, job=final.job)
    results = await Many.of(step, ends)
    ok = loop.skip_failures or all(end.ok for end in ends)
    handled = all(end.handled for end in ends if not end.ok)
    return End(results.value, ok=ok, handled=not ok and handled, job=ends[-1].job)


async def _parallelism(step: Step, loop: ForLoop) -> int | None:
    if loop.parallelism is None:
        return None

    async def act() -> bytes:
        if loop.parallelism is None:
            raise AssertionError("BUG: no parallelism")
        return await step.view.value_of(loop.parallelism)

    text = await step.decided("parallelism", act)
    if text == b"null":
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number >= 1:
        message = f"parallelism: expected a positive number, found: {text.decode()[:100]}"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    return int(number)


async def iteration(
    step: Step, loop: ForLoop | WhileLoop, index: int, value: bytes, *, own_results: bool
) -> End:
    """One iteration as a flow job of its own."""
    return await step.walk.body(
        step,
        index,
        f"[{index}]",
        loop.modules,
        iteration_args(step.walk.args, index, value),
        loop_path=f"loop-{index}/",
        own_results=own_results,
        is_expected=isinstance(loop, ForLoop),
    )


def iteration_args(outer: Args, index: int, value: bytes) -> Mapping[str, bytes]:
    """`iter`, and the `iter` of each loop around it under a longer name."""
    named = {"iter": object_text({"index": str(index).encode(), "value": value})}
    name = "iter"
    while name in outer.values:
        named[f"{name}_parent"] = outer.values[name]
        name = f"{name}_parent"
    return named
