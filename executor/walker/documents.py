"""From a stored run to what is walked: its document, its input, and what it takes over from another run."""

from __future__ import annotations

import json

from executor.flows.document import Flow, FlowLimits, read_flow
from executor.flows.root import Run
from executor.flows.values import Args
from executor.jobs.job import Job
from executor.script import compact_json
from executor.storage.database import Database


async def as_run(run: Job, args: bytes, database: Database, limits: FlowLimits) -> Run:
    """The run as it is to be walked."""
    return Run(run.id, document(run.content, limits), Args.of(members(args)), run.path, run.preprocessed)


def document(content: str, limits: FlowLimits) -> Flow:
    """A stored flow document; it was checked when it was handed in."""
    return read_flow(json.loads(content), languages=lambda name: name, limits=limits)


def members(args: bytes) -> dict[str, bytes]:
    """A job's arguments by name, as JSON texts."""
    return {name: compact_json(value) for name, value in json.loads(args).items()}
