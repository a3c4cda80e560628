"""Wire shapes: what requests may say, and how jobs are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from executor.jobs.environment import iso
from executor.jobs.job import Job, Status
from executor.workspace.workspaces import Workspace

NAME_PATTERN = r"^[^\x00-\x1f\x7f]{1,255}$"
SECONDS_MAX = 10 * 366 * 24 * 3600

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class PreviewRequest(BaseModel):
    """The body of `jobs/run/preview`; further members are ignored, as Windmill does."""

    model_config = ConfigDict(strict=True)

    content: str = Field(description="the script's source")
    language: str = Field(description="a language of GET /api/runtimes")
    args: dict[str, Any] | None = Field(None, description="arguments of `main`, by name")
    path: Name | None = Field(None, description="the path the script runs under")
    tag: Name | None = None
    lock: str | None = None
    kind: Literal["code", "script"] | None = None
    limits: dict[str, Any] | None = Field(None, description="see docs/openflow.md section 6.1")


class RestartedFrom(BaseModel):
    """The run, and the place in it, from which a flow goes on (docs/openflow.md section 3.5)."""

    model_config = ConfigDict(strict=True)

    flow_job_id: str
    step_id: str
    branch_or_iteration_n: int | None = Field(None, ge=0)


class PreviewFlowRequest(BaseModel):
    """The body of `jobs/run/preview_flow`; further members are ignored, as Windmill does."""

    model_config = ConfigDict(strict=True)

    value: Any = Field(description="the OpenFlow document: docs/openflow.md section 1")
    args: dict[str, Any] | None = Field(None, description="the flow's input, by name")
    path: Name | None = Field(None, description="the path the flow runs under")
    tag: Name | None = None
    restarted_from: RestartedFrom | None = None
    input_schema: Any = Field(None, alias="schema", description="JSON Schema of the input, section 6.4")


class CancelRequest(BaseModel):
    """The body of `jobs_u/queue/cancel/{id}`."""

    model_config = ConfigDict(strict=True)

    reason: str | None = Field(None, max_length=10_000)


class RunQuery(BaseModel):
    """Query parameters of every submission that this version acts on."""

    job_id: UUID | None = Field(None, description="an id of the client's choice: the idempotency key")
    scheduled_for: datetime | None = None
    scheduled_in_secs: int | None = Field(None, ge=0, le=SECONDS_MAX)
    parent_job: UUID | None = None
    root_job: UUID | None = None
    tag: Name | None = None
    timeout: float | None = Field(None, description="seconds; wins over limits.timeout_s")
    token: str | None = Field(None, description="credentials, where a header cannot be sent")
    validate_args: bool | None = Field(
        None, description="false: values may be missing or of other types than the schema says"
    )

    def checks_args(self, workspace: Workspace) -> bool:
        """Whether the input spec is a check: the query's word, else the workspace's."""
        return workspace.policy.validate_args if self.validate_args is None else self.validate_args


def job_members(job: Job, *, with_code: bool = True) -> dict[str, Any]:
    """A job as Windmill's clients know it, and what we add (`status`, `reason`, `limits`, `sandbox`)."""
    members: dict[str, Any] = {
        "type": "CompletedJob" if job.state == "completed" else "QueuedJob",
        "id": job.id,
        "workspace_id": job.workspace_id,
        "parent_job": job.parent_job,
        "root_job": job.root_job,
        "created_by": job.created_by,
        "created_at": iso(job.created_at),
        "scheduled_for": iso(job.scheduled_for),
        "started_at": None if job.started_at is None else iso(job.started_at),
        "script_path": job.path,
        "script_hash": job.script_hash,
        "job_kind": job.kind,
        "language": job.language or None,
        "tag": job.tag,
        "permissioned_as": f"u/{job.created_by}",
        "canceled": job.status is Status.CANCELED
        or (job.state != "completed" and job.canceled_by is not None),
        "canceled_by": job.canceled_by,
        "canceled_reason": job.canceled_reason,
        "is_flow_step": job.step_id is not None,
        "flow_step_id": job.step_id,
        "priority": job.priority,
        "preprocessed": job.preprocessed,
        "mem_peak": None if job.memory_peak_bytes is None else job.memory_peak_bytes // 1024,
        "labels": job.labels,
        "attempt": job.attempt,
        "limits": vars(job.limits),
        "sandbox": job.isolation,
    }
    if with_code:
        members["raw_code"] = None if job.is_flow else job.content
        members["raw_lock"] = job.lock
    if job.state == "completed":
        members.update(_completed(job))
    else:
        until = job.suspend_until
        members.update(
            running=job.state == "running" or job.started_at is not None,
            suspend=job.suspend,
            suspend_until=None if until is None else iso(until),
        )
    return members


def _completed(job: Job) -> dict[str, Any]:
    if job.status is None or job.completed_at is None:
        raise AssertionError(f"BUG: completed job {job.id} has no end")
    return {
        "success": job.status.is_success,
        "status": job.status.value,
        "reason": job.reason,
        "is_skipped": job.status is Status.SKIPPED,
        "completed_at": iso(job.completed_at),
        "duration_ms": job.duration_ms,
        "cpu_ms": job.cpu_ms,
        "deleted": job.deleted,
    }
