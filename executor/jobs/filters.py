"""What a list of jobs may be narrowed by, as conditions on the jobs table."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, true

from executor.jobs.job import Status
from executor.storage.tables import jobs


def conditions(
    workspace_id: str,
    *,
    completed: bool | None = None,
    script_path_exact: str | None = None,
    script_path_start: str | None = None,
    created_by: str | None = None,
    started_before: int | None = None,
    started_after: int | None = None,
    created_before: int | None = None,
    created_after: int | None = None,
    success: bool | None = None,
    running: bool | None = None,
    parent_job: str | None = None,
    job_kinds: list[str] | None = None,
    is_skipped: bool | None = None,
    is_flow_step: bool | None = None,
    has_null_parent: bool | None = None,
    tag: str | None = None,
    label: str | None = None,
    worker: str | None = None,
) -> list[ColumnElement[bool]]:
    """All of the given ones must hold; None means any. Times in microseconds, bounds exclusive."""
    good = jobs.c.status.in_([status for status in Status if status.is_success])
    asked: list[tuple[Any, ColumnElement[bool]]] = [
        (completed, _is(jobs.c.state == "completed", completed)),
        (script_path_exact, jobs.c.path == script_path_exact),
        (script_path_start, _starts(script_path_start)),
        (created_by, jobs.c.created_by == created_by),
        (started_before, jobs.c.started_at < started_before),
        (started_after, jobs.c.started_at > started_after),
        (created_before, jobs.c.created_at < created_before),
        (created_after, jobs.c.created_at > created_after),
        (success, and_(jobs.c.status.is_not(None), _is(good, success))),
        (running, _is(jobs.c.state == "running", running)),
        (parent_job, jobs.c.parent_job == parent_job),
        (job_kinds, jobs.c.kind.in_(job_kinds or [])),
        (is_skipped, _is(func.coalesce(jobs.c.status, "") == Status.SKIPPED.value, is_skipped)),
        (is_flow_step, false() if is_flow_step else true()),
        (has_null_parent, _is(jobs.c.parent_job.is_(None), has_null_parent)),
        (tag, jobs.c.tag == tag),
        (label, _labelled(label)),
        (worker, jobs.c.worker_id == worker),
    ]
    return [jobs.c.workspace_id == workspace_id, *(what for given, what in asked if given is not None)]


def _is(condition: ColumnElement[bool], wanted: bool | None) -> ColumnElement[bool]:
    return condition if wanted else ~condition


def _starts(prefix: str | None) -> ColumnElement[bool]:
    return jobs.c.path.startswith(prefix or "", autoescape=True)


def _labelled(label: str | None) -> ColumnElement[bool]:
    """Labels are stored as a JSON array of strings, so a label is found in its JSON form."""
    return jobs.c.labels.contains(json.dumps(label or ""), autoescape=True)


def contains(value: Any, subset: Any) -> bool:
    """Whether `value` contains `subset`, as PostgreSQL's `@>` has it for JSON."""
    if isinstance(subset, dict):
        return isinstance(value, dict) and all(
            key in value and contains(value[key], item) for key, item in subset.items()
        )
    if isinstance(subset, list):
        return isinstance(value, list) and all(any(contains(v, item) for v in value) for item in subset)
    return type(value) is type(subset) and bool(value == subset)
