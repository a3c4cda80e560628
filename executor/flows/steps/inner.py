"""`flow`: a flow of the workspace as a step."""

from __future__ import annotations

from dataclasses import replace

from executor.errors import Reason
from executor.flows.document import InnerFlow
from executor.flows.step import Step
from executor.flows.steps.script import arguments
from executor.flows.transforms import StepFailed
from executor.flows.values import End, failed


async def inner_flow(step: Step) -> End:
    """Walk the latest version of a stored flow; an early stop or a failure module inside stays inside."""
    value = step.module.value
    if not isinstance(value, InnerFlow):
        raise AssertionError(f"BUG: {value.type} is no inner flow")
    most = step.world.depth_max
    if step.walk.depth >= most:
        message = f"flow {value.path!r}: flows call flows over {most} levels deep (EXECUTOR_FLOW_DEPTH_MAX)"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    flow = await step.world.flow_at(value.path, step.path)
    if flow is None:
        raise StepFailed(failed(Reason.BAD_INPUT, f"there is no flow {value.path!r} in this workspace"))
    step.status.type = "InProgress"
    end = await step.walk.inner(step, flow, value.path, await arguments(step))
    return replace(end, stop=None, skipped=False, handled=False)
