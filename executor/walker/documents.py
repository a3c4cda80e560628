"""From a stored run to what is walked: its document, its input, and what it takes over from another run."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from executor.flows.document import Flow, FlowLimits, read_flow
from executor.flows.root import Run
from executor.flows.values import Args, End, Value
from executor.flows.walk import Kept, own_tag
from executor.jobs import runs, store
from executor.jobs.job import Job
from executor.script import compact_json
from executor.storage.database import Database, insist


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
        restarted_from=origin,
    )


def document(content: str, limits: FlowLimits) -> Flow:
    """A stored flow document; it was checked when it was handed in."""
    return read_flow(json.loads(content), languages=lambda name: name, limits=limits)


def members(args: bytes) -> dict[str, bytes]:
    """A job's arguments by name, as JSON texts."""
    return {name: compact_json(value) for name, value in json.loads(args).items()}


@dataclass(frozen=True)
class TakenOver:
    """What a restarted run has from the one before it."""

    modules: dict[str, Kept]
    """The modules before the one it begins at, by id."""
    children: dict[str, list[End]]
    """Ends of that module's branches or iterations before the one it begins at."""


def take_over(connection: Connection, flow: Flow, origin: dict[str, Any]) -> TakenOver:
    """Ends from an earlier run of the same flow, whose restart was allowed when it was asked for."""
    status = json.loads(store.flow_status(connection, origin["flow_job_id"]) or "{}")
    modules: dict[str, Kept] = {}
    for index, (module, was) in enumerate(zip(flow.modules, status.get("modules", []), strict=False)):
        if module.id == origin["step_id"]:
            number = origin.get("branch_or_iteration_n") or 0
            jobs = (was.get("flow_jobs") or [])[:number]
            return TakenOver(modules, {module.id: [_end_of_job(connection, job) for job in jobs]})
        path = f"/{index}:{quote(module.id, safe='')}/result"
        kept = runs.note(connection, origin["flow_job_id"], path)
        job = was.get("job")
        end = End(Value(kept), job=job) if kept else _end_of_job(connection, job)
        modules[module.id] = Kept(replace(end, skipped=was.get("skipped", False)), was)
    return TakenOver(modules, {})


def _end_of_job(connection: Connection, job: str | None) -> End:
    text = None if job is None else store.result(connection, job)
    ok = job is not None and store.is_success(connection, job)
    return End(Value(b"null" if text is None else text, job), ok=ok, job=job)
