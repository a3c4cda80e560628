"""`rawscript` and `script`: a script in a container of its own."""

from __future__ import annotations

import json
from dataclasses import replace

from executor.errors import Reason
from executor.flows.document import PathScript, RawScript
from executor.flows.step import Step
from executor.flows.transforms import StepFailed
from executor.flows.values import Args, End, failed
from executor.flows.world import Concurrency, ScriptCall
from executor.script import compact_json


async def rawscript(step: Step) -> End:
    """Run a script that stands in the flow itself."""
    return await run_script(step)


async def script(step: Step) -> End:
    """Run a script of the workspace, the latest version or the one named."""
    return await run_script(step)


async def run_script(step: Step, args: Args | None = None) -> End:
    """Evaluate the arguments, unless they are given, and the time limit; run the script."""
    call = await _call_of(step)
    home, module = step.walk.home, step.module
    try:
        args = await arguments(step) if args is None else args
        timeout_s = await _timeout(step)
    except StepFailed as failure:
        return await _failed_at_once(step, call, failure.end)
    priority = module.priority if module.priority is not None else home.priority
    return await step.world.script(
        replace(
            call,
            args=args,
            tag=home.tag or call.tag,
            timeout_s=call.timeout_s if timeout_s is None else timeout_s,
            priority=call.priority if priority is None else priority,
            cache_ttl_s=module.cache_ttl or call.cache_ttl_s,
        ),
        step.has_job,
    )


async def _call_of(step: Step) -> ScriptCall:
    """What is to run: the script in the module, or the stored one that it names."""
    match step.module.value:
        case RawScript() as raw:
            place = step.place(job_path=raw.path)
            return ScriptCall(
                place,
                "preview",
                raw.language,
                raw.content,
                lock=raw.lock,
                tag=raw.tag,
                concurrency=_concurrency(raw),
            )
        case PathScript() as named:
            return await _stored(step, named)
        case other:
            raise AssertionError(f"BUG: {other.type} is no script")


def _concurrency(raw: RawScript) -> Concurrency | None:
    if raw.concurrent_limit is None:
        return None
    return Concurrency(raw.concurrent_limit, raw.concurrency_time_window_s, raw.custom_concurrency_key)


async def _stored(step: Step, named: PathScript) -> ScriptCall:
    stored = await step.world.script_at(named.path, named.hash)
    if stored is None:
        what = f"version {named.hash} of script" if named.hash else "script"
        message = f"there is no {what} {named.path!r} in this workspace"
        if named.path.startswith("hub/"):
            message += "; this version does not reach the hub, so store a copy of the script"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    return ScriptCall(
        step.place(job_path=stored.path),
        "script",
        stored.language,
        stored.content,
        lock=stored.lock,
        hash=stored.hash,
        tag=named.tag_override or stored.tag,
        timeout_s=stored.timeout_s,
        priority=stored.priority or 0,
        cache_ttl_s=stored.cache_ttl_s,
    )


async def arguments(step: Step) -> Args:
    """The step's evaluated transforms; a retry has those of the first run."""
    transforms = step.module.transforms

    async def evaluated() -> dict[str, bytes]:
        return {name: await step.view.value_of(transform) for name, transform in transforms.items()}

    async def act() -> bytes:
        return compact_json({name: text.decode() for name, text in (await evaluated()).items()})

    if not step.retries:
        return Args.of(await evaluated())
    recalled = json.loads(await step.world.once(f"{step.base_path}/args", act))
    return Args.of({name: text.encode() for name, text in recalled.items()})


async def _timeout(step: Step) -> float | None:
    transform = step.module.timeout
    if transform is None:
        return None
    text = await step.view.value_of(transform)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if text == b"null":
        return None
    if not 0 < seconds < float("inf"):
        message = f"timeout: expected a positive number of seconds, found: {text.decode()[:100]}"
        raise StepFailed(failed(Reason.BAD_INPUT, message))
    return seconds


async def _failed_at_once(step: Step, call: ScriptCall, end: End) -> End:
    """The job of a step whose arguments could not be made: it is there, and has failed."""

    async def failure() -> End:
        return end.of_step(step.module.id)

    return await step.world.engine_job(call.place, Args.of({}), failure, call.kind)
