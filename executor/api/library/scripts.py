"""Scripts of a workspace: a new version, and the versions there are."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from executor.api.body import described, read_model
from executor.api.checks import runtime_of
from executor.api.context import Caller, Context, Ctx, InWorkspace
from executor.api.jobs import JSON
from executor.api.models import SECONDS_MAX, Name
from executor.api.problems import shown
from executor.errors import NotFound
from executor.flows.document.parts import Limit
from executor.flows.schema import check_schema
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.script import compact_json, json_object
from executor.workspace.scripts import NewScript, ScriptVersion
from executor.workspace.workspaces import Workspace

router = APIRouter()


class CreateScript(BaseModel):
    """The body of `scripts/create`; further members are ignored, as Windmill does."""

    model_config = ConfigDict(strict=True)

    path: str = Field(description="u/USER/NAME or f/FOLDER/NAME")
    summary: str | None = None
    description: str | None = None
    content: str = Field(description="the script's source")
    language: str = Field(description="a language of GET /api/runtimes")
    input_schema: Any = Field(None, alias="schema", description="JSON Schema of the arguments, section 6.4")
    lock: str | list[str] | None = Field(None, description="the text, or its lines")
    tag: Name | None = None
    priority: int | None = Field(None, ge=0, le=100)
    cache_ttl: float | None = Field(None, ge=0, le=SECONDS_MAX, description="seconds")
    timeout: float | None = Field(None, gt=0, le=SECONDS_MAX, description="seconds")
    parent_hash: str | None = Field(None, description="the version that this one replaces")
    concurrent_limit: Limit = Field(None, description="jobs of its key at once, or starts in the window")
    concurrency_time_window_s: float | None = Field(None, ge=0, le=SECONDS_MAX, description="seconds")
    concurrency_key: Name | None = Field(
        None, description="whose jobs count together, with $workspace and $args[name]; by itself its path's"
    )


@router.post(
    "/create",
    status_code=201,
    response_class=PlainTextResponse,
    summary="Store a script, or a new version of one",
    openapi_extra=described(CreateScript),
)
async def create(request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """Answers the version's hash; it can be run at once."""
    asked = await read_model(request, CreateScript, ctx.settings.request_mb)
    hash = await ctx.library.create_script(workspace.id, new_script(asked, ctx), user, now_us())
    return PlainTextResponse(hash, 201)


def new_script(asked: CreateScript, ctx: Context) -> NewScript:
    """The request as a version to be; raises BadInput naming what is wrong."""
    check_schema(asked.input_schema)
    return NewScript(
        path=asked.path,
        language=runtime_of(asked.language, ctx).name,
        content=asked.content,
        summary=asked.summary or "",
        description=asked.description or "",
        schema=None if asked.input_schema is None else compact_json(asked.input_schema).decode(),
        lock="\n".join(asked.lock) if isinstance(asked.lock, list) else asked.lock,
        tag=asked.tag,
        priority=asked.priority,
        cache_ttl_s=asked.cache_ttl,
        timeout_s=asked.timeout,
        parent_hash=None if asked.parent_hash is None else asked.parent_hash.lower(),
        concurrent_limit=asked.concurrent_limit,
        concurrency_window_s=asked.concurrency_time_window_s,
        concurrency_key=asked.concurrency_key,
    )


@router.get("/get/p/{path:path}", summary="The script at a path")
async def get_by_path(path: str, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Its latest version; 404 if there is none."""
    return _whole(workspace, await script_at(path, workspace, ctx))


@router.get("/get/h/{hash}", summary="A version of a script")
async def get_by_hash(hash: str, workspace: InWorkspace, ctx: Ctx) -> Response:
    """Also one that was replaced; 404 if there is none."""
    return _whole(workspace, await script_version(hash, workspace, ctx))


@router.get("/raw/p/{path:path}", response_class=PlainTextResponse, summary="The source of a script")
async def raw(path: str, workspace: InWorkspace, ctx: Ctx) -> Response:
    """The latest version's content. The path may end with the language's extension, as imports have it."""
    file = PurePosixPath(path)
    found = await script_at(str(file.with_suffix("")) if file.suffix else path, workspace, ctx)
    runtime = ctx.runtimes.find(found.language)
    if file.suffix and (runtime is None or file.suffix not in runtime.manifest.extensions):
        raise NotFound(f"path: the script at {found.path} is {found.language}", field="path")
    return PlainTextResponse(found.content)


async def script_at(path: str, workspace: Workspace, ctx: Context) -> ScriptVersion:
    """The latest version at a path; raises NotFound."""
    found = await ctx.library.script_version(workspace.id, path=path)
    if found is not None:
        return found
    if path.startswith("hub/"):
        raise NotFound(
            f"path: {shown(path)} is of the hub, which this version does not reach",
            field="path",
            remedy="store a copy of the script with POST scripts/create",
        )
    raise NotFound(
        f"path: there is no script at {shown(path)}",
        field="path",
        remedy="create it with POST scripts/create",
    )


async def script_version(hash: str, workspace: Workspace, ctx: Context) -> ScriptVersion:
    """A version by its hash; raises NotFound."""
    found = await ctx.library.script_version(workspace.id, hash=hash)
    if found is None:
        raise NotFound(
            f"hash: there is no version {shown(hash)} of a script",
            field="hash",
            remedy="use the 16 digits that scripts/create answered",
        )
    return found


def _whole(workspace: Workspace, script: ScriptVersion) -> Response:
    members: dict[str, Any] = {
        "workspace_id": workspace.id,
        "hash": script.hash,
        "path": script.path,
        "parent_hashes": [] if script.parent_hash is None else [script.parent_hash],
        "summary": script.summary,
        "description": script.description,
        "content": script.content,
        "language": script.language,
        "lock": script.lock,
        "kind": "script",
        "tag": script.tag,
        "priority": script.priority,
        "cache_ttl": script.cache_ttl_s,
        "timeout": script.timeout_s,
        "concurrent_limit": script.concurrent_limit,
        "concurrency_time_window_s": script.concurrency_window_s,
        "concurrency_key": script.concurrency_key,
        "created_by": script.created_by,
        "created_at": iso(script.created_at),
        "archived": script.archived,
        "deleted": False,
        "is_template": False,
        "extra_perms": {},
    }
    raw = {"schema": (script.schema or "null").encode()}
    return Response(json_object(members, raw), media_type=JSON)
