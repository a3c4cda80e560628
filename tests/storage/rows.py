"""Rows and jobs of which a test says only what matters to it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from executor.jobs.job import NewJob, new_id
from executor.script import resolve_limits
from executor.settings import LimitBounds

LIMITS = resolve_limits({}, LimitBounds())


def new_job(**given: Any) -> NewJob:
    """A job to be, due at once."""
    values: dict[str, Any] = {
        "id": new_id(),
        "workspace_id": "main",
        "kind": "preview",
        "language": "bash",
        "content": "",
        "args": b"{}",
        "limits": LIMITS,
        "request_hash": "hash",
        "created_by": "admin",
        "created_at": 0,
        "scheduled_for": 0,
        "tag": "bash",
    }
    return NewJob(**{**values, **given})


def job_row(job_id: str) -> dict[str, Any]:
    """A queued job as the table has it."""
    row = asdict(new_job(id=job_id))
    del row["args"], row["log"]
    return {**row, "limits": json.dumps(row["limits"]), "state": "queued"}
