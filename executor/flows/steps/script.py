"""`rawscript` and `script`: a script in a container of its own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from executor.errors import Reason
from executor.flows.document import PathScript, RawScript
from executor.flows.step import Step
from executor.flows.transforms import StepFailed
from executor.flows.values import Args, End, failed, too_many_jobs
from executor.flows.world import Concurrency, ScriptCall
from executor.script import compact_json


async def rawscript(step: Step) -> End:
    """Run a script that stands in the flow itself."""
    return await run_script(step)


async def script(step: Step) -> End:
    """Run a script of the workspace, the latest version or the one named."""
    return await run_script(step)


async def run_script(step: Step, args: Args | None = None) -> End:
    """Run the script, unless an earlier walk has; it gets the evaluated transforms, or `args`."""
    recalled = await step.world.recalled(step.path, step.has_job)
    if recalled is not None:
        return recalled
    if (why := step.world.no_room(step.path)) is not None:
        return too_many_jobs(why)
    call = _call_of(step)
    try:
        call = await _filled(step, call)
        call = replace(
            call,
            args=await arguments(step) if args is None else args,
            timeouts_s=await _timeouts(step, call),
        )
    except StepFailed as failure:
        end = failure.end.of_step(step.module.id)
        return await step.world.ended_script(call, end)
    return await step.world.script(call, step.has_job)


def _call_of(step: Step) -> ScriptCall:
    """What the module itself says of its script."""
    home, module = step.walk.home, step.module
    match module.value:
        case RawScript() as raw:
            return ScriptCall(
                step.place(job_path=raw.path),
                "preview",
                raw.language,
                raw.content,
                lock=raw.lock,
                tag=home.tag or raw.tag,
                priority=module.priority if module.priority is not None else home.priority,
                cache_ttl_s=module.cache_ttl,
                concurrency=_concurrency(
                    raw.concurrent_limit, raw.concurrency_time_window_s, raw.custom_concurrency_key
                ),
            )
        case PathScript() as named:
            return ScriptCall(
                step.place(job_path=named.path),
                "script",
                tag=home.tag or named.tag_override,
                priority=module.priority,
                cache_ttl_s=module.cache_ttl,
            )
        case other:
            raise AssertionError(f"BUG: {other.type} is no script")


def _concurrency(limit: int | None, window_s: float | None, key: str | None) -> Concurrency | None:
    return None if limit is None else Concurrency(limit, window_s or 0, key)


async def _filled(step: Step, call: ScriptCall) -> ScriptCall:
    """The call with what the stored script that it names says; raises StepFailed if there is none.

    What the module says comes first, then the script, then the flow.
    """
    named = step.module.value
    if not isinstance(named, PathScript):
        return call
    stored = await step.world.script_at(named.path, named.hash)
    if stored is None:
        what = f"version {named.hash} of script" if named.hash else "script"
        message = f"there is no {what} {named.path!r} in this workspace"
        if named.path.startswith("hub/"):
            message += "; this version does not reach the hub, so store a copy of the script"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    priorities = (call.priority, stored.priority, step.walk.home.priority)
    return replace(
        call,
        place=step.place(job_path=stored.path),
        language=stored.language,
        content=stored.content,
        lock=stored.lock,
        hash=stored.hash,
        tag=call.tag or stored.tag,
        priority=next((priority for priority in priorities if priority is not None), None),
        timeouts_s=() if stored.timeout_s is None else (stored.timeout_s,),
        cache_ttl_s=call.cache_ttl_s or stored.cache_ttl_s,
        concurrency=_concurrency(
            stored.concurrent_limit, stored.concurrency_window_s, stored.concurrency_key
        ),
    )


async def arguments(step: Step, *, kept: bool = False) -> Args:
    """The step's evaluated transforms; a retry has those of the first run. Raises StepFailed.

    `kept`: so has every later walk of the run. A script's are kept by its job anyway.
    """
    transforms = step.module.transforms
    fresh: Args | None = None

    async def evaluated() -> Args:
        values = {name: await step.view.value_of(transform) for name, transform in transforms.items()}
        return _held(step, Args.of(values))

    async def act() -> bytes:
        nonlocal fresh
        fresh = await evaluated()
        return compact_json({name: text.decode() for name, text in fresh.values.items()})

    if not (kept or step.retries):
        return await evaluated()
    text = await _first_success(step, act)
    if fresh is not None:
        return fresh
    return _held(step, Args.of({name: value.encode() for name, value in json.loads(text).items()}))


def _held(step: Step, args: Args) -> Args:
    if (why := step.world.hold(step.path, args)) is not None:
        raise StepFailed(failed(Reason.BAD_INPUT, why))
    return args


async def _first_success(step: Step, act: Callable[[], Awaitable[bytes]]) -> bytes:
    """What `act` gave in the first attempt in which it did not fail."""
    for attempt in range(step.attempt):
        with suppress(StepFailed):
            return await replace(step, attempt=attempt).decided("args", act)
    return await step.decided("args", act)


async def _timeouts(step: Step, call: ScriptCall) -> tuple[float, ...]:
    """The module's own time limit before what the script has."""
    transform = step.module.timeout
    if transform is None:
        return call.timeouts_s
    text = await step.view.value_of(transform)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if text == b"null":
        return call.timeouts_s
    if not 0 < seconds < float("inf"):
        message = f"timeout: expected a positive number of seconds, found: {text.decode()[:100]}"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    return (seconds, *call.timeouts_s)
