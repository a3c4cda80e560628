"""`branchone` and `branchall`: one of several bodies, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from executor.flows.document import BranchAll, BranchOne, Module
from executor.flows.step import Step
from executor.flows.steps.many import Many
from executor.flows.values import End


async def branchone(step: Step) -> End:
    """Walk the first branch whose predicate is true, else the default."""
    value = step.module.value
    if not isinstance(value, BranchOne):
        raise AssertionError(f"BUG: {value.type} is no branchone")
    chosen = await _chosen(step, value)
    if chosen is None:
        modules: Sequence[Module] = value.default
        step.status.branch_chosen = {"type": "default"}
    else:
        modules = value.branches[chosen].modules
        step.status.branch_chosen = {"type": "branch", "branch": chosen}
    step.status.type = "InProgress"
    if not modules:
        return End(step.previous)
    name = "default" if chosen is None else str(chosen)
    return await step.walk.body(step, 0, f".branch[{name}]", modules, {})


async def _chosen(step: Step, value: BranchOne) -> int | None:
    """The number of the branch to take, decided once per run of the module."""

    async def act() -> bytes:
        for index, branch in enumerate(value.branches):
            if await step.view.holds(branch.expr):
                return str(index).encode()
        return b"default"

    text = await step.decided("branch", act)
    return None if text == b"default" else int(text)


async def branchall(step: Step) -> End:
    """Walk all branches; the result is the array of their results."""
    value = step.module.value
    if not isinstance(value, BranchAll):
        raise AssertionError(f"BUG: {value.type} is no branchall")
    step.status.type, step.status.parallel = "InProgress", value.parallel
    step.status.branchall = {"branch": 0, "len": len(value.branches)}
    if value.parallel:
        walks = [
            partial(step.walk.body, step, index, f".branch[{index}]", branch.modules, {})
            for index, branch in enumerate(value.branches)
        ]
        ends = await step.world.activity.together(walks)
    else:
        ends = await _in_turn(step, value)
    return await _all_of(step, value, ends)


async def _in_turn(step: Step, value: BranchAll) -> list[End]:
    """One branch after the other, up to the first that ends it: by a failure or an early stop."""
    ends: list[End] = []
    for index, branch in enumerate(value.branches):
        step.status.branchall = {"branch": index, "len": len(value.branches)}
        end = await step.walk.body(step, index, f".branch[{index}]", branch.modules, {})
        ends.append(end)
        if end.final or (end.ok and end.stop is not None) or not (end.ok or branch.skip_failure):
            break
    return ends


async def _all_of(step: Step, value: BranchAll, ends: list[End]) -> End:
    """The branches' ends as one."""
    final = next((end for end in ends if end.final), None)
    if final is not None:
        return End(final.value, ok=False, final=True, job=final.job)
    results = await Many.of(step, ends)
    wrong = [
        end for end, branch in zip(ends, value.branches, strict=False) if not (end.ok or branch.skip_failure)
    ]
    stop = next((end.stop for end in ends if end.ok and end.stop), None) if not value.parallel else None
    return End(
        results.value,
        ok=not wrong,
        job=ends[-1].job if ends else None,
        stop=stop if not wrong else None,
        handled=bool(wrong) and all(end.handled for end in wrong),
    )
