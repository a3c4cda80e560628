"""Making and reading workspaces and their policies."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from executor.api.body import read_model
from executor.api.context import Ctx, OfInstance, Who, workspace_for
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.workspace.policy import Policy
from executor.workspace.workspaces import Workspace

router = APIRouter(prefix="/workspaces")


class CreateWorkspace(BaseModel):
    """The body of `workspaces/create`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: str
    name: str | None = Field(None, max_length=255)
    policy: Policy = Policy()


class SetPolicy(BaseModel):
    """The body of `workspaces/set_policy`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    policy: Policy


POLICY: dict[str, Any] = {
    "type": "object",
    "description": "networks [{cidr, ports}], egress {connections, connections_per_s, lookups_per_s}, images, limits, "
    "concurrency, validate_args, runtime_class (runc, crun, runsc)",
}
POLICY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["policy"], "properties": {"policy": POLICY}}
            }
        },
    }
}
EXAMPLE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {
                        "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,49}$"},
                        "name": {"type": ["string", "null"], "maxLength": 255},
                        "policy": POLICY,
                    },
                }
            }
        },
    }
}


def _shown(workspace: Workspace) -> dict[str, Any]:
    return {
        "id": workspace.id,
        "name": workspace.name,
        "policy": workspace.policy.model_dump(mode="json"),
        "created_at": iso(workspace.created_at),
    }


@router.post("/create", status_code=201, summary="Make a workspace", openapi_extra=EXAMPLE_BODY)
async def create(request: Request, ctx: Ctx, _: OfInstance) -> dict[str, Any]:
    """`{id, name?, policy?}`; 409 if it exists."""
    asked = await read_model(request, CreateWorkspace, ctx.settings.request_mb)
    return _shown(await ctx.workspaces.create(asked.id, asked.name, asked.policy, now_us()))


@router.post("/set_policy/{id}", summary="Give a workspace another policy", openapi_extra=POLICY_BODY)
async def set_policy(id: str, request: Request, ctx: Ctx, _: OfInstance) -> dict[str, Any]:
    """`{policy}`, whole; what jobs may reach changes for running ones too. 404 if there is none of this id."""
    asked = await read_model(request, SetPolicy, ctx.settings.request_mb)
    return _shown(await ctx.workspaces.set_policy(id, asked.policy))


@router.get("/list", summary="All workspaces")
async def list_all(ctx: Ctx, token: Who) -> list[dict[str, Any]]:
    """Workspaces by id, as far as the token is for them."""
    return [_shown(workspace) for workspace in ctx.workspaces.list() if token.holds_in(workspace.id)]


@router.get("/get/{id}", summary="A workspace and its policy")
async def get(id: str, ctx: Ctx, token: Who) -> dict[str, Any]:
    """404 if there is none of this id, 403 if the token is not for it."""
    return _shown(workspace_for(id, ctx, token))
