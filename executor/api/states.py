"""What a flow's scripts keep and tell while they run: user states, progress, the run's id."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from executor.api.body import described, read, read_model, recoded
from executor.api.context import Ctx, InWorkspace
from executor.api.jobs import JSON
from executor.errors import TooLarge
from executor.jobs import gates

router = APIRouter()

STATE_MB = 1
Key = Annotated[str, Path(max_length=255)]
STATE_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "any JSON; none is null",
        "content": {"application/json": {"schema": {}}},
    }
}


class SetProgress(BaseModel):
    """The body of `job_metrics/set_progress`; `flow_job_id` is accepted, the job knows its flow."""

    model_config = ConfigDict(strict=True)

    percent: int = Field(ge=-(2**31), lt=2**31)
    flow_job_id: str | None = None


@router.get("/jobs/flow/user_states/{id}/{key:path}", summary="A value that a flow keeps")
async def get_state(id: UUID, key: Key, workspace: InWorkspace, ctx: Ctx) -> Response:
    """The value, or null; null too once the flow is completed."""
    job = await ctx.desk.get(workspace.id, str(id))
    found = None if job.state == "completed" else await ctx.desk.database.read(gates.state, job.id, key)
    return Response(found or b"null", media_type=JSON)


@router.post(
    "/jobs/flow/user_states/{id}/{key:path}",
    response_class=PlainTextResponse,
    summary="Keep a value under a flow",
    openapi_extra=STATE_BODY,
)
async def set_state(id: UUID, key: Key, request: Request, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Any JSON of at most 1 MiB, for as long as the flow runs; 404 for a job that is no running flow."""
    try:
        body = await read(request, STATE_MB)
    except TooLarge:
        raise TooLarge(f"body: over {STATE_MB} MiB", field="body", remedy="keep less") from None
    value = recoded(body)  # an empty one is null: so a client may send None
    await ctx.desk.database.write(gates.set_state, workspace.id, str(id), key, value)
    ctx.desk.changed(str(id))
    return PlainTextResponse("Flow job state updated")


@router.get("/jobs_u/get_root_job_id/{id}", summary="The run that a job belongs to")
async def get_root_job_id(id: UUID, workspace: InWorkspace, ctx: Ctx) -> JSONResponse:
    """The id of the outermost job, as a JSON string; the job's own if nothing is around it."""
    job = await ctx.desk.get(workspace.id, str(id))
    return JSONResponse(job.root_job or job.id)


@router.post(
    "/job_metrics/set_progress/{id}",
    response_class=PlainTextResponse,
    summary="Say how far a job is",
    openapi_extra=described(SetProgress),
)
async def set_progress(id: UUID, request: Request, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Percent; in the flow's status from 0 to 99. It may go down."""
    asked = await read_model(request, SetProgress, STATE_MB)
    job = await ctx.desk.get(workspace.id, str(id))
    await ctx.desk.set_progress(job, asked.percent)
    return PlainTextResponse("Job progress updated")


@router.get("/job_metrics/get_progress/{id}", summary="How far a job is")
async def get_progress(id: UUID, workspace: InWorkspace, ctx: Ctx) -> JSONResponse:
    """Percent, as its script said last; null if it never did."""
    return JSONResponse((await ctx.desk.get(workspace.id, str(id))).progress)
