"""Following a job while it runs: `getupdate`, and the same as server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from executor.api.context import Context, Ctx, InWorkspace
from executor.api.jobs import JSON, whole_job
from executor.errors import NotFound, Unavailable
from executor.jobs.job import Job
from executor.script import json_object
from executor.workspace.workspaces import Workspace

router = APIRouter()

PING_S = 5.0
STREAM_S = 30.0
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Wanted:
    """What the client already has, and what it does not want."""

    log_offset: int
    stream_offset: int
    no_logs: bool
    only_result: bool


def wanted(
    log_offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
    stream_offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
    no_logs: bool = False,
    only_result: bool = False,
    running: Annotated[bool, Query(description="accepted, changes nothing")] = False,
    get_progress: Annotated[bool, Query(description="accepted, changes nothing")] = False,
) -> Wanted:
    """The query parameters of both routes, as a dependency."""
    return Wanted(log_offset, stream_offset, no_logs, only_result)


Want = Annotated[Wanted, Depends(wanted)]


@dataclass(frozen=True)
class Update:
    """One answer: its members, JSON texts to splice in, and what the client will have then."""

    members: dict[str, Any]
    raw: dict[str, bytes]
    state: str
    has_news: bool
    next: Wanted


async def _update(ctx: Context, workspace: Workspace, job_id: str, want: Wanted) -> Update:
    """What is new since the client's offsets; raises NotFound."""
    job = await ctx.desk.get(workspace.id, job_id)
    members: dict[str, Any] = {
        "running": job.state == "running",
        "completed": job.state == "completed",
        "mem_peak": None if job.memory_peak_bytes is None else job.memory_peak_bytes // 1024,
        "progress": job.progress,
    }
    after = want
    stream = await ctx.desk.output(job_id, "stream", want.stream_offset)
    members.update(new_result_stream=stream.text or None, stream_offset=stream.offset)
    after = replace(after, stream_offset=stream.offset)
    if not (want.no_logs or want.only_result):
        log = await ctx.desk.output(job_id, "log", want.log_offset)
        members.update(new_logs=log.text, log_offset=log.offset)
        after = replace(after, log_offset=log.offset)
    raw = {"flow_status": await ctx.desk.flow_status(job)}
    if job.state == "completed":
        raw |= await _end(ctx, workspace, job, want)
    return Update(members, raw, job.state, after != want, after)


async def _end(ctx: Context, workspace: Workspace, job: Job, want: Wanted) -> dict[str, bytes]:
    if want.only_result:
        done = await ctx.desk.result(workspace.id, job.id)
        return {"only_result": done.result if done else b"null"}
    return {"job": await whole_job(ctx, workspace, job, logs=not want.no_logs)}


@router.get("/jobs_u/getupdate/{id}", summary="What is new of a job")
async def get_update(id: UUID, workspace: InWorkspace, want: Want, ctx: Ctx) -> Response:
    """New log and stream text since the given offsets, and the whole job once it is completed."""
    update = await _update(ctx, workspace, str(id), want)
    return Response(json_object(update.members, update.raw), media_type=JSON)


@router.get(
    "/jobs_u/getupdate_sse/{id}",
    summary="What is new of a job, as server-sent events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def get_update_sse(
    id: UUID,
    workspace: InWorkspace,
    want: Want,
    ctx: Ctx,
    fast: Annotated[bool, Query(description="accepted, changes nothing")] = False,
) -> Response:
    """Updates as they arrive, pings in between; ends with the job or after 30 s (reconnect then)."""
    events = _events(ctx, workspace, str(id), want)
    return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _events(ctx: Context, workspace: Workspace, job_id: str, want: Wanted) -> AsyncIterator[bytes]:
    ends = time.monotonic() + STREAM_S
    state = None
    with ctx.desk.watching(job_id) as news:
        while True:
            news.clear()
            try:
                update = await _update(ctx, workspace, job_id, want)
            except NotFound:
                yield _event({"type": "notfound"})
                return
            except Unavailable as error:
                yield _event({"type": "error", "error": str(error)})
                return
            if update.has_news or update.state != state:
                yield _event({"type": "update", **update.members}, update.raw)
            if update.state == "completed":
                return
            want, state = update.next, update.state
            left = ends - time.monotonic()
            if left <= 0 or ctx.desk.closed:
                yield _event({"type": "timeout"})
                return
            try:
                async with asyncio.timeout(min(PING_S, left)):
                    await news.wait()
            except TimeoutError:
                yield _event({"type": "ping"})


def _event(members: dict[str, Any], raw: dict[str, bytes] | None = None) -> bytes:
    return b"data: " + json_object(members, raw or {}) + b"\n\n"
