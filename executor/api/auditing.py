"""Notes who changed what, and who was refused; and the routes that list it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor.api.context import Context, Ctx, InWorkspace, OfInstance
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.workspace.audit import CHARS_MAX, Act
from executor.workspace.tokens import Token

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
FORBIDDEN, TOO_MANY = 403, 429
RUNS = ("/jobs/run/", "/jobs/run_wait_result/", "/jobs/restart/")
"""What is submitted there is on the jobs, with its creator."""
PER_PAGE_MAX = 1000

router = APIRouter()
in_workspace = APIRouter()
Limit = Annotated[int, Query(ge=1, le=PER_PAGE_MAX)]
Moment = Annotated[int | None, Query(ge=0, lt=2**63, description="microseconds since 1970")]


class Auditing:
    """ASGI middleware: a row for each change that somebody with a token asked for, and for each refusal."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; note it once it is answered."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            _note(scope, status)


def _note(scope: Scope, status: int) -> None:
    token: Token | None = scope.get("state", {}).get("token")
    if token is None:
        return  # nobody we know: it is in the metrics
    is_change = scope["method"] not in SAFE and not any(run in scope["path"] for run in RUNS)
    if status == TOO_MANY or (not is_change and status != FORBIDDEN):
        return  # refusals for their number are in the metrics: rows would be what a flood is after
    context: Context = scope["app"].state.context
    endpoint = scope["endpoint"]
    act = Act(
        at=now_us(),
        user=token.user,
        token_prefix=token.prefix or token.label,
        workspace_id=scope.get("path_params", {}).get("workspace"),
        operation=f"{endpoint.__module__.rpartition('.')[2]}.{endpoint.__name__}",
        subject=scope["path"][:CHARS_MAX],
        status=status,
        client=(scope.get("client") or ("",))[0],
    )
    context.audit.note(act)


@router.get("/audit/list", summary="Who did what, in the whole instance")
async def list_all(
    ctx: Ctx,
    _: OfInstance,
    username: str | None = None,
    before: Moment = None,
    after: Moment = None,
    per_page: Limit = 100,
) -> list[dict[str, Any]]:
    """Changes and refusals, the latest first; what was run is on the jobs."""
    return [_shown(act) for act in await ctx.audit.list(None, username, before, after, per_page)]


@in_workspace.get("/audit/list", summary="Who did what in a workspace")
async def list_of_workspace(
    workspace: InWorkspace,
    ctx: Ctx,
    username: str | None = None,
    before: Moment = None,
    after: Moment = None,
    per_page: Limit = 100,
) -> list[dict[str, Any]]:
    """Changes and refusals, the latest first; what was run is on the jobs."""
    return [_shown(act) for act in await ctx.audit.list(workspace.id, username, before, after, per_page)]


def _shown(act: Act) -> dict[str, Any]:
    return {**asdict(act), "timestamp": iso(act.at)}
