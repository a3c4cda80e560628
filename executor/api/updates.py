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
from executor.api.logs import log_of
from executor.errors import NotFound, Unavailable
from executor.jobs.desk import log_of_run
from executor.jobs.job import Job
from executor.script import json_object
from executor.workspace.workspaces import Workspace

router = APIRouter()

PING_S = 5.0
STREAM_S = 30.0
FLOW_PAUSE_S = 0.1
"""At least, between two looks at a flow, in which many steps may have news at once."""
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
    has_more: bool
    """The log goes on at once: it was too long for one answer."""
    next: Wanted

    @property
    def facts(self) -> tuple[Any, ...]:
        """What is news beside output when it changes."""
        return self.state, self.members["progress"], self.raw["flow_status"]


async def _update(
    ctx: Context, workspace: Workspace, job_id: str, want: Wanted, *, whole_log_first: bool = False
) -> Update:
    """What is new since the client's offsets; raises NotFound.

    With `whole_log_first` a completed job comes as a whole only with the last piece of its log.
    """
    job = await ctx.desk.get(workspace.id, job_id)
    members: dict[str, Any] = {
        "running": job.state != "completed" and job.has_started,
        "completed": job.state == "completed",
        "mem_peak": None if job.memory_peak_bytes is None else job.memory_peak_bytes // 1024,
        "progress": job.progress,
    }
    after, has_more = want, False
    stream = await ctx.desk.output(job_id, "stream", want.stream_offset)
    members.update(new_result_stream=stream.text or None, stream_offset=stream.offset)
    after = replace(after, stream_offset=stream.offset)
    if not (want.no_logs or want.only_result):
        log = await log_of(ctx, job, want.log_offset)
        members.update(new_logs=log.text, log_offset=log.offset)
        after = replace(after, log_offset=log.offset)
        has_more = log.has_more
    raw = {"flow_status": await ctx.desk.flow_status(job)}
    if job.state == "completed" and not (has_more and whole_log_first):
        raw |= await _end(ctx, workspace, job, want)
    return Update(members, raw, job.state, has_more, after)


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
    try:
        job = await ctx.desk.get(workspace.id, job_id)
        with ctx.desk.watching(job_id, log_of_run(job.run_id or job_id)) as news:
            async for event in _following(ctx, workspace, job, want, news):
                yield event
    except NotFound:
        yield _event({"type": "notfound"})
    except Unavailable as error:
        yield _event({"type": "error", "error": str(error)})


async def _following(
    ctx: Context, workspace: Workspace, job: Job, want: Wanted, news: asyncio.Event
) -> AsyncIterator[bytes]:
    ends = time.monotonic() + STREAM_S
    told: tuple[Any, ...] = ()
    while True:
        news.clear()
        began = time.monotonic()
        update = await _update(ctx, workspace, job.id, want, whole_log_first=True)
        cost = time.monotonic() - began
        if update.next != want or update.facts != told:
            yield _event({"type": "update", **update.members}, update.raw)
        if update.state == "completed" and not update.has_more:
            return
        want, told = update.next, update.facts
        left = ends - time.monotonic()
        if left <= 0 or ctx.desk.closed:
            yield _event({"type": "timeout"})
            return
        if update.has_more:
            continue
        if not await _happens(news, min(PING_S, left)):
            yield _event({"type": "ping"})
        elif job.is_flow:
            await asyncio.sleep(max(FLOW_PAUSE_S, 3 * cost))


async def _happens(news: asyncio.Event, within_s: float) -> bool:
    """Whether there is news in time."""
    try:
        async with asyncio.timeout(within_s):
            await news.wait()
    except TimeoutError:
        return False
    return True


def _event(members: dict[str, Any], raw: dict[str, bytes] | None = None) -> bytes:
    return b"data: " + json_object(members, raw or {}) + b"\n\n"
