"""What a request, and a flow's document, mean for the row of a job; shared by every route that starts one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from executor.api.models import RunQuery
from executor.api.problems import shown
from executor.errors import BadInput
from executor.flows.document import Flow
from executor.flows.walk import first_status, ignored
from executor.jobs.cache import flow_key
from executor.jobs.concurrency import Share
from executor.jobs.job import as_us
from executor.script import check_limit, compact_json

FOREVER_S = 1e9
"""No time limit of any workspace is longer."""


def fields_of_run(
    flow: Flow,
    value: Any,
    run_id: str,
    workspace_id: str,
    path: str | None,
    args: dict[str, Any],
    restarted_from: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields of a run's NewJob that follow from the flow; `value` is its document as it was handed in.

    A restarted run neither uses nor leaves a kept result: it is asked for because it is to run.
    """
    keeps = bool(flow.cache_ttl) and restarted_from is None
    return {
        "language": "",
        "role": "run",
        "run_id": run_id,
        "run_path": "",
        "priority": flow.priority or 0,
        "cache_key": flow_key(path, value, args) if keeps else None,
        "cache_ttl_s": (int(flow.cache_ttl) or None) if keeps else None,
        "flow_status": first_status(flow).text,
        "restarted_from": None if restarted_from is None else compact_json(dict(restarted_from)).decode(),
        "log": ignored(flow),
        **_concurrency(flow, workspace_id, path, args),
    }


def _concurrency(flow: Flow, workspace_id: str, path: str | None, args: dict[str, Any]) -> dict[str, Any]:
    share = Share.of(
        flow.concurrent_limit,
        flow.concurrency_time_window_s,
        flow.concurrency_key,
        workspace_id=workspace_id,
        kind="flow",
        path=path,
        args=args,
    )
    return {} if share is None else share.columns


def request_hash(said: Mapping[str, Any], query: RunQuery) -> str:
    """What makes two submissions the same request: everything but the id and the credentials."""
    if query.timeout is not None:
        check_limit(
            "timeout", query.timeout, FOREVER_S, "query"
        )  # the workspace's bound is looked at for scripts
    asked = query.model_dump(mode="json", exclude={"job_id", "token"})
    return hashlib.sha256(compact_json({**said, "query": asked})).hexdigest()


def scheduled_for(query: RunQuery, now: int) -> int:
    """When the job is due, in microseconds; `now` at the earliest. Raises BadInput."""
    if query.scheduled_in_secs is not None:
        return now + query.scheduled_in_secs * 1_000_000
    if query.scheduled_for is None:
        return now
    when = as_us(query.scheduled_for)
    if when > as_us(datetime(9000, 1, 1)):
        raise BadInput(
            f"scheduled_for: {shown(str(query.scheduled_for))} is too far away",
            field="scheduled_for",
            remedy="use a year below 9000",
        )
    return max(now, when)
