"""Flow runs: restart, results by step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse

from executor.api.context import Caller, Context, Ctx, InWorkspace
from executor.api.jobs import JSON
from executor.api.models import RunParameters, RunQuery
from executor.api.runs import fields_of_run, request_hash, scheduled_for
from executor.errors import BadInput, NotFound
from executor.flows.document import BranchAll, Flow, FlowLimits, ForLoop, read_flow
from executor.jobs import runs, store
from executor.jobs.job import NewJob, new_id, now_us
from executor.script import compact_json, is_light
from executor.workspace.workspaces import Workspace

router = APIRouter()


@router.post(
    "/jobs/restart/f/{id}/from/{step}",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Run a flow again from one of its steps",
)
async def restart(
    id: UUID, step: str, workspace: InWorkspace, query: RunParameters, user: Caller, ctx: Ctx
) -> Response:
    """A new run of the same flow and input; what came before the step is taken over."""
    return await _restart(ctx, workspace, query, user, Place(str(id), step, None))


@router.post(
    "/jobs/restart/f/{id}/from/{step}/{n}",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Run a flow again from a branch or an iteration of one of its steps",
)
async def restart_within(
    id: UUID, step: str, n: int, workspace: InWorkspace, query: RunParameters, user: Caller, ctx: Ctx
) -> Response:
    """As without `n`; the step's branches or iterations before number `n` are taken over too."""
    return await _restart(ctx, workspace, query, user, Place(str(id), step, n))


@dataclass(frozen=True)
class Place:
    """From where a run goes on; as clients write it."""

    flow_job_id: str
    step_id: str
    branch_or_iteration_n: int | None


async def _restart(ctx: Context, workspace: Workspace, query: RunQuery, user: str, place: Place) -> Response:
    job = await ctx.desk.get(workspace.id, place.flow_job_id)
    if job.role != "run":
        raise BadInput(
            f"id: job {job.id} is no flow run", field="id", remedy="name the run, not one of its jobs"
        )
    value = json.loads(job.content)
    limits = FlowLimits.of(ctx.settings)
    flow = read_flow(value, languages=ctx.runtimes.canonical, limits=limits)
    await check_restart(ctx, workspace, flow, vars(place))
    args = await ctx.desk.database.read(store.args, job.id)
    now = now_us()
    run_id = str(query.job_id) if query.job_id else new_id()
    new = NewJob(
        id=run_id,
        workspace_id=workspace.id,
        kind=job.kind,
        content=job.content,
        args=args,
        limits=job.limits,
        request_hash=request_hash({"restart": vars(place)}, query),
        created_by=user,
        created_at=now,
        scheduled_for=scheduled_for(query, now),
        tag=query.tag or job.tag,
        path=job.path,
        parent_job=str(query.parent_job) if query.parent_job else None,
        root_job=str(query.root_job) if query.root_job else None,
        preprocessed=job.preprocessed,
        **fields_of_run(flow, value, run_id, workspace.id, job.path, json.loads(args), vars(place)),
    )
    await ctx.desk.submit(new)
    return PlainTextResponse(run_id, 201)


async def check_restart(ctx: Context, workspace: Workspace, flow: Flow, asked: dict[str, Any]) -> None:
    """Raise BadInput unless the flow can be begun at that step of that run (docs/openflow.md section 3.5)."""
    origin = await ctx.desk.get(workspace.id, asked["flow_job_id"])
    ids = [module.id for module in flow.modules]
    if asked["step_id"] not in ids:
        raise BadInput(
            f"step_id: the flow has no module {asked['step_id']!r} at its top level",
            field="step_id",
            remedy=f"use one of {', '.join(ids)}" if ids else "the flow has no modules",
        )
    if origin.role != "run":
        raise BadInput(
            f"flow_job_id: job {origin.id} is no flow run",
            field="flow_job_id",
            remedy="name the run, not one of its jobs",
        )
    if origin.state != "completed":
        raise BadInput(
            f"flow_job_id: run {origin.id} has not ended",
            field="flow_job_id",
            remedy="wait, or cancel it first",
        )
    index = ids.index(asked["step_id"])
    status = json.loads(origin.flow_status or "{}").get("modules", [])
    for module, was in zip(ids[:index], [*status, *({} for _ in ids)], strict=False):
        if was.get("type") != "Success" or was.get("id") != module:
            raise BadInput(
                f"step_id: module {module!r} before it did not succeed in run {origin.id}",
                field="step_id",
                remedy=f"restart from {module!r} or before",
            )
    if asked["branch_or_iteration_n"]:
        _check_number(flow, index, asked["branch_or_iteration_n"], status)


def _check_number(flow: Flow, index: int, number: int, status: list[dict[str, Any]]) -> None:
    value = flow.modules[index].value
    if not isinstance(value, ForLoop | BranchAll) or value.parallel:
        raise BadInput(
            f"branch_or_iteration_n: {flow.modules[index].id!r} is no sequential loop or branchall",
            field="branch_or_iteration_n",
            remedy="leave it out",
        )
    there = len(status[index].get("flow_jobs") or []) if index < len(status) else 0
    if not 0 <= number <= there:
        raise BadInput(
            f"branch_or_iteration_n: {number} of {there} that the run had",
            field="branch_or_iteration_n",
            remedy=f"use a number from 0 to {there}",
        )


@router.get("/jobs/result_by_id/{flow}/{node}", summary="The result of a step of a run")
async def result_by_id(
    flow: UUID,
    node: str,
    workspace: InWorkspace,
    ctx: Ctx,
    json_path: Annotated[str | None, Query(description="a dotted path into the result")] = None,
) -> Response:
    """What `results.<node>` is in the run; 404 while it has no result."""
    job = await ctx.desk.get(workspace.id, str(flow))
    text = await ctx.desk.database.read(runs.result_of_step, job.run_id or job.id, job.run_path or "", node)
    if text is None:
        raise NotFound(f"no result of step {node!r} in run {flow}", field="node", remedy="ask again later")
    if json_path and not is_light(text):
        raise BadInput(
            "json_path: the result has too many values to look into",
            field="json_path",
            remedy="ask for it whole",
        )
    if json_path:
        try:
            found = compact_json(_at(json.loads(text), json_path))
        except ValueError:  # a script may write numbers that Python does not read
            raise BadInput(
                "json_path: the result has a number out of range",
                field="json_path",
                remedy="ask for it whole",
            ) from None
        return Response(found, media_type=JSON)
    return Response(text, media_type=JSON)


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; null where there is none."""
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and len(part) < 10 and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
