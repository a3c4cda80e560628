"""Submitting: `jobs/run/preview`, and the same with the answer awaited."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from executor.api.answers import answer
from executor.api.body import described, read_model, read_with_args
from executor.api.checks import flow_of, runtime_of
from executor.api.context import Caller, Context, Ctx, InWorkspace
from executor.api.flows import check_restart
from executor.api.models import PreviewFlowRequest, PreviewRequest, RunParameters, RunQuery
from executor.api.problems import problem
from executor.api.runs import fields_of_run, request_hash, scheduled_for
from executor.errors import BadInput
from executor.flows.document import with_ids
from executor.flows.schema import apply_schema
from executor.jobs import cancelling
from executor.jobs.desk import Completed, Early
from executor.jobs.job import NewJob, new_id, now_us
from executor.script import check_limit, compact_json, resolve_limits
from executor.workspace.workspaces import Workspace

router = APIRouter()

FAILED: dict[int | str, dict[str, Any]] = {
    500: {
        "description": 'The job failed; the body is `{"error": {name, message, reason, …}}`.',
        "content": {"application/json": {}},
    },
    504: {
        "description": "The job has not ended within EXECUTOR_WAIT_S; it goes on.",
        "content": {"application/problem+json": {}},
    },
}


@router.post(
    "/jobs/run/preview",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Run a script",
    openapi_extra=described(PreviewRequest),
)
async def run_preview(
    request: Request, workspace: InWorkspace, query: RunParameters, user: Caller, ctx: Ctx
) -> Response:
    """Store the job, start it as soon as a slot is free, and answer its id at once."""
    new = await _new_job(request, workspace, query, user, ctx)
    await ctx.desk.submit(new)
    return PlainTextResponse(new.id, 201)


@router.post(
    "/jobs/run_wait_result/preview",
    summary="Run a script and wait for its result",
    openapi_extra=described(PreviewRequest),
    responses=FAILED,
)
async def run_wait_result_preview(
    request: Request, workspace: InWorkspace, query: RunParameters, user: Caller, ctx: Ctx
) -> Response:
    """As `jobs/run/preview`, but answer the result; a client that leaves cancels the job."""
    return await answer_at_end(request, ctx, await _new_job(request, workspace, query, user, ctx), user)


@router.post(
    "/jobs/run/preview_flow",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Run a flow",
    openapi_extra=described(PreviewFlowRequest),
)
async def run_preview_flow(
    request: Request, workspace: InWorkspace, query: RunParameters, user: Caller, ctx: Ctx
) -> Response:
    """Store the run, start it at once, and answer its id."""
    new = await _new_run(request, workspace, query, user, ctx)
    await ctx.desk.submit(new)
    return PlainTextResponse(new.id, 201)


@router.post(
    "/jobs/run_wait_result/preview_flow",
    summary="Run a flow and wait for its result",
    openapi_extra=described(PreviewFlowRequest),
    responses=FAILED,
)
async def run_wait_result_preview_flow(
    request: Request, workspace: InWorkspace, query: RunParameters, user: Caller, ctx: Ctx
) -> Response:
    """As `jobs/run/preview_flow`, but answer the result; a client that leaves cancels the run."""
    return await answer_at_end(request, ctx, await _new_run(request, workspace, query, user, ctx), user)


async def answer_at_end(request: Request, ctx: Context, new: NewJob, user: str) -> Response:
    """Submit a job and answer its result."""
    created = await ctx.desk.submit(new)
    return await answer_of(request, ctx, new.workspace_id, new.id, user if created else None)


async def answer_of(
    request: Request, ctx: Context, workspace_id: str, job_id: str, starter: str | None = None
) -> Response:
    """Wait for a job and answer its result; one that `starter` began ends if that client leaves."""
    done = await _wait(request, ctx, workspace_id, job_id, starter)
    if done is None:
        waited = ctx.settings.wait_s
        return problem(504, f"job {job_id} has not ended after {waited:g} s; it goes on", job_id=job_id)
    return answer(done)


async def _wait(
    request: Request, ctx: Context, workspace_id: str, job_id: str, starter: str | None
) -> Completed | Early | None:
    """The job's end; None when it takes too long, or when the client has left."""
    waiting = asyncio.create_task(ctx.desk.wait_early(workspace_id, job_id))
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait(
            {waiting, leaving}, timeout=ctx.settings.wait_s, return_when=asyncio.FIRST_COMPLETED
        )
        if waiting.done():
            return waiting.result()
        if leaving.done() and starter is not None and not ctx.desk.closed:
            why = "the client that waited for it disconnected"
            job = await ctx.desk.get(workspace_id, job_id)
            await cancelling.cancel(ctx.desk, job, starter, why)
        return None
    finally:
        waiting.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    """Return when the client has disconnected; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _new_job(
    request: Request, workspace: Workspace, query: RunQuery, user: str, ctx: Context
) -> NewJob:
    """The request as a job to be; raises BadInput naming what is wrong."""
    asked, big = await read_with_args(request, PreviewRequest, ctx.settings.request_mb)
    said = asked.model_dump(mode="json")
    if big is not None:
        said["big_args"] = big.sha256
    runtime = runtime_of(asked.language, ctx)
    bounds = ctx.workspaces.bounds(workspace.id)
    limits = dict(asked.limits or {})
    if query.timeout is not None:
        check_limit("timeout", query.timeout, bounds.timeout_s.maximum, "query")
        limits["timeout_s"] = query.timeout
    now = now_us()
    return NewJob(
        id=str(query.job_id) if query.job_id else new_id(),
        workspace_id=workspace.id,
        kind="preview",
        language=runtime.name,
        content=asked.content,
        args=args_json(asked.args or {}) if big is None else big.text,
        limits=resolve_limits(limits, bounds),
        request_hash=request_hash(said, query),
        created_by=user,
        created_at=now,
        scheduled_for=scheduled_for(query, now),
        tag=query.tag or asked.tag or runtime.name,
        path=asked.path,
        lock=asked.lock,
        parent_job=str(query.parent_job) if query.parent_job else None,
        root_job=str(query.root_job) if query.root_job else None,
    )


async def _new_run(
    request: Request, workspace: Workspace, query: RunQuery, user: str, ctx: Context
) -> NewJob:
    """The request as a flow run to be; raises BadInput naming what is wrong, with its place."""
    asked = await read_model(request, PreviewFlowRequest, ctx.settings.request_mb)
    value = with_ids(asked.value)
    flow = flow_of(value, ctx)
    origin = None if asked.restarted_from is None else asked.restarted_from.model_dump()
    if origin is not None:
        await check_restart(ctx, workspace, flow, origin)
    args = asked.args or {}
    if asked.input_schema is not None:
        args = apply_schema(asked.input_schema, args, check=query.checks_args(workspace))
    now = now_us()
    job_id = str(query.job_id) if query.job_id else new_id()
    return NewJob(
        id=job_id,
        workspace_id=workspace.id,
        kind="flowpreview",
        content=compact_json(value).decode(),
        args=args_json(args),
        limits=resolve_limits({}, ctx.workspaces.bounds(workspace.id)),
        request_hash=request_hash(asked.model_dump(mode="json"), query),
        created_by=user,
        created_at=now,
        scheduled_for=scheduled_for(query, now),
        tag=query.tag or asked.tag or flow.tag or "flow",
        path=asked.path,
        parent_job=str(query.parent_job) if query.parent_job else None,
        root_job=str(query.root_job) if query.root_job else None,
        **fields_of_run(flow, asked.value, job_id, workspace.id, asked.path, args, origin),
        preprocessed=origin is not None and flow.preprocessor_module is not None,
    )


def args_json(args: dict[str, Any]) -> bytes:
    """Arguments as they are stored; raises BadInput for what JSON has not."""
    try:
        return compact_json(args)
    except ValueError:
        raise BadInput(
            "args: a number in it is too large for a JSON number",
            field="args",
            remedy="send it as a string",
        ) from None
