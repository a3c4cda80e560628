"""What the routes work with, handed over by `executor.wiring`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from executor.errors import Unauthorized
from executor.jobs.desk import Desk
from executor.runtimes import Runtime, Runtimes
from executor.settings import Settings
from executor.workspace.library import Library
from executor.workspace.workspaces import Workspace, Workspaces

ADMIN = "admin"


@dataclass(frozen=True)
class Check:
    """One thing that must hold for the service to be ready."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Context:
    """The parts of a running service that HTTP needs."""

    settings: Settings
    desk: Desk
    workspaces: Workspaces
    library: Library
    runtimes: Runtimes
    token: str
    image_of: Callable[[Runtime], Awaitable[str]]
    checks: Callable[[], Awaitable[list[Check]]]

    def knows(self, token: str) -> bool:
        """Whether `token` is the admin token, in a time that says nothing of it."""
        given, own = (hashlib.sha256(t.encode("utf-8", "replace")).digest() for t in (token, self.token))
        return hmac.compare_digest(given, own)


# Dependencies are coroutines: plain functions would each cost a request a hop into a thread.
async def context(request: Request) -> Context:
    """The service's context, as a dependency."""
    found: Context = request.app.state.context
    return found


Ctx = Annotated[Context, Depends(context)]


Bearer = Annotated[object, Security(HTTPBearer(auto_error=False))]
"""Shows in the OpenAPI document how to authenticate; `caller` looks by itself."""


async def caller(request: Request, ctx: Ctx, _: Bearer = None) -> str:
    """Who calls, by `Authorization: Bearer T`, cookie `token=T` or `?token=T`; raises Unauthorized."""
    return _caller(request, ctx)


def _caller(request: Request, ctx: Context) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    token = bearer.strip() if scheme.lower() == "bearer" else ""
    token = token or request.cookies.get("token", "") or request.query_params.get("token", "")
    if not token:
        raise Unauthorized(
            "no token given", field="Authorization", remedy="send `Authorization: Bearer TOKEN`"
        )
    if not ctx.knows(token):
        raise Unauthorized(
            "the token is not known", field="Authorization", remedy="use EXECUTOR_TOKEN, or the file `token`"
        )
    return ADMIN


Caller = Annotated[str, Depends(caller)]


async def maybe_caller(request: Request, ctx: Ctx) -> str | None:
    """Who calls; None for somebody without a valid token."""
    try:
        return _caller(request, ctx)
    except Unauthorized:
        return None


MaybeCaller = Annotated[str | None, Depends(maybe_caller)]


async def workspace(workspace: str, ctx: Ctx, _: Caller) -> Workspace:
    """The workspace of the path, as a dependency that also asks for credentials; raises NotFound."""
    return ctx.workspaces.get(workspace)


InWorkspace = Annotated[Workspace, Depends(workspace)]
