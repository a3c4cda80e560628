"""`GET /approve/…` shows the page, `POST` takes its form. Whoever has the link may open it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

from fastapi import APIRouter, Request, Response

from executor.api.approve.form import payload_of
from executor.api.approve.html import HEADERS
from executor.api.approve.page import Asked, Filled, notice, show, sign_in
from executor.api.body import read
from executor.api.context import Context, Ctx, MaybeCaller, client_of
from executor.api.gates import Gate, Link, gate_of, send
from executor.errors import CallerError, Conflict, NotFound, TooManyRequests, Unauthorized
from executor.script import compact_json
from executor.workspace.signatures import RESUME_ID_MAX

router = APIRouter(include_in_schema=False)  # for people; programs have the routes that it calls

FORM_MB = 1
INPUTS_MAX = 10_000
PATH = "/approve/{workspace}/{job}/{resume_id}/{signature}"


@router.get(PATH)
async def page(
    workspace: str,
    job: str,
    resume_id: str,
    signature: str,
    request: Request,
    ctx: Ctx,
    user: MaybeCaller,
    approver: str | None = None,
) -> Response:
    """The gate's form, or what has become of it."""
    try:
        link, gate = await _opened(ctx, client_of(request), workspace, job, resume_id, signature, approver)
    except CallerError as error:
        return _refusal(error)
    if gate.suspend.user_auth_required and user is None:
        return sign_in(gate, is_wrong=False)
    return show(link, gate)


@router.post(PATH)
async def submit(
    workspace: str,
    job: str,
    resume_id: str,
    signature: str,
    request: Request,
    ctx: Ctx,
    user: MaybeCaller,
    approver: str | None = None,
) -> Response:
    """Take the form: send the event, and lead back to the page, which then says what has become of it."""
    try:
        link, gate = await _opened(ctx, client_of(request), workspace, job, resume_id, signature, approver)
        posted = _inputs(await read(request, FORM_MB))
    except CallerError as error:
        return _refusal(error)
    if gate.suspend.user_auth_required and user is None:
        return await _signed_in(ctx, client_of(request), workspace, link, gate, posted)
    action = (posted.get("action") or [""])[0]
    if action not in ("resume", "cancel"):
        return _back(link)
    asked = Asked.of(gate)
    payload, wrong = payload_of(asked.fields, posted) if action == "resume" else ({}, {})
    if wrong and gate.state.takes_events:
        return show(link, gate, Filled(posted, wrong))
    by = link.approver or (user if gate.suspend.user_auth_required else None)
    approved, said = action == "resume", compact_json(payload)
    with suppress(Conflict):  # somebody was faster: the page says so
        await send(ctx, gate, link.resume_id, approved=approved, approver=by, payload=said)
    return _back(link)


async def _opened(
    ctx: Context, client: str, workspace: str, job: str, resume_id: str, signature: str, approver: str | None
) -> tuple[Link, Gate]:
    """The link and its gate; raises Unauthorized for one that we did not sign, NotFound for no gate."""
    link = _link(job, resume_id, signature, approver)
    return link, await gate_of(ctx, link.opened(ctx, workspace, client), link.job)


def _link(job: str, resume_id: str, signature: str, approver: str | None) -> Link:
    try:
        number = int(resume_id) if resume_id.isascii() and len(resume_id) <= 10 else -1
        link = Link(UUID(job), number, signature, approver or None)
    except ValueError:
        raise Unauthorized("malformed link") from None
    if not 0 <= link.resume_id <= RESUME_ID_MAX:
        raise Unauthorized("malformed link")
    return link


def _refusal(error: CallerError) -> Response:
    match error:
        case Unauthorized():
            text = "It was changed on its way, or cut. Please open the whole link as you were given it."
            return notice("This link is not valid", text, 403)
        case NotFound():
            return notice("Nothing to approve", "The job behind this link is no step of a flow.", 404)
        case _:
            return notice("This cannot be taken", error.detail, error.status)


def _inputs(body: bytes) -> dict[str, list[str]]:
    """What a browser's form says; raises CallerError for what no browser sends."""
    try:
        text = body.decode("ascii")
        return parse_qs(text, keep_blank_values=True, max_num_fields=INPUTS_MAX)
    except ValueError:
        raise CallerError("body: is no form", field="body", remedy="send the page's own form") from None


async def _signed_in(
    ctx: Context, client: str, workspace: str, link: Link, gate: Gate, posted: dict[str, list[str]]
) -> Response:
    """Keep a right token in a cookie for these pages alone, until the browser is closed."""
    token = (posted.get("token") or [""])[0]
    is_sendable = token.isascii() and token.isprintable()  # as a header must be
    try:
        user = await ctx.approver(token, workspace, client) if is_sendable else None
    except TooManyRequests as error:
        return _refusal(error)
    if user is None:
        return sign_in(gate, is_wrong=True)
    base = urlsplit(ctx.settings.resolved_base_url())
    response = _back(link)
    response.set_cookie(
        "token",
        token,
        path=f"{base.path}/approve/",
        secure=base.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


def _back(link: Link) -> Response:
    """To the page again, by GET; relative, so that it works behind any proxy."""
    query = f"?approver={quote(link.approver, safe='')}" if link.approver else ""
    return Response(status_code=303, headers={**HEADERS, "Location": link.signature + query})
