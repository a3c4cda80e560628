"""Cancelling: a job, a family by force, all jobs of a path, a selection."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field, RootModel, ValidationError

from executor.api.body import decode, described, read, read_model
from executor.api.context import Caller, Ctx, InWorkspace
from executor.api.models import CancelRequest
from executor.api.problems import first_error
from executor.errors import BadInput, NotFound
from executor.jobs import cancelling
from executor.jobs.job import Job
from executor.workspace.workspaces import Workspace

router = APIRouter()

SELECTION_MAX = 10_000
UNTOLD = "no reason given"


class Selection(RootModel[list[UUID]]):
    """The body of `jobs/queue/cancel_selection`."""

    root: list[UUID] = Field(max_length=SELECTION_MAX)


ASKED: dict[str, Any] = described(CancelRequest, required=False)


async def _reason(request: Request, ctx: Ctx) -> str:
    asked = await read_model(request, CancelRequest, ctx.settings.request_mb, optional=True)
    return asked.reason or UNTOLD


@router.post(
    "/jobs_u/queue/cancel/{id}",
    response_class=PlainTextResponse,
    summary="Cancel a job",
    openapi_extra=ASKED,
)
async def cancel(id: UUID, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """End a queued job at once and a running one soon, with all it has started; a completed one stays."""
    why = await _reason(request, ctx)
    await cancelling.cancel(ctx.desk, await ctx.desk.get(workspace.id, str(id)), user, why)
    return PlainTextResponse(str(id))


@router.post(
    "/jobs_u/queue/force_cancel/{id}",
    response_class=PlainTextResponse,
    summary="Mark a job as cancelled at once",
    openapi_extra=ASKED,
)
async def force_cancel(
    id: UUID, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx
) -> Response:
    """Of a step its whole run, from the outermost job; their processes are ended, but not waited for."""
    why = await _reason(request, ctx)
    await cancelling.end_by_force(ctx.desk, await ctx.desk.get(workspace.id, str(id)), user, why)
    return PlainTextResponse(str(id))


@router.post(
    "/jobs_u/queue/cancel_persistent/{path:path}",
    response_class=PlainTextResponse,
    summary="Cancel every job of a script or flow",
    openapi_extra=ASKED,
)
async def cancel_persistent(
    path: str, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx
) -> Response:
    """Those that wait or run, but not as steps of a flow; answers their ids, one a line."""
    why = await _reason(request, ctx)
    ended = await cancelling.cancel_at_path(ctx.desk, workspace.id, path, user, why)
    return PlainTextResponse("\n".join(ended))


@router.post(
    "/jobs/queue/cancel_selection",
    summary="Cancel several jobs",
    openapi_extra=described(Selection),
)
async def cancel_selection(
    request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx, force_cancel: bool = False
) -> JSONResponse:
    """Answers the ids of those that had not ended; what has ended, or is not known, is passed over."""
    chosen = [await _unfinished(ctx, workspace, one) for one in await _selection(request, ctx)]
    act = cancelling.end_by_force if force_cancel else cancelling.cancel
    jobs = {job.id: job for job in chosen if job is not None}
    for job in jobs.values():
        await act(ctx.desk, job, user, UNTOLD)
    return JSONResponse(list(jobs))


async def _selection(request: Request, ctx: Ctx) -> list[str]:
    value = decode(await read(request, ctx.settings.request_mb))
    try:
        return [str(one) for one in Selection.model_validate(value).root]
    except ValidationError as error:
        field, detail = first_error(error.errors(include_url=False))
        raise BadInput(detail, field=field, remedy='send ["UUID", …]') from None


async def _unfinished(ctx: Ctx, workspace: Workspace, job_id: str) -> Job | None:
    """A job that there is and that has not ended."""
    try:
        job = await ctx.desk.get(workspace.id, job_id)
    except NotFound:
        return None
    return None if job.state == "completed" else job
