"""What a flow's document means for the row of its run; shared by every route that starts one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executor.flows.document import Flow
from executor.flows.walk import first_status, ignored
from executor.jobs.cache import flow_key
from executor.jobs.concurrency import key_of
from executor.script import compact_json


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
    if flow.concurrent_limit is None:
        return {}
    return {
        "concurrency_key": key_of(flow.concurrency_key, workspace_id, "flow", path, args),
        "concurrency_limit": flow.concurrent_limit,
        "concurrency_window_s": int(flow.concurrency_time_window_s) or None,
    }
