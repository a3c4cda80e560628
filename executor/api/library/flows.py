"""Flows of a workspace: stored by path, checked when they are stored."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from executor.api.body import described, read_model
from executor.api.checks import flow_of
from executor.api.context import Caller, Context, Ctx, InWorkspace
from executor.api.jobs import JSON
from executor.api.models import Name
from executor.flows.document import with_ids
from executor.flows.schema import check_schema
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.script import compact_json, json_object
from executor.workspace.flows import NewFlow, StoredFlow, not_found
from executor.workspace.workspaces import Workspace

router = APIRouter()


class StoreFlow(BaseModel):
    """The body of `flows/create` and `flows/update`; further members are ignored, as Windmill does."""

    model_config = ConfigDict(strict=True)

    path: str = Field(description="u/USER/NAME or f/FOLDER/NAME; in an update a new one moves the flow")
    summary: str | None = None
    description: str | None = None
    value: Any = Field(description="the OpenFlow document: docs/openflow.md section 1")
    input_schema: Any = Field(None, alias="schema", description="JSON Schema of the input, section 6.4")
    tag: Name | None = None


@router.post(
    "/create",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Store a flow",
    openapi_extra=described(StoreFlow),
)
async def create(request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """Answers the path; 409 if there is a flow already."""
    new = await _new_flow(request, ctx)
    await ctx.library.create_flow(workspace.id, new, user, now_us())
    return PlainTextResponse(new.path, 201)


@router.post(
    "/update/{path:path}",
    response_class=PlainTextResponse,
    summary="Replace a flow",
    openapi_extra=described(StoreFlow),
)
async def update(path: str, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """Answers the path. Runs that have begun keep the flow they began with."""
    new = await _new_flow(request, ctx)
    await ctx.library.replace_flow(workspace.id, path, new, user, now_us())
    return PlainTextResponse(new.path)


@router.get("/get/{path:path}", summary="The flow at a path")
async def get(path: str, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Its latest version; 404 if there is none."""
    flow = await flow_at(path, workspace, ctx)
    members = {
        "workspace_id": workspace.id,
        "path": flow.path,
        "summary": flow.summary,
        "description": flow.description,
        "version_id": flow.version,
        "tag": flow.tag,
        "edited_by": flow.edited_by,
        "edited_at": iso(flow.edited_at),
        "archived": False,
        "extra_perms": {},
    }
    raw = {"value": flow.value.encode(), "schema": (flow.schema or "null").encode()}
    return Response(json_object(members, raw), media_type=JSON)


async def flow_at(path: str, workspace: Workspace, ctx: Context) -> StoredFlow:
    """The flow that runs at a path; raises NotFound."""
    found = await ctx.library.stored_flow(workspace.id, path)
    if found is None:
        raise not_found(path)
    return found


async def _new_flow(request: Request, ctx: Context) -> NewFlow:
    """The request as a flow to be stored; raises BadInput naming what is wrong, with its place."""
    asked = await read_model(request, StoreFlow, ctx.settings.request_mb)
    value = with_ids(asked.value)
    flow_of(value, ctx)
    check_schema(asked.input_schema)
    return NewFlow(
        path=asked.path,
        value=compact_json(value).decode(),
        summary=asked.summary or "",
        description=asked.description or "",
        schema=None if asked.input_schema is None else compact_json(asked.input_schema).decode(),
        tag=asked.tag,
    )
