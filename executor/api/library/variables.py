"""Variables of a workspace; secrets are shown to whoever may call, and stored encrypted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from executor.api.body import decode, described, read, read_model
from executor.api.context import Caller, Context, Ctx, InWorkspace, Who
from executor.api.jobs import JSON
from executor.errors import BadInput
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.script import compact_json
from executor.workspace.tokens import Token
from executor.workspace.variables import Variable, not_found
from executor.workspace.workspaces import Workspace

router = APIRouter()


class CreateVariable(BaseModel):
    """The body of `variables/create`; further members are ignored, as Windmill does."""

    model_config = ConfigDict(strict=True)

    path: str = Field(description="u/USER/NAME or f/FOLDER/NAME")
    value: str
    is_secret: bool = False
    description: str | None = None


class UpdateVariable(BaseModel):
    """The body of `variables/update`: what is to change."""

    model_config = ConfigDict(strict=True)

    path: str | None = Field(None, description="a new path")
    value: str | None = None
    is_secret: bool | None = None
    description: str | None = None


TEXT_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "string"}}}}
}


@router.post(
    "/create",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Store a variable",
    openapi_extra=described(CreateVariable),
)
async def create(request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """409 if there is one already."""
    asked = await read_model(request, CreateVariable, ctx.settings.request_mb)
    await ctx.library.create_variable(
        Variable(
            workspace.id,
            asked.path,
            asked.value,
            asked.is_secret,
            asked.description or "",
            user,
            now_us(),
        )
    )
    return PlainTextResponse(f"variable {asked.path} created", 201)


@router.post(
    "/update/{path:path}",
    response_class=PlainTextResponse,
    summary="Change a variable",
    openapi_extra=described(UpdateVariable),
)
async def update(path: str, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """What is left out stays; 404 if there is none."""
    asked = await read_model(request, UpdateVariable, ctx.settings.request_mb)
    changes: dict[str, Any] = asked.model_dump(exclude_none=True)
    by = {"edited_by": user, "edited_at": now_us()}
    await ctx.library.change_variable(workspace.id, path, {**changes, **by})
    return PlainTextResponse(f"variable {asked.path or path} updated")


@router.get("/get/{path:path}", summary="A variable")
async def get(
    path: str,
    workspace: InWorkspace,
    ctx: Ctx,
    token: Who,
    decrypt_secret: Annotated[bool, Query(description="false: a secret's value is null")] = True,
) -> dict[str, Any]:
    """404 if there is none."""
    found = await _variable_at(path, workspace, ctx)
    is_shown = decrypt_secret or not found.is_secret
    return {
        "workspace_id": workspace.id,
        "path": found.path,
        "value": _shown(found, token, ctx) if is_shown else None,
        "is_secret": found.is_secret,
        "description": found.description,
        "edited_by": found.edited_by,
        "edited_at": iso(found.edited_at),
        "extra_perms": {},
    }


@router.get("/get_value/{path:path}", summary="A variable's value")
async def get_value(path: str, workspace: InWorkspace, ctx: Ctx, token: Who) -> Response:
    """A JSON string; 404 if there is no variable."""
    found = await _variable_at(path, workspace, ctx)
    return Response(compact_json(_shown(found, token, ctx)), media_type=JSON)


@router.get("/exists/{path:path}", summary="Whether there is a variable at a path")
async def exists(path: str, workspace: InWorkspace, ctx: Ctx) -> bool:
    """`true` or `false`."""
    return await ctx.library.stored_variable(workspace.id, path) is not None


@router.post(
    "/encrypt",
    response_class=PlainTextResponse,
    summary="Encrypt a text, for an argument",
    openapi_extra=TEXT_BODY,
)
async def encrypt(request: Request, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Of a JSON string. With `$encrypted:` before it, an argument that only scripts of the workspace can read."""
    value = decode(await read(request, ctx.settings.request_mb))
    if not isinstance(value, str):
        raise BadInput("body: a JSON string belongs here", field="body", remedy="send a text in quotes")
    return PlainTextResponse(ctx.library.encrypted(workspace.id, value))


def _shown(variable: Variable, token: Token, ctx: Context) -> str:
    value = ctx.library.decrypted(variable)
    if variable.is_secret:
        ctx.secret_read(token, value)
    return value


async def _variable_at(path: str, workspace: Workspace, ctx: Context) -> Variable:
    found = await ctx.library.stored_variable(workspace.id, path)
    if found is None:
        raise not_found(path)
    return found
