"""What a list of jobs may be narrowed by, as conditions on the jobs table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_

from executor.jobs.job import Status
from executor.storage.tables import jobs
from executor.storage.texts import begins_with, has_part

Condition = ColumnElement[bool]


def _is(condition: Condition, wanted: bool) -> Condition:
    return condition if wanted else ~condition


# A flow run that waits for an approval is put down, but has begun and not ended.
_BEGUN = or_(jobs.c.state == "running", and_(jobs.c.state == "queued", jobs.c.started_at.is_not(None)))
_GOOD = jobs.c.status.in_([status.value for status in Status if status.is_success])

FILTERS: Mapping[str, Callable[[Any], Condition]] = {
    "running": lambda wanted: _is(_BEGUN, wanted),
    "success": lambda wanted: and_(jobs.c.status.is_not(None), _is(_GOOD, wanted)),
    "is_skipped": lambda wanted: _is(func.coalesce(jobs.c.status, "") == Status.SKIPPED.value, wanted),
    "is_flow_step": lambda wanted: _is(jobs.c.step_id.is_not(None), wanted),
    "suspended": lambda wanted: _is(and_(jobs.c.suspend > 0, jobs.c.state != "completed"), wanted),
    # There are no schedules: no job is of one.
    "schedule_path": lambda _: false(),
    "has_null_parent": lambda wanted: _is(jobs.c.parent_job.is_(None), wanted),
    "script_path_exact": lambda path: jobs.c.path == path,
    "script_path_start": lambda start: begins_with(jobs.c.path, start),
    "created_by": lambda user: jobs.c.created_by == user,
    "started_before": lambda time: jobs.c.started_at < time,
    "started_after": lambda time: jobs.c.started_at > time,
    "created_before": lambda time: jobs.c.created_at < time,
    "created_after": lambda time: jobs.c.created_at > time,
    "parent_job": lambda job_id: jobs.c.parent_job == job_id,
    "job_kinds": lambda kinds: jobs.c.kind.in_(kinds),
    "tag": lambda tag: jobs.c.tag == tag,
    # Labels are stored as a JSON array of strings, in which a label stands in its JSON form.
    "label": lambda label: has_part(jobs.c.labels, json.dumps(label)),
    "worker": lambda worker: jobs.c.worker_id == worker,
}
"""One condition a filter; times are in microseconds, their bounds exclusive."""


def conditions(workspace_id: str, asked: Mapping[str, Any]) -> list[Condition]:
    """Conditions that a job of the workspace must meet, all of them; None means any."""
    return [
        jobs.c.workspace_id == workspace_id,
        *(FILTERS[name](value) for name, value in asked.items() if value is not None),
    ]


COMPARISONS_MAX = 1_000_000
"""Objects in arrays are compared each with each; a job that needs more of that is not found."""


def contains(value: Any, subset: Any) -> bool:
    """Whether `value` contains `subset`, as PostgreSQL's `@>` has it for JSON.

    False too where COMPARISONS_MAX do not suffice.
    """
    if isinstance(value, list) and not isinstance(subset, list | dict):
        return _scalar(subset) in map(_scalar, value)  # of the outermost array only
    return _contains(value, subset, iter(range(COMPARISONS_MAX)))


def _contains(value: Any, subset: Any, budget: Iterator[int]) -> bool:
    if next(budget, None) is None:
        return False
    if isinstance(subset, dict):
        return isinstance(value, dict) and all(
            key in value and _contains(value[key], item, budget) for key, item in subset.items()
        )
    if isinstance(subset, list):
        return isinstance(value, list) and _all_in(value, subset, budget)
    return _scalar(value) == _scalar(subset)


def _all_in(value: list[Any], subset: list[Any], budget: Iterator[int]) -> bool:
    scalars = {_scalar(item) for item in value}
    wholes = [item for item in value if isinstance(item, dict | list)]
    return all(
        any(_contains(whole, item, budget) for whole in wholes)
        if isinstance(item, dict | list)
        else _scalar(item) in scalars
        for item in subset
    )


def _scalar(value: Any) -> tuple[bool, Any]:
    """What tells scalars apart, where Python holds 1 and true for the same; of others nothing is equal to it."""
    return isinstance(value, bool), object() if isinstance(value, dict | list) else value
