"""Lists of jobs: filters and pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from executor.api.context import Context, Ctx, InWorkspace
from executor.api.models import job_members
from executor.errors import BadInput
from executor.jobs import filters, lists
from executor.jobs.job import Job, as_us
from executor.script import compact_json, is_light

router = APIRouter()

PER_PAGE = 100
PER_PAGE_MAX = 1000
PAGE_MAX = 1_000_000
SCAN_MAX = 10_000
"""Jobs looked into for an `args` or `result` filter, which no index can answer."""
BODIES_MAX = 200
"""Of how many jobs the contents are read at once."""
Pages = Callable[[int, int], Awaitable[list[Job]]]
"""Jobs of a list, from the one of a number on, so many."""


class Listing(BaseModel):
    """Query parameters of the lists."""

    script_path_exact: str | None = None
    script_path_start: str | None = None
    created_by: str | None = None
    started_before: datetime | None = None
    started_after: datetime | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    success: bool | None = None
    running: bool | None = None
    parent_job: UUID | None = None
    job_kinds: str | None = Field(None, description="comma-separated")
    is_skipped: bool | None = None
    is_flow_step: bool | None = None
    suspended: bool | None = None
    schedule_path: str | None = None
    has_null_parent: bool | None = None
    tag: str | None = None
    label: str | None = None
    worker: str | None = None
    args: str | None = Field(None, description="a JSON object that the arguments must contain")
    result: str | None = Field(None, description="JSON that the result must contain")
    order_desc: bool = True
    page: int = Field(1, ge=1, le=PAGE_MAX)
    per_page: int = Field(PER_PAGE, ge=1, le=PER_PAGE_MAX)
    token: str | None = Field(None, description="credentials, where a header cannot be sent")


Listed = Annotated[Listing, Query()]


@router.get("/jobs/list", summary="Jobs, running ones first")
async def list_jobs(workspace: InWorkspace, asked: Listed, ctx: Ctx) -> Response:
    """Queued and completed jobs together."""
    return await _list(ctx, workspace.id, asked, None)


@router.get("/jobs/queue/list", summary="Queued and running jobs")
async def list_queue(workspace: InWorkspace, asked: Listed, ctx: Ctx) -> Response:
    """Jobs that are not completed."""
    return await _list(ctx, workspace.id, asked, False)


@router.get("/jobs/completed/list", summary="Completed jobs")
async def list_completed(workspace: InWorkspace, asked: Listed, ctx: Ctx) -> Response:
    """Jobs that have ended."""
    return await _list(ctx, workspace.id, asked, True)


@router.get("/jobs/queue/count", summary="How many jobs wait and run")
async def count_queue(workspace: InWorkspace, ctx: Ctx) -> dict[str, int]:
    """`{database_length, running}`."""
    queued, running = await ctx.desk.counts(workspace.id)
    return {"database_length": queued, "running": running}


async def _list(ctx: Context, workspace_id: str, asked: Listing, completed: bool | None) -> Response:
    given = asked.model_dump(include=set(filters.FILTERS))
    where = filters.conditions(workspace_id, {name: _as_stored(name, given[name]) for name in given})
    if completed is None and (asked.running or asked.suspended):
        completed = False  # it follows, and that there are few of them is to be known
    pages = partial(ctx.desk.listed, where, completed, asked.order_desc)
    first = (asked.page - 1) * asked.per_page
    if asked.args is None and asked.result is None:
        found = await pages(first, asked.per_page)
    else:
        found = await _containing(ctx, pages, asked, first)
    return Response(
        compact_json([job_members(job, with_code=False) for job in found]), media_type="application/json"
    )


async def _containing(ctx: Context, pages: Pages, asked: Listing, first: int) -> list[Job]:
    """Jobs whose arguments and result contain what is asked for; looks into SCAN_MAX jobs at most."""
    args, result = _subset("args", asked.args), _subset("result", asked.result)
    hits: list[Job] = []
    for offset in range(0, SCAN_MAX, PER_PAGE_MAX):
        batch = rest = await pages(offset, PER_PAGE_MAX)
        while rest:
            ids = [job.id for job in rest[:BODIES_MAX]]
            read = partial(lists.bodies, job_ids=ids, args=bool(args), result=bool(result))
            bodies = await ctx.desk.database.read(read)
            found = await asyncio.to_thread(_which_hold, bodies, args, result)
            hits += [rest[index] for index in found]
            if len(hits) >= first + asked.per_page:
                return hits[first : first + asked.per_page]
            rest = rest[len(bodies) :]
        if len(batch) < PER_PAGE_MAX:
            break
    return hits[first:]


def _subset(name: str, text: str | None) -> list[Any]:
    """The asked-for JSON in a list, an empty list if nothing is asked for."""
    try:
        return [] if text is None else [json.loads(text)]
    except (ValueError, RecursionError):
        raise BadInput(f"{name}: not JSON", field=name, remedy='write for example {"name":"x"}') from None


def _which_hold(
    bodies: list[tuple[bytes | None, bytes | None]], args: list[Any], result: list[Any]
) -> list[int]:
    """Which of the jobs with these arguments and results are asked for; off the event loop, as they may be large."""
    return [n for n, (given, gave) in enumerate(bodies) if _holds(given, args) and _holds(gave, result)]


def _holds(body: bytes | None, subset: list[Any]) -> bool:
    """Whether a stored JSON text contains the one in the list; what is too large to be decoded contains nothing."""
    if not subset:
        return True
    if body is None or not is_light(body):
        return False
    try:
        return filters.contains(json.loads(body), subset[0])
    except (ValueError, RecursionError):
        return False


def _as_stored(name: str, value: Any) -> Any:
    """A parameter's value as the jobs table has it."""
    match value:
        case datetime():
            return as_us(value)
        case UUID():
            return str(value)
        case str() if name == "job_kinds":
            return value.split(",")
        case _:
            return value
