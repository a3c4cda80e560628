"""The environment a script finds (docs/openflow.md section 4.7). Pure.

Nothing of the service's own environment is in it. A value that does not exist is the empty string.
"""

from __future__ import annotations

from datetime import timedelta

from executor.jobs.job import EPOCH, Job


def environment(job: Job, base_url: str, token: str = "") -> dict[str, str]:
    """The variables of one script job; `token` is its own, which holds as long as it runs."""
    user = job.created_by
    path = job.path or ""
    is_step = job.run_id is not None
    return {
        "WM_WORKSPACE": job.workspace_id,
        "WM_TOKEN": token,
        "WM_EMAIL": "",
        "WM_USERNAME": user,
        "WM_BASE_URL": base_url,
        "WM_JOB_ID": job.id,
        "WM_SCHEDULED_FOR": iso(job.scheduled_for),
        "WM_JOB_PATH": path,
        "WM_FLOW_JOB_ID": job.parent_job or "" if is_step else "",
        "WM_ROOT_FLOW_JOB_ID": job.root_job or "",
        "WM_FLOW_PATH": job.flow_path or "",
        "WM_SCHEDULE_PATH": "",
        "WM_PERMISSIONED_AS": f"u/{user}",
        "WM_STATE_PATH": _state_path(job),
        "WM_FLOW_STEP_ID": job.step_id or "",
        "WM_OBJECT_PATH": "",
        "WM_WORKER_GROUP": "default",
        "BASE_INTERNAL_URL": base_url,
        "TZ": "UTC",
    }


def _state_path(job: Job) -> str:
    """Where a script's state is kept: by flow and step, by script, or by user for a preview."""
    user = job.created_by
    if job.run_id is not None and job.flow_path:
        return f"{job.flow_path}/{job.step_id or 'nostep'}_{user}"
    if job.kind == "script" and job.path:
        return f"{job.path}/webhook"
    return f"u/{user}/tmp_state"


def iso(micros: int) -> str:
    """Microseconds since 1970 as an RFC 3339 timestamp in UTC."""
    return (EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")
