"""Resources of a workspace: JSON values by path, which may name others (docs/openflow.md section 2.5)."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from executor.api.body import described, read_model
from executor.api.context import Caller, Context, Ctx, InWorkspace, Who
from executor.api.jobs import JSON
from executor.api.models import Name
from executor.errors import NotFound
from executor.flows.plain import check_plain
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.script import compact_json, json_object
from executor.workspace.library import NotStored
from executor.workspace.resources import Resource, not_found
from executor.workspace.workspaces import Workspace

router = APIRouter()


class CreateResource(BaseModel):
    """The body of `resources/create`; further members are ignored, as Windmill does."""

    model_config = ConfigDict(strict=True)

    path: str = Field(description="u/USER/NAME or f/FOLDER/NAME")
    value: Any = Field(None, description="any JSON value")
    resource_type: Name
    description: str | None = None


class UpdateResource(BaseModel):
    """The body of `resources/update`: what is to change."""

    model_config = ConfigDict(strict=True)

    path: str | None = Field(None, description="a new path")
    value: Any = Field(None, description="any JSON value")
    resource_type: Name | None = None
    description: str | None = None


class UpdateValue(BaseModel):
    """The body of `resources/update_value`."""

    model_config = ConfigDict(strict=True)

    value: Any = Field(None, description="any JSON value")


@router.post(
    "/create",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Store a resource",
    openapi_extra=described(CreateResource),
)
async def create(request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """409 if there is one already."""
    asked = await read_model(request, CreateResource, ctx.settings.request_mb)
    await ctx.library.create_resource(
        Resource(
            workspace.id,
            asked.path,
            _json(asked.value),
            asked.resource_type,
            asked.description or "",
            user,
            now_us(),
        )
    )
    return PlainTextResponse(f"resource {asked.path} created", 201)


@router.post(
    "/update/{path:path}",
    response_class=PlainTextResponse,
    summary="Change a resource",
    openapi_extra=described(UpdateResource),
)
async def update(path: str, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """What is left out stays; 404 if there is none."""
    asked = await read_model(request, UpdateResource, ctx.settings.request_mb)
    changes: dict[str, Any] = asked.model_dump(exclude_none=True, exclude={"value"})
    if "value" in asked.model_fields_set:
        changes["value"] = _json(asked.value)
    await _change(path, changes, workspace, user, ctx)
    return PlainTextResponse(f"resource {asked.path or path} updated")


@router.post(
    "/update_value/{path:path}",
    response_class=PlainTextResponse,
    summary="Change a resource's value",
    openapi_extra=described(UpdateValue),
)
async def update_value(
    path: str, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx
) -> Response:
    """404 if there is no resource; a body without value sets null."""
    asked = await read_model(request, UpdateValue, ctx.settings.request_mb)
    await _change(path, {"value": _json(asked.value)}, workspace, user, ctx)
    return PlainTextResponse(f"value of resource {path} updated")


@router.get("/get/{path:path}", summary="A resource")
async def get(path: str, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Its value is as it is stored; 404 if there is none."""
    found = await _resource_at(path, workspace, ctx)
    members = {
        "workspace_id": workspace.id,
        "path": found.path,
        "description": found.description,
        "resource_type": found.resource_type,
        "created_by": found.edited_by,
        "edited_at": iso(found.edited_at),
        "extra_perms": {},
    }
    return Response(json_object(members, {"value": found.value}), media_type=JSON)


@router.get("/get_value/{path:path}", summary="A resource's value")
async def get_value(path: str, workspace: InWorkspace, ctx: Ctx) -> Response:
    """As it is stored; 404 if there is no resource."""
    return Response((await _resource_at(path, workspace, ctx)).value, media_type=JSON)


@router.get("/get_value_interpolated/{path:path}", summary="A resource's value, what it names resolved")
async def get_value_interpolated(path: str, workspace: InWorkspace, ctx: Ctx, token: Who) -> Response:
    """404 if there is no resource, or a variable or resource that it names."""
    await _resource_at(path, workspace, ctx)
    try:
        return Response(
            await ctx.library.resource(workspace.id, path, partial(ctx.secret_read, token)), media_type=JSON
        )
    except NotStored as error:
        raise NotFound(
            f"path: {error}", field="path", remedy="mend the resource, or create what it names"
        ) from None


@router.get("/exists/{path:path}", summary="Whether there is a resource at a path")
async def exists(path: str, workspace: InWorkspace, ctx: Ctx) -> bool:
    """`true` or `false`."""
    return await ctx.library.stored_resource(workspace.id, path) is not None


async def _change(path: str, changes: dict[str, Any], workspace: Workspace, user: str, ctx: Context) -> None:
    by = {"edited_by": user, "edited_at": now_us()}
    await ctx.library.change_resource(workspace.id, path, {**changes, **by})


def _json(value: Any) -> bytes:
    """A value as it is stored; raises BadInput for one that is nested too deep to be used."""
    check_plain(value, "value")
    return compact_json(value)


async def _resource_at(path: str, workspace: Workspace, ctx: Context) -> Resource:
    found = await ctx.library.stored_resource(workspace.id, path)
    if found is None:
        raise not_found(path)
    return found
