"""From a stored run to what is walked: its document, its input, and what it takes over from another run."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

from executor.flows.document import Flow, FlowLimits, read_flow
from executor.flows.root import Run
from executor.flows.values import Args
from executor.flows.walk import own_tag
from executor.jobs.job import Job
from executor.script import compact_json
from executor.storage.database import Database, insist
from executor.walker.takeover import take_over


async def as_run(run: Job, args: bytes, database: Database, limits: FlowLimits) -> Run:
    """The run as it is to be walked."""
    flow = document(run.content, limits)
    whole = Run(run.id, flow, Args.of(members(args)), run.path, tag=own_tag(run.tag))
    if run.restarted_from is None:
        return whole
    origin = json.loads(run.restarted_from)
    taken = await insist(partial(database.read, take_over, flow, origin))
    return replace(
        whole,
        is_preprocessed=run.preprocessed,
        kept=taken.modules,
        kept_children=taken.children,
        kept_inside=taken.inside,
        restarted_from=origin,
    )


def document(content: str, limits: FlowLimits) -> Flow:
    """A stored flow document; it was checked when it was handed in."""
    return read_flow(json.loads(content), languages=lambda name: name, limits=limits)


def members(args: bytes) -> dict[str, bytes]:
    """A job's arguments by name, as JSON texts."""
    return {name: compact_json(value) for name, value in json.loads(args).items()}
