"""What the routes work with, handed over by `executor.wiring`."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from executor.api.problems import shown
from executor.api.rates import Rates
from executor.errors import Forbidden, Unauthorized
from executor.jobs.desk import Desk
from executor.jobs.job import now_us
from executor.runtimes import Runtime, Runtimes
from executor.settings import Settings
from executor.workspace.audit import Audit
from executor.workspace.library import Library
from executor.workspace.tokens import Right, Token, Tokens, hash_of, is_signed, read_for_job
from executor.workspace.workspaces import Workspace, Workspaces

ADMIN = Token(prefix="", user="admin", right=Right.ADMIN, label="EXECUTOR_TOKEN")
"""Who has the instance's own token."""


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
    tokens: Tokens
    audit: Audit
    rates: Rates
    token: str
    image_of: Callable[[Runtime], Awaitable[str]]
    checks: Callable[[], Awaitable[list[Check]]]

    async def identify(self, text: str) -> Token | None:
        """The token of this text, if there is one and it holds, in a time that says nothing of others."""
        if hmac.compare_digest(hash_of(text), hash_of(self.token)):
            return ADMIN
        of_job = read_for_job(text, now_us())
        if of_job is None:
            return await self.tokens.find(text, now_us())
        live = self.desk.live.get(of_job.job_id or "")
        if live is None or not of_job.holds_in(live.workspace_id):
            return None
        return of_job if is_signed(self.workspaces.get(live.workspace_id).key, text) else None

    def secret_read(self, token: Token, secret: str) -> None:
        """A secret was read with this token; a job's own log shows it masked from now on."""
        live = self.desk.live.get(token.job_id or "")
        if live is not None:
            live.redactor.add(secret)

    async def approver(self, text: str, workspace_id: str, client: str) -> str | None:
        """Who may approve in the workspace with this token; None if nobody.

        Raises TooManyRequests when too many wrong ones came from the address `client`.
        """
        if not text:
            return None
        if (token := await self.identify(text)) is None:
            self.rates.wrong(client)
            return None
        self.rates.right(client, token.prefix)
        if not token.right.includes(Right.RUN) or not token.holds_in(workspace_id):
            return None
        return token.user


# Dependencies are coroutines: plain functions would each cost a request a hop into a thread.
async def context(request: Request) -> Context:
    """The service's context, as a dependency."""
    found: Context = request.app.state.context
    return found


Ctx = Annotated[Context, Depends(context)]


Bearer = Annotated[object, Security(HTTPBearer(auto_error=False))]
"""Shows in the OpenAPI document how to authenticate; `caller` looks by itself."""


async def who(request: Request, ctx: Ctx, _: Bearer = None) -> Token:
    """Who calls, by `Authorization: Bearer T`, cookie `token=T` or `?token=T`, and may do so.

    Raises Unauthorized, and Forbidden where a route needs a right that the token does not give.
    """
    token = request.state.token = await _identified(request, ctx)
    if not hasattr(request.state, "entered"):  # FastAPI may ask more than once
        request.state.entered = ctx.rates.enter(token, client_of(request))
    rights: Mapping[object, Right] = request.app.state.rights
    needed = rights.get(request.scope["endpoint"], Right.ADMIN)
    if not token.right.includes(needed):
        raise Forbidden(
            f"this needs the right `{needed}`, and the token has `{token.right}`",
            field="Authorization",
            remedy=f"use a token with the right `{needed}`",
        )
    return token


def client_of(request: Request) -> str:
    """The address of who calls; empty where it has none."""
    return request.client.host if request.client else ""


def _text(request: Request) -> str:
    """The token that a request brings; empty if none."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    text = bearer.strip() if scheme.lower() == "bearer" else ""
    return text or request.cookies.get("token", "") or request.query_params.get("token", "")


async def _identified(request: Request, ctx: Context) -> Token:
    text = _text(request)
    if not text:
        ctx.rates.wrong(client_of(request))
        raise Unauthorized(
            "no token given", field="Authorization", remedy="send `Authorization: Bearer TOKEN`"
        )
    if (token := await ctx.identify(text)) is None:
        ctx.rates.wrong(client_of(request))
        raise Unauthorized(
            "the token is not known, or over",
            field="Authorization",
            remedy="use EXECUTOR_TOKEN, the file `token`, or one of `executor token create`",
        )
    return token


Who = Annotated[Token, Depends(who)]


async def caller(token: Who) -> str:
    """The name of who calls."""
    return token.user


Caller = Annotated[str, Depends(caller)]


async def of_instance(token: Who) -> Token:
    """Who calls for the instance itself; raises Forbidden for a token of certain workspaces."""
    if token.workspaces is not None:
        raise Forbidden(
            f"the token is for {', '.join(token.workspaces)} only",
            field="Authorization",
            remedy="use one that is for the whole instance",
        )
    return token


OfInstance = Annotated[Token, Depends(of_instance)]


async def maybe_caller(workspace: str, request: Request, ctx: Ctx) -> str | None:
    """Who calls; None for somebody without a token that may run things in the workspace."""
    return await ctx.approver(_text(request), workspace, client_of(request))


MaybeCaller = Annotated[str | None, Depends(maybe_caller)]


def workspace_for(workspace_id: str, ctx: Context, token: Token) -> Workspace:
    """A workspace, if the token is for it; raises Forbidden, NotFound."""
    # Before it is looked for: whether there is one is not theirs to know.
    if not token.holds_in(workspace_id):
        raise Forbidden(
            f"the token is not for the workspace {shown(workspace_id)}",
            field="workspace",
            remedy="use a token of this workspace",
        )
    return ctx.workspaces.get(workspace_id)


async def workspace(workspace: str, ctx: Ctx, token: Who) -> Workspace:
    """The workspace of the path, as a dependency that also asks for credentials."""
    return workspace_for(workspace, ctx, token)


InWorkspace = Annotated[Workspace, Depends(workspace)]
