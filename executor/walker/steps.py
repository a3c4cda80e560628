"""From a step of a flow to the script job that runs it. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from executor.flows.world import ScriptCall
from executor.jobs.concurrency import key_of
from executor.jobs.job import Job, NewJob, new_id
from executor.script import Limits, compact_json, resolve_limits
from executor.settings import LimitBounds


def step_job(run: Job, call: ScriptCall, bounds: LimitBounds, now: int, *, shared: bool) -> NewJob:
    """The job of a step; with `shared` it gets the run's directory."""
    return NewJob(
        id=new_id(),
        workspace_id=run.workspace_id,
        kind=call.kind,
        language=call.language,
        content=call.content,
        args=call.args.text,
        limits=_limits(call.timeout_s, bounds),
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
        priority=call.priority,
        **_concurrency(run, call),
        shared=shared,
        cache_key=_cache_key(call) if call.cache_ttl_s else None,
        cache_ttl_s=None if not call.cache_ttl_s else int(call.cache_ttl_s),
    )


def _limits(timeout_s: float | None, bounds: LimitBounds) -> Limits:
    """The instance's, with the step's own time limit, unless that is above the maximum."""
    is_allowed = timeout_s is not None and timeout_s <= bounds.timeout_s.maximum
    return resolve_limits({"timeout_s": timeout_s} if is_allowed else {}, bounds)


def _concurrency(run: Job, call: ScriptCall) -> dict[str, Any]:
    asked = call.concurrency
    if asked is None:
        return {}
    args = {name: json.loads(text) for name, text in call.args.values.items()} if asked.key else {}
    return {
        "concurrency_key": key_of(asked.key, run.workspace_id, "script", call.place.job_path, args),
        "concurrency_limit": asked.limit,
        "concurrency_window_s": int(asked.window_s) or None,
    }


def _cache_key(call: ScriptCall) -> str:
    """What a result depends on: the script, and every argument (docs/openflow.md section 1.9)."""
    script = [call.hash] if call.hash else [call.place.job_path, call.language, call.content, call.lock]
    args = sorted((name, text.decode()) for name, text in call.args.values.items())
    return hashlib.sha256(compact_json([call.kind, script, args])).hexdigest()
