"""Flow runs: restart, results by step."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse

from executor.api.context import Caller, Context, Ctx, InWorkspace
from executor.api.jobs import JSON
from executor.api.runs import fields_of_run
from executor.errors import BadInput, NotFound
from executor.flows.document import BranchAll, Flow, FlowLimits, ForLoop, read_flow
from executor.jobs import runs, store
from executor.jobs.job import NewJob, new_id, now_us
from executor.script import compact_json
from executor.workspace.workspaces import Workspace

router = APIRouter()


@router.post(
    "/jobs/restart/f/{id}/from/{step}",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Run a flow again from one of its steps",
)
async def restart(id: UUID, step: str, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """A new run of the same flow and input; what came before the step is taken over."""
    return await _restart(ctx, workspace, user, str(id), step, None)


@router.post(
    "/jobs/restart/f/{id}/from/{step}/{n}",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Run a flow again from a branch or an iteration of one of its steps",
)
async def restart_within(
    id: UUID, step: str, n: int, workspace: InWorkspace, user: Caller, ctx: Ctx
) -> Response:
    """As without `n`; the step's branches or iterations before number `n` are taken over too."""
    return await _restart(ctx, workspace, user, str(id), step, n)


async def _restart(
    ctx: Context, workspace: Workspace, user: str, origin: str, step: str, n: int | None
) -> Response:
    job = await ctx.desk.get(workspace.id, origin)
    restarted_from = {"flow_job_id": origin, "step_id": step, "branch_or_iteration_n": n}
    if job.role != "run":
        raise BadInput(
            f"id: job {origin} is no flow run", field="id", remedy="name the run, not one of its jobs"
        )
    value = json.loads(job.content)
    flow = read_flow(value, languages=ctx.runtimes.canonical, limits=FlowLimits.of(ctx.settings))
    await check_restart(ctx, workspace, flow, restarted_from)
    args = await ctx.desk.database.read(store.args, origin)
    now, run_id = now_us(), new_id()
    new = NewJob(
        id=run_id,
        workspace_id=workspace.id,
        kind=job.kind,
        content=job.content,
        args=args,
        limits=job.limits,
        request_hash="",
        created_by=user,
        created_at=now,
        scheduled_for=now,
        tag=job.tag,
        path=job.path,
        preprocessed=job.preprocessed,
        **fields_of_run(flow, value, run_id, workspace.id, job.path, json.loads(args), restarted_from),
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
    if origin.state != "completed":
        raise BadInput(
            f"flow_job_id: run {origin.id} has not ended",
            field="flow_job_id",
            remedy="wait, or cancel it first",
        )
    index = ids.index(asked["step_id"])
    status = json.loads(origin.flow_status or "{}").get("modules", [])
    for module, was in zip(ids[:index], status, strict=False):
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
    if json_path:
        return Response(compact_json(_at(json.loads(text), json_path)), media_type=JSON)
    return Response(text, media_type=JSON)


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; null where there is none."""
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
