"""A job: a durable request to run one script, and what became of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from executor.jobs.clock import CLOCK
from executor.script import Limits

State = Literal["queued", "running", "completed"]
Role = Literal["script", "run", "part"]
"""A script in a container; a flow run; a flow job inside a run (a branch, an iteration, an inner flow)."""
OutputKind = Literal["log", "stream"]

DELETED_LOG = "##DELETED##"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Status(StrEnum):
    """How a completed job ended (docs/openflow.md section 3.3)."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELED = "canceled"
    SKIPPED = "skipped"

    @property
    def is_success(self) -> bool:
        """A skipped job counts as successful."""
        return self in (Status.SUCCESS, Status.SKIPPED)


@dataclass(frozen=True)
class NewJob:
    """A validated request, not stored yet. `args` is a JSON object as bytes; times in microseconds."""

    id: str
    workspace_id: str
    kind: str
    language: str
    content: str
    args: bytes
    limits: Limits
    request_hash: str
    created_by: str
    created_at: int
    scheduled_for: int
    tag: str
    path: str | None = None
    lock: str | None = None
    parent_job: str | None = None
    root_job: str | None = None
    role: Role = "script"
    run_id: str | None = None
    run_path: str | None = None
    step_id: str | None = None
    flow_path: str | None = None
    script_hash: str | None = None
    priority: int = 0
    restarted_from: str | None = None
    flow_status: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    concurrency_window_s: int | None = None
    shared: bool = False
    cache_key: str | None = None
    cache_ttl_s: int | None = None
    preprocessed: bool = False
    secrets: str | None = None
    """JSON: references to secrets that expressions of its run have read, so that its arguments may hold them."""
    log: str = ""
    """What its log begins with: what of the request is not acted on."""


@dataclass(frozen=True)
class Job:
    """A stored job, without the values that may be big: its arguments, result and output."""

    id: str
    workspace_id: str
    state: State
    status: Status | None
    kind: str
    language: str
    content: str
    path: str | None
    tag: str
    lock: str | None
    limits: Limits
    request_hash: str
    parent_job: str | None
    root_job: str | None
    created_by: str
    created_at: int
    scheduled_for: int
    started_at: int | None
    completed_at: int | None
    worker_id: str | None
    container: str | None
    attempt: int
    canceled_by: str | None
    canceled_reason: str | None
    reason: str | None
    labels: list[str] | None
    memory_peak_bytes: int | None
    cpu_ms: int | None
    isolation: Mapping[str, Any] | None
    deleted: bool
    role: Role = "script"
    run_id: str | None = None
    run_path: str | None = None
    step_id: str | None = None
    flow_path: str | None = None
    script_hash: str | None = None
    priority: int = 0
    flow_status: str | None = None
    suspend: int = 0
    suspend_until: int | None = None
    preprocessed: bool = False
    restarted_from: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    concurrency_window_s: int | None = None
    shared: bool = False
    cache_key: str | None = None
    cache_ttl_s: int | None = None
    secrets: str | None = None
    progress: int | None = None
    """Percent, as the script says."""

    @property
    def is_flow(self) -> bool:
        """Whether it is a flow job, of which a walk is all that runs."""
        return self.role != "script"

    @property
    def has_started(self) -> bool:
        """Whether it runs, or has run: a flow that was put down to wait for an approval, too."""
        return self.state == "running" or self.started_at is not None

    @property
    def duration_ms(self) -> int | None:
        """From start to end, in milliseconds; None until it has both."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at) // 1000


def new_id() -> str:
    """A job id nobody can guess: a random UUID (RFC 9562 version 4)."""
    return str(uuid.uuid4())


def now_us() -> int:
    """The time now, in microseconds since 1970, UTC; in one process it never goes back."""
    return CLOCK.now_us()


def as_us(when: datetime) -> int:
    """A time in microseconds since 1970, exactly; one without a zone is UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


NOTHING_YET = (
    "status",
    "completed_at",
    "container",
    "canceled_by",
    "canceled_reason",
    "reason",
    "labels",
    "memory_peak_bytes",
    "cpu_ms",
    "isolation",
)


def leased(new: NewJob, worker_id: str) -> Job:
    """The job as it is stored when a worker has it from the very first."""
    values = {key: value for key, value in vars(new).items() if key not in ("args", "log")}
    nothing_yet: dict[str, Any] = dict.fromkeys(NOTHING_YET)
    return Job(
        **values,
        **nothing_yet,
        state="running",
        started_at=new.created_at,
        worker_id=worker_id,
        attempt=1,
        deleted=False,
    )
