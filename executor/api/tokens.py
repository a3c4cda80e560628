"""Making, listing and ending tokens: Windmill's `users/tokens` routes, and a token's right and workspaces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from executor.api.body import read_model
from executor.api.context import Context, Ctx, Who
from executor.errors import BadInput, Forbidden
from executor.jobs.environment import iso
from executor.jobs.job import now_us
from executor.workspace.tokens import Right, Token

router = APIRouter(prefix="/users/tokens")
TOKENS_MAX = 10_000
TOKENS_OF_USER_MAX = 1000
"""So that none of those who may only read fills the place of all. An administrator of the instance has no bound."""
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "label": {"type": ["string", "null"], "maxLength": 255},
                        "expiration": {"type": ["string", "null"], "format": "date-time"},
                        "workspace_id": {"type": ["string", "null"]},
                        "right": {"enum": [right.value for right in Right]},
                        "user": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$"},
                    },
                }
            }
        },
    }
}


class CreateToken(BaseModel):
    """The body of `users/tokens/create`; scopes, which Windmill has too, are refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(None, max_length=255)
    expiration: AwareDatetime | None = None
    workspace_id: str | None = None
    right: Right | None = None
    user: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")


@router.post(
    "/create", status_code=201, response_class=PlainTextResponse, summary="Make a token", openapi_extra=BODY
)
async def create(request: Request, ctx: Ctx, by: Who) -> Response:
    """`{label?, expiration?, workspace_id?, right?, user?}`; the answer is the token, which is not told again.

    Without more it is what the caller's is. It may do no more than that: else 403.
    """
    asked = await read_model(request, CreateToken, ctx.settings.request_mb)
    if by.job_id is not None:
        raise Forbidden("a job's token makes no others", field="Authorization", remedy="use a user's token")
    if not by.is_instance_s_admin:
        _bounded(len(ctx.tokens.list()), TOKENS_MAX, "there are")
        _bounded(len(ctx.tokens.list(by.user)), TOKENS_OF_USER_MAX, f"{by.user} has")
    text, _ = await ctx.tokens.create(_asked(asked, by, ctx), now_us())
    return PlainTextResponse(text, 201)


def _bounded(number: int, most: int, whose: str) -> None:
    if number >= most:
        raise BadInput(f"{whose} {most} tokens", field="label", remedy="delete some first")


def _asked(asked: CreateToken, by: Token, ctx: Context) -> Token:
    """The token that is asked for; raises Forbidden if it could do more than who asks, NotFound."""
    right = asked.right or by.right
    where = by.workspaces if asked.workspace_id is None else (asked.workspace_id,)
    is_other = asked.user is not None and asked.user != by.user
    expires_at = None if asked.expiration is None else _micros(asked.expiration)
    if not by.right.includes(right):
        raise Forbidden(f"right: the caller has {by.right} only", field="right", remedy="ask for less")
    if asked.workspace_id is not None and not by.holds_in(asked.workspace_id):
        raise Forbidden("workspace_id: it is not the caller's", field="workspace_id", remedy="ask for less")
    if is_other and (by.right is not Right.ADMIN or by.workspaces is not None):
        raise Forbidden(
            "user: the caller names nobody else", field="user", remedy="use a token with the right `admin`"
        )
    if by.expires_at is not None and (expires_at is None or expires_at > by.expires_at):
        raise Forbidden(
            "expiration: it would outlive the caller's token",
            field="expiration",
            remedy="give an earlier one",
        )
    for workspace_id in where or ():
        ctx.workspaces.get(workspace_id)
    return Token("", asked.user or by.user, right, where, asked.label or "", expires_at=expires_at)


def _micros(moment: datetime) -> int:
    try:
        return round(moment.astimezone(UTC).timestamp() * 1e6)
    except OverflowError as error:
        raise BadInput(
            f"expiration: {moment.isoformat()} is out of range in UTC",
            field="expiration",
            remedy="give a nearer one",
        ) from error


@router.get("/list", summary="Tokens")
async def list_all(
    ctx: Ctx, by: Who, all_users: Annotated[bool, Query(description="an administrator's: of all")] = True
) -> list[dict[str, Any]]:
    """The caller's own that allow no more than this one; all for an administrator of the instance."""
    found = ctx.tokens.list(None if by.is_instance_s_admin and all_users else by.user)
    return [_shown(token) for token in found if by.covers(token)]  # never their texts


def _shown(token: Token) -> dict[str, Any]:
    def moment(micros: int | None) -> str | None:
        return None if micros is None else iso(micros)

    return {
        "token_prefix": token.prefix,
        "label": token.label,
        "user": token.user,
        "right": token.right,
        "workspaces": token.workspaces,
        "created_at": moment(token.created_at),
        "expiration": moment(token.expires_at),
        "last_used_at": moment(token.last_used_at),
    }


@router.delete("/delete/{token_prefix}", response_class=PlainTextResponse, summary="End a token")
async def delete(token_prefix: str, ctx: Ctx, by: Who) -> Response:
    """At once. 404 for one that `list` does not show."""
    await ctx.tokens.delete(token_prefix, by)
    return PlainTextResponse(f"deleted {token_prefix}")
