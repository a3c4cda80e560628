"""Approvals: signed URLs, and the events that they send (docs/openflow.md section 1.10)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse

from executor.api.body import decode, read, recoded
from executor.api.context import Caller, Ctx, InWorkspace, MaybeCaller, client_of
from executor.api.gates import Gate, Link, gate_of, send, waiting_job
from executor.api.jobs import JSON
from executor.api.models import job_members
from executor.errors import BadInput, TooLarge
from executor.jobs import store
from executor.script import compact_json, json_object
from executor.workspace.signatures import RESUME_ID_MAX, signature

router = APIRouter()
open_router = APIRouter()
"""Routes that a signature opens, without a token."""

PAYLOAD_MB = 1
AS_RESUME_ID = 0
"""The resume id of an event that a token sends without a signed URL."""

ResumeId = Annotated[int, Path(ge=0, le=RESUME_ID_MAX)]
Approver = Annotated[
    str | None, Query(max_length=255, description="who approves; must be the one that was signed")
]
PAYLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "what the next step sees as `resume`: any JSON; none is null",
        "content": {"application/json": {"schema": {}}},
    }
}


def link(job: UUID, resume_id: ResumeId, signature: str, approver: Approver = None) -> Link:
    """The signed URL that was called, as a dependency."""
    return Link(job, resume_id, signature, approver or None)


SignedLink = Annotated[Link, Depends(link)]


@dataclass(frozen=True)
class Called:
    """The gate that a signed URL opens, and who sends the event."""

    link: Link
    gate: Gate
    approver: str | None


async def called(workspace: str, link: SignedLink, user: MaybeCaller, ctx: Ctx, request: Request) -> Called:
    """Check the signature, find the gate, and ask for a token where the gate wants one."""
    gate = await gate_of(ctx, link.opened(ctx, workspace, client_of(request)), link.job)
    gate.admit(user)
    by = user if gate.suspend.user_auth_required else None
    return Called(link, gate, link.approver or by)


Opened = Annotated[Called, Depends(called)]


# ------------------------------------------------------------ making URLs


@router.get("/jobs/resume_urls/{job}/{resume_id}", summary="URLs to approve or disapprove a step")
async def resume_urls(
    job: UUID, resume_id: ResumeId, workspace: InWorkspace, ctx: Ctx, approver: Approver = None
) -> dict[str, str]:
    """`{approvalPage, resume, cancel}` of a gated step's job; each holds a signature, no token."""
    await ctx.desk.get(workspace.id, str(job))
    signed = f"{job}/{resume_id}/{signature(workspace.key, job, resume_id, approver)}"
    query = f"?approver={quote(approver, safe='')}" if approver else ""
    base = ctx.settings.resolved_base_url()
    return {
        "approvalPage": f"{base}/approve/{workspace.id}/{signed}{query}",
        "resume": f"{base}/api/w/{workspace.id}/jobs_u/resume/{signed}{query}",
        "cancel": f"{base}/api/w/{workspace.id}/jobs_u/cancel/{signed}{query}",
    }


@router.get(
    "/jobs/job_signature/{id}/{resume_id}",
    response_class=PlainTextResponse,
    summary="The signature of such URLs alone",
)
async def job_signature(
    id: UUID, resume_id: ResumeId, workspace: InWorkspace, ctx: Ctx, approver: Approver = None
) -> Response:
    """Lower-case hex: HMAC-SHA256 over the job's id, the resume id and the approver."""
    await ctx.desk.get(workspace.id, str(id))
    return PlainTextResponse(signature(workspace.key, id, resume_id, approver))


# ------------------------------------------------------------ events


def query_payload(payload: Annotated[str | None, Query(description="base64url of JSON")] = None) -> bytes:
    """The payload of a GET request as JSON; null if there is none. Raises BadInput."""
    if not payload:
        return b"null"
    try:
        plain = payload.replace("-", "+").replace("_", "/").rstrip("=")
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        return compact_json(decode(text))
    except (binascii.Error, ValueError, BadInput):
        raise BadInput(
            "payload: is not base64url of JSON", field="payload", remedy="encode JSON so, or POST it as body"
        ) from None


