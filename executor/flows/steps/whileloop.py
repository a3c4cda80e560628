"""`whileloopflow`: its modules again and again, until a stop."""

from __future__ import annotations

from executor.errors import Reason
from executor.flows.document import WhileLoop
from executor.flows.step import Step
from executor.flows.steps.forloop import breaks, iteration
from executor.flows.steps.many import Many
from executor.flows.values import End, failed


async def whileloop(step: Step) -> End:
    """Repeat the body; the result is the array of its results."""
    loop = step.module.value
    if not isinstance(loop, WhileLoop):
        raise AssertionError(f"BUG: {loop.type} is no while-loop")
    step.status.type, step.status.while_loop, step.status.items = "InProgress", True, ()
    results = Many(step)
    for index in range(step.world.iterations_max):
        step.status.iterator = {"index": index}
        end = await iteration(step, loop, index, str(index).encode(), own_results=False)
        if end.final or not (end.ok or loop.skip_failures):
            return End(end.value, ok=False, final=end.final, handled=end.handled, job=end.job)
        await results.add(end)
        if end.stop is not None or await breaks(step, index, end, results):
            return End(results.value, job=end.job)
    message = f"the loop has not stopped after {step.world.iterations_max} iterations (EXECUTOR_FLOW_ITERATIONS_MAX)"
    return failed(Reason.BAD_INPUT, message)
