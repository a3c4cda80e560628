"""`flow`: a flow of the workspace as a step."""

from __future__ import annotations

from dataclasses import replace

from executor.errors import Reason
from executor.flows.document import InnerFlow
from executor.flows.step import Step
from executor.flows.steps.script import arguments
from executor.flows.transforms import StepFailed
from executor.flows.values import NO_ARGS, Args, End, Value, failed, too_many_jobs
from executor.flows.world import StoredFlow


async def inner_flow(step: Step) -> End:
    """Walk the latest version of a stored flow; an early stop or a failure module inside stays inside."""
    value = step.module.value
    if not isinstance(value, InnerFlow):
        raise AssertionError(f"BUG: {value.type} is no inner flow")
    try:
        stored = await _flow_of(step, value.path)
        args = await arguments(step, kept=True)
    except StepFailed as failure:
        return await _ended(step, value.path, NO_ARGS, failure.end.of_step(step.module.id))
    kept = await _kept_result(step, stored, value.path, args)
    if kept is not None:
        return await _ended(step, value.path, args, End(Value(kept)))
    if (why := step.world.no_room(step.path)) is not None:
        return too_many_jobs(why)
    step.status.type = "InProgress"
    end = await step.walk.inner(step, stored, value.path, args)
    return replace(end, stop=None, skipped=False, handled=False)


async def _flow_of(step: Step, path: str) -> StoredFlow:
    """The flow that runs at a path; raises StepFailed."""
    most = step.world.depth_max
    if step.walk.depth >= most:
        message = f"flow {path!r}: flows call flows over {most} levels deep (EXECUTOR_FLOW_DEPTH_MAX)"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    stored = await step.world.flow_at(path, step.path)
    if stored is None:
        raise StepFailed(failed(Reason.BAD_INPUT, f"there is no flow {path!r} in this workspace"))
    return stored


async def _kept_result(step: Step, stored: StoredFlow, path: str, args: Args) -> bytes | None:
    """The result of an earlier run with this input, where the flow keeps its results."""
    if not stored.flow.cache_ttl:
        return None

    async def act() -> bytes:
        found = await step.world.kept_result(stored, path, args)
        return b"" if found is None else found

    return await step.decided("kept", act) or None


async def _ended(step: Step, path: str, args: Args, end: End) -> End:
    """The inner flow's job, which is there, and has ended without a step."""

    async def known() -> End:
        return end

    return await step.world.engine_job(step.place(job_path=path), args, known, "flow")
