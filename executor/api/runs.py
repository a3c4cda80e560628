"""What a flow's document means for the row of its run; shared by every route that starts one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from executor.flows.document import Flow
from executor.flows.walk import first_status
from executor.jobs.concurrency import key_of


def fields_of_run(
    flow: Flow, value: Any, run_id: str, workspace_id: str, path: str | None, args: dict[str, Any]
) -> dict[str, Any]:
    """The fields of a run's NewJob that follow from the flow; `value` is its document as it was handed in."""
    return {
        "language": "",
        "role": "run",
        "run_id": run_id,
        "run_path": "",
        "priority": flow.priority or 0,
        "cache_key": _cache_key(path, value, args) if flow.cache_ttl else None,
        "cache_ttl_s": int(flow.cache_ttl) or None,
        "flow_status": first_status(flow).text,
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


def _cache_key(path: str | None, value: Any, args: dict[str, Any]) -> str:
    """What a flow's kept result depends on."""
    whole = json.dumps([path, value, args], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()
