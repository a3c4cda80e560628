"""A signed URL, or a flow's id, as the gate it opens: who may send an event, and whether it still counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from executor.api.context import Context
from executor.errors import Conflict, NotFound, Unauthorized
from executor.flows.document import FlowLimits, Suspend, read_flow
from executor.flows.gated import Gated, GateState, gated_at, state_of
from executor.flows.world import Event
from executor.jobs import gates
from executor.jobs.gates import GateRows
from executor.jobs.job import Job, now_us
from executor.workspace.signatures import is_signed
from executor.workspace.workspaces import Workspace

INVALID = "Invalid signature"
SPENT = {
    GateState.NONE: "this step asks for no approval",
    GateState.APPROVED: "the step was approved already",
    GateState.DISAPPROVED: "the step was disapproved already",
    GateState.TIMED_OUT: "the time to approve this step is over",
    GateState.ENDED: "the flow has ended; nothing waits for this any more",
}


@dataclass(frozen=True)
class Link:
    """The parts of a signed URL; whoever holds one may send one event under its `resume_id`."""

    job: UUID
    resume_id: int
    signature: str
    approver: str | None

    def opened(self, ctx: Context, workspace_id: str, client: str) -> Workspace:
        """The workspace whose key signed it; raises Unauthorized, for an unknown workspace too.

        A wrong one counts as a wrong token from the address `client`: raises TooManyRequests.
        """
        try:
            workspace = ctx.workspaces.get(workspace_id)
        except NotFound:
            workspace = None
        parts = (self.job, self.resume_id, self.approver)
        if workspace is None or not is_signed(self.signature, workspace.key, *parts):
            ctx.rates.wrong(client)
            raise Unauthorized(
                INVALID, field="signature", remedy="use the whole URL as it was given, `approver` included"
            )
        ctx.rates.right(client, self.signature)
        return workspace


@dataclass(frozen=True)
class Gate:
    """A gated step, its events, and where its gate stands."""

    rows: GateRows
    gated: Gated | None
    """None where the document that the step is of is not at hand."""
    state: GateState
    until: int | None
    """When its time is over, in microseconds since 1970; None before the flow has come to it."""

    @property
    def suspend(self) -> Suspend:
        """The gate's settings; the strictest, where they are not at hand."""
        return (
            Suspend(required_events=1, user_auth_required=True)
            if self.gated is None
            else self.gated.module.suspend
        )

    @property
    def events(self) -> list[Event]:
        """Approvals and disapprovals so far, oldest first."""
        return events_of(self.rows)

    def event(self, resume_id: int) -> Event | None:
        """The event that was sent under an id."""
        return next((event for event in self.events if event.resume_id == resume_id), None)

    @property
    def approvers(self) -> list[dict[str, Any]]:
        """Who has approved, as clients know it."""
        return [
            {"resume_id": event.resume_id, "approver": event.approver or "anonymous"}
            for event in self.events
            if event.is_approved
        ]

    def admit(self, user: str | None) -> None:
        """Raise Unauthorized if the gate asks for a token and none was given."""
        if self.suspend.user_auth_required and user is None:
            raise Unauthorized(
                "this approval needs a token too, not only the signed URL",
                field="Authorization",
                remedy="send `Authorization: Bearer TOKEN`",
            )

    def check_takes(self, resume_id: int) -> None:
        """Raise Conflict unless an event under this id still counts."""
        if self.event(resume_id) is not None:
            raise Conflict(
                "resume request already sent",
                field="resume_id",
                remedy="ask for a URL with another resume id",
            )
        if not self.state.takes_events:
            raise Conflict(f"job {self.rows.job.id}: {SPENT[self.state]}", field="job")


def events_of(rows: GateRows) -> list[Event]:
    """The stored events as values."""
    return [Event(row.resume_id, row.approved, row.approver, row.payload) for row in rows.events]


