"""From a step of a flow to the script job that runs it. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial
from typing import Any

from executor.flows.document import Flow
from executor.flows.values import Args
from executor.flows.world import ScriptCall
from executor.jobs.cache import script_key
from executor.jobs.concurrency import Share
from executor.jobs.job import Job, NewJob, new_id
from executor.script import Limits, resolve_limits
from executor.settings import LimitBounds


def step_job(
    run: Job,
    call: ScriptCall,
    bounds: LimitBounds,
    now: int,
    *,
    shared: bool,
    secrets: Collection[str] = (),
) -> NewJob:
    """The job of a step; with `shared` it gets the run's directory, and what `secrets` name is masked in its log."""
    limits, log = _limits(call.timeouts_s, bounds)
    return NewJob(
        id=new_id(),
        workspace_id=run.workspace_id,
        kind=call.kind,
        language=call.language,
        content=call.content,
        args=call.args.text,
        limits=limits,
        request_hash="",
        created_by=run.created_by,
        created_at=now,
        scheduled_for=now,
        tag=call.tag or call.language,
        path=call.place.job_path,
        lock=call.lock,
        parent_job=call.place.parent,
        root_job=run.id,
        run_id=run.id,
        run_path=call.place.path,
        step_id=call.place.step_id,
        flow_path=run.path,
        script_hash=call.hash,
        priority=call.priority or 0,
        **_concurrency(run, call),
        shared=shared,
        cache_key=_cache_key(call) if call.cache_ttl_s else None,
        cache_ttl_s=None if not call.cache_ttl_s else int(call.cache_ttl_s),
        secrets=json.dumps(sorted(secrets)) if secrets else None,
        log=log,
    )


def _limits(timeouts_s: tuple[float, ...], bounds: LimitBounds) -> tuple[Limits, str]:
    """The instance's, with the first time limit that it allows; and a line for each that it does not."""
    most = bounds.timeout_s.maximum
    allowed = [seconds for seconds in timeouts_s if seconds <= most]
    limits = resolve_limits({"timeout_s": allowed[0]} if allowed else {}, bounds)
    ignored = timeouts_s[: timeouts_s.index(allowed[0])] if allowed else timeouts_s
    lines = [
        f"WARNING: the timeout of {seconds:g} s is ignored: it is above the maximum of {most:g} s "
        f"(limits.timeout_s); {limits.timeout_s:g} s apply\n"
        for seconds in ignored
    ]
    return limits, "".join(lines)


def _concurrency(run: Job, call: ScriptCall) -> dict[str, Any]:
    asked = call.concurrency
    if asked is None:
        return {}
    args = decoded(call.args) if asked.key else {}
    here = partial(Share.of, workspace_id=run.workspace_id, kind="script", path=call.place.job_path)
    share = here(asked.limit, asked.window_s, asked.key, args=args)
    return {} if share is None else share.columns


def share_of(run: Job, flow: Flow, path: str | None, args: Args) -> Share | None:
    """What an inner flow has to share with other runs of it; None if it is not limited."""
    named = decoded(args) if flow.concurrent_limit is not None and flow.concurrency_key else {}
    here = partial(Share.of, workspace_id=run.workspace_id, kind="flow", path=path, args=named)
    return here(flow.concurrent_limit, flow.concurrency_time_window_s, flow.concurrency_key)


def decoded(args: Args) -> dict[str, Any]:
    """Arguments as a key that names them looks into them."""
    return {name: json.loads(text) for name, text in args.values.items()}


def _cache_key(call: ScriptCall) -> str:
    script = [call.hash] if call.hash else [call.place.job_path, call.language, call.content, call.lock]
    return script_key(call.kind, script, call.args.values)