async def body_payload(request: Request) -> bytes:
    """The payload of a POST request as JSON; null for an empty body. Raises BadInput, TooLarge."""
    try:
        body = await read(request, PAYLOAD_MB)
    except TooLarge:
        raise TooLarge(f"body: over {PAYLOAD_MB} MiB", field="body", remedy="send less") from None
    return recoded(body)


InQuery = Annotated[bytes, Depends(query_payload)]


@open_router.get(
    "/jobs_u/resume/{job}/{resume_id}/{signature}",
    status_code=201,
    response_class=Response,
    summary="Approve a step",
)
async def resume_by_get(opened: Opened, payload: InQuery, ctx: Ctx) -> Response:
    """Send an approval; no token is needed unless the step says `user_auth_required`."""
    return await _send(ctx, opened, payload, approved=True)


@open_router.post(
    "/jobs_u/resume/{job}/{resume_id}/{signature}",
    status_code=201,
    response_class=Response,
    summary="Approve a step",
    openapi_extra=PAYLOAD_BODY,
)
async def resume_by_post(opened: Opened, request: Request, ctx: Ctx) -> Response:
    """As with GET; the body is the payload."""
    return await _send(ctx, opened, await body_payload(request), approved=True)


@open_router.get(
    "/jobs_u/cancel/{job}/{resume_id}/{signature}",
    status_code=201,
    response_class=Response,
    summary="Disapprove a step",
)
async def cancel_by_get(opened: Opened, payload: InQuery, ctx: Ctx) -> Response:
    """Send a disapproval; it counts at once, whoever else has approved."""
    return await _send(ctx, opened, payload, approved=False)


@open_router.post(
    "/jobs_u/cancel/{job}/{resume_id}/{signature}",
    status_code=201,
    response_class=Response,
    summary="Disapprove a step",
    openapi_extra=PAYLOAD_BODY,
)
async def cancel_by_post(opened: Opened, request: Request, ctx: Ctx) -> Response:
    """As with GET; the body is the payload."""
    return await _send(ctx, opened, await body_payload(request), approved=False)


async def _send(ctx: Ctx, opened: Called, payload: bytes, *, approved: bool) -> Response:
    await send(
        ctx,
        opened.gate,
        opened.link.resume_id,
        approved=approved,
        approver=opened.approver,
        payload=payload,
    )
    return Response(status_code=201)


@router.post(
    "/jobs/flow/resume/{id}",
    status_code=201,
    response_class=Response,
    summary="Approve what a flow waits for",
    openapi_extra=PAYLOAD_BODY,
)
async def resume_flow(id: UUID, request: Request, workspace: InWorkspace, user: Caller, ctx: Ctx) -> Response:
    """Approve with a token instead of a signed URL; the body is the payload, the resume id 0."""
    payload = await body_payload(request)
    gate = await gate_of(ctx, workspace, await waiting_job(ctx, workspace, id))
    await send(ctx, gate, AS_RESUME_ID, approved=True, approver=user, payload=payload)
    return Response(status_code=201)


# ------------------------------------------------------------ what approvers see


@open_router.get("/jobs_u/get_flow/{job}/{resume_id}/{signature}", summary="What an approval page shows")
async def get_flow(opened: Opened, ctx: Ctx) -> Response:
    """`{job, approvers, state, required_events, until}`: the flow job without its code, and its gate."""
    gate = opened.gate
    flow = gate.rows.flow
    raw = {
        "args": await ctx.desk.database.read(store.args, flow.id),
        "flow_status": await ctx.desk.flow_status(flow),
        "raw_flow": compact_json({"modules": _without_code(flow.content)}),
    }
    members = {
        "approvers": gate.approvers,
        "state": gate.state.value,
        "required_events": gate.suspend.required_events,
        "until": gate.until,
    }
    shown = json_object(job_members(flow, with_code=False), raw)
    return Response(json_object(members, {"job": shown}), media_type=JSON)


def _without_code(content: str) -> list[dict[str, Any]]:
    """A flow's modules as an approver may see them: their names and their gates."""
    modules = json.loads(content)["modules"] if content else []
    return [
        {
            "id": module["id"],
            "summary": module.get("summary"),
            "value": {"type": module["value"]["type"]},
            "suspend": module.get("suspend"),
        }
        for module in modules
    ]