async def gate_of(ctx: Context, workspace: Workspace, job_id: UUID) -> Gate:
    """The gate behind a step's job; raises NotFound for a job that is no step of a flow."""
    database = ctx.desk.database
    rows = await database.read(gates.read, workspace.id, str(job_id))
    gated = _gated(rows, FlowLimits.of(ctx.settings))
    if gated is None:
        running = rows.run.state != "completed"
        return Gate(rows, None, GateState.WAITING if running else GateState.ENDED, None)
    paths = [f"{gated.base_path}/gate", f"{gated.base_path}/gate-until"]
    notes = await database.read(gates.notes, rows.run.id, paths)
    until = int(notes[paths[1]]) if paths[1] in notes else None
    return Gate(rows, gated, _state(rows, gated, notes.get(paths[0]), until), until)


def _gated(rows: GateRows, limits: FlowLimits) -> Gated | None:
    """The step's module, in the innermost flow around it that has a document of its own."""
    holder = next((flow for flow in rows.around if flow.content), None)
    if holder is None:
        return None
    flow = read_flow(json.loads(holder.content), languages=lambda name: name, limits=limits)
    return gated_at(flow.modules, rows.job.run_path or "", holder.run_path or "")


def _state(rows: GateRows, gated: Gated, decision: bytes | None, until: int | None) -> GateState:
    job = rows.job
    if gated.module.suspend.required_events < 1 or _does_not_count(job, gated):
        return GateState.NONE
    if decision is not None:
        return _decided(json.loads(decision)["error"])
    said = state_of(gated, events_of(rows), is_late=until is not None and now_us() >= until)
    if rows.run.state == "completed" or rows.run.canceled_by is not None:
        return GateState.ENDED
    if said is GateState.WAITING and job.state != "completed":
        return GateState.RUNNING
    return said


def _does_not_count(job: Job, gated: Gated) -> bool:
    """Whether the step has failed, or was skipped."""
    if job.state != "completed":
        return False
    stands_in = job.kind == "identity" and (job.run_path or "").endswith("/none")
    is_identity = gated.module.value.type == "identity" or gated.module.mock.enabled or stands_in
    return (job.status is not None and not job.status.is_success) or (
        job.kind == "identity" and not is_identity
    )


def _decided(error: str | None) -> GateState:
    if error is None:
        return GateState.APPROVED
    return GateState.TIMED_OUT if error == "late" else GateState.DISAPPROVED


async def send(
    ctx: Context, gate: Gate, resume_id: int, *, approved: bool, approver: str | None, payload: bytes
) -> None:
    """Send an event to a gate; raises Conflict when it does not count any more."""
    gate.check_takes(resume_id)
    await ctx.desk.add_event(gate.rows.job.id, resume_id, approved, approver, payload)


async def waiting_job(ctx: Context, workspace: Workspace, flow_id: UUID) -> UUID:
    """The gated step's job that a flow waits for now, in itself or in a flow job inside.

    Raises NotFound for an unknown flow, Conflict when it waits for none, or for several.
    """
    flow = await ctx.desk.get(workspace.id, str(flow_id))
    if not flow.is_flow:
        raise NotFound(f"job {flow_id} is no flow", field="id", remedy="use the id of a flow's run")
    parts = await ctx.desk.database.read(gates.flow_jobs, flow)
    own = _waited_for(ctx, parts[:1])
    found = own or _waited_for(ctx, parts[1:])
    if not found:
        raise Conflict(f"flow {flow_id} does not wait for an approval", field="id")
    if len(found) > 1:
        raise Conflict(
            f"flow {flow_id} waits for {len(found)} approvals: of the jobs {', '.join(found[:10])}",
            field="id",
            remedy="ask for the resume URLs of one of these jobs",
        )
    return UUID(found[0])


def _waited_for(ctx: Context, flows: Sequence[Job]) -> list[str]:
    """The gated steps' jobs that these flow jobs wait for."""
    found: list[str] = []
    for flow in flows:
        if flow.state == "completed":
            continue
        live = ctx.desk.flow_statuses.get(flow.id)
        status = json.loads(flow.flow_status or "{}" if live is None else live.text)
        modules = status.get("modules", ())
        found += [module["job"] for module in modules if module["type"] == "WaitingForEvents"]
    return found


def shown_time(micros: int) -> str:
    """A time for people: `2026-11-22 18:30 UTC`."""
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
