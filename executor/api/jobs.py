"""Reading and controlling single jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from executor.api.context import Context, Ctx, InWorkspace
from executor.api.logs import whole_log
from executor.api.models import job_members
from executor.errors import CallerError, NotFound
from executor.jobs import store
from executor.jobs.job import Job
from executor.script import json_object
from executor.workspace.workspaces import Workspace

router = APIRouter()
JSON = "application/json"


async def whole_job(
    ctx: Context, workspace: Workspace, job: Job, *, logs: bool = True, code: bool = True
) -> bytes:
    """A job with its arguments, result and log, as JSON."""
    members = job_members(job, with_code=code)
    if logs:
        members["logs"] = await whole_log(ctx, job)
    raw = {
        "args": await ctx.desk.database.read(store.args, job.id),
        "flow_status": await ctx.desk.flow_status(job),
    }
    raw["raw_flow"] = job.content.encode() if job.is_flow and job.content and code else b"null"
    if job.state == "completed":
        done = await ctx.desk.result(workspace.id, job.id)
        raw["result"] = done.result if done else b"null"
    return json_object(members, raw)


@router.get("/jobs_u/get/{id}", summary="A job, queued or completed")
async def get_job(
    id: UUID, workspace: InWorkspace, ctx: Ctx, no_logs: bool = False, no_code: bool = False
) -> Response:
    """The job with its arguments, log and, once completed, its result."""
    job = await ctx.desk.get(workspace.id, str(id))
    return Response(await whole_job(ctx, workspace, job, logs=not no_logs, code=not no_code), media_type=JSON)


@router.get("/jobs_u/get_logs/{id}", response_class=PlainTextResponse, summary="A job's log so far")
async def get_logs(id: UUID, workspace: InWorkspace, ctx: Ctx) -> Response:
    """What the script has written, stdout and stderr merged.

    A flow's log is those of its steps in their order, each under a headline, as far as the first step
    that has not ended: what was shown stays where it was.
    """
    return PlainTextResponse(await whole_log(ctx, await ctx.desk.get(workspace.id, str(id))))


@router.get(
    "/jobs_u/get_flow_all_logs/{id}",
    response_class=PlainTextResponse,
    summary="All that the steps of a flow have written so far",
)
async def get_flow_all_logs(id: UUID, workspace: InWorkspace, ctx: Ctx) -> Response:
    """As `get_logs`, and of a flow that runs also what runs in parallel to its first unfinished step."""
    return PlainTextResponse(await whole_log(ctx, await ctx.desk.get(workspace.id, str(id)), everything=True))


@router.get("/jobs_u/get_args/{id}", summary="A job's arguments")
async def get_args(id: UUID, workspace: InWorkspace, ctx: Ctx) -> Response:
    """The arguments as they were given."""
    job = await ctx.desk.get(workspace.id, str(id))
    return Response(await ctx.desk.database.read(store.args, job.id), media_type=JSON)


@router.get("/jobs_u/completed/get/{id}", summary="A completed job")
async def get_completed(id: UUID, workspace: InWorkspace, ctx: Ctx) -> Response:
    """As `jobs_u/get`, but 404 while the job is not completed."""
    job = await ctx.desk.get(workspace.id, str(id))
    if job.state != "completed":
        raise _not_completed(job)
    return Response(await whole_job(ctx, workspace, job), media_type=JSON)


@router.get("/jobs_u/completed/get_result/{id}", summary="A completed job's result")
async def get_result(id: UUID, workspace: InWorkspace, ctx: Ctx) -> Response:
    """The bare result, or the error object in its place; 404 while the job is not completed."""
    done = await ctx.desk.result(workspace.id, str(id))
    if done is None:
        raise _not_completed(await ctx.desk.get(workspace.id, str(id)))
    return Response(done.result, media_type=JSON)


@router.get("/jobs_u/completed/get_result_maybe/{id}", summary="A job's result, if it has one")
async def get_result_maybe(id: UUID, workspace: InWorkspace, ctx: Ctx, get_started: bool = True) -> Response:
    """`{completed, success, result, started}`; for polling."""
    done = await ctx.desk.result(workspace.id, str(id))
    if done is not None:
        status = done.job.status
        members: dict[str, Any] = {"completed": True, "success": status is not None and status.is_success}
        if get_started:
            members["started"] = True
        return Response(json_object(members, {"result": done.result}), media_type=JSON)
    members = {"completed": False, "success": None, "result": None}
    if get_started:
        members["started"] = (await ctx.desk.get(workspace.id, str(id))).has_started
    return Response(json_object(members, {}), media_type=JSON)


@router.post("/jobs/completed/delete/{id}", summary="Forget what a completed job was given and gave")
async def delete_completed(id: UUID, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Empty the job's arguments and result and replace its log by `##DELETED##`; answer what is left."""
    if not await ctx.desk.scrub(workspace.id, str(id)):
        raise _not_completed(await ctx.desk.get(workspace.id, str(id)))
    job = await ctx.desk.get(workspace.id, str(id))
    return Response(await whole_job(ctx, workspace, job), media_type=JSON)


def _not_completed(job: Job) -> CallerError:
    return NotFound(
        f"job {job.id} is {job.state}, not completed",
        field="id",
        remedy="ask again later, or cancel it first",
    )
