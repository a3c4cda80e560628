"""Approvals: what holds back the step after one with `suspend` (docs/openflow.md section 1.10)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from executor.errors import Reason
from executor.flows.document import Module, Suspend
from executor.flows.transforms import Approvals, StepFailed
from executor.flows.values import NO_ARGS, End, error_value
from executor.flows.world import Event, Place
from executor.script import compact_json

if TYPE_CHECKING:
    from executor.flows.step import Step


class Refused(StepFailed):
    """The gate did not open. The step behind it has not run: its `continue_on_error` does not apply."""


async def passed(step: Step, gated: Module) -> Approvals:
    """Wait until the events that `gated` asks for are there; what they said.

    Raises Refused for a disapproval, or when they do not come in time.
    """
    suspend, behind = gated.suspend, step.behind.end
    if suspend.required_events < 1 or behind.skipped or not behind.ok:
        return Approvals()
    job = behind.job or await _stand_in(step, gated)

    async def deadline() -> bytes:
        return str(step.world.now() + int(suspend.timeout * 1e6)).encode()

    until = int(await step.world.once(f"{step.base_path}/gate-until", deadline))

    async def wait() -> bytes:
        return compact_json(await _decision(step, suspend, job, until))

    decision = json.loads(await step.world.once(f"{step.base_path}/gate", wait))
    for other in step.walk.status.modules:
        if other.id == gated.id:
            other.approvers = decision["approvers"]
    if decision["error"] is not None and not suspend.continue_on_disapprove_timeout:
        raise Refused(End(error_value(**_error(decision["error"])), ok=False))
    return _approvals(decision)


async def _stand_in(step: Step, gated: Module) -> str:
    """A job to be approved, of a step that had nothing to do: a loop over no items, an empty branch."""
    index = next(number for number, module in enumerate(step.walk.modules) if module is gated)
    path = f"{step.walk.path}/{index}:{quote(gated.id, safe='')}/none"

    async def end() -> End:
        return step.behind.end

    place = Place(path, step.walk.job, gated.id, step.walk.job_path(gated.id))
    job = (await step.world.engine_job(place, NO_ARGS, end)).job
    step.walk.status.modules[index].job = job
    if job is None:
        raise AssertionError("BUG: an engine job without id")
    return job


async def _decision(step: Step, suspend: Suspend, job: str, until: int) -> dict[str, Any]:
    """What becomes of the gate: enough approvals, a disapproval, or the end of the time."""
    status = step.status
    while True:
        news = step.world.activity.news
        events = await step.world.events(job)
        refused = next((event for event in events if not event.is_approved), None)
        missing = suspend.required_events - len(events)
        late = step.world.now() >= until
        if refused is not None or missing <= 0 or late:
            error = "late" if late and missing > 0 else None
            if refused is not None:
                error = f"refused:{refused.approver or 'unknown'}"
            status.type, status.count, status.job = "WaitingForPriorSteps", None, None
            step.walk.status.approval_conditions = None
            step.world.suspended(step.walk.job, 0)
            return _decided(events, error)
        status.type, status.count, status.job = "WaitingForEvents", missing, job
        step.walk.status.approval_conditions = _conditions(suspend)
        step.world.suspended(step.walk.job, missing, until)
        step.walk.changed()
        await step.world.activity.rest(until=until, gate=job, since=news)


def _conditions(suspend: Suspend) -> dict[str, Any] | None:
    """Who may approve, where that is not whoever has the URL; a document that asks for more is refused."""
    if not suspend.user_auth_required:
        return None
    return {"user_auth_required": True, "user_groups_required": [], "self_approval_disabled": False}


def _decided(events: list[Event], error: str | None) -> dict[str, Any]:
    approved = [event for event in events if event.is_approved]
    return {
        "payloads": [event.payload.decode() for event in approved],
        "names": [event.approver or "anonymous" for event in approved],
        "approvers": [
            {"resume_id": event.resume_id, "approver": event.approver or "anonymous"} for event in approved
        ],
        "error": error,
    }


def _error(why: str) -> dict[str, Any]:
    if why == "late":
        return {
            "reason": Reason.TIMEOUT,
            "name": "SuspendedTimedOut",
            "message": "Timed out waiting to be resumed",
        }
    approver = why.partition(":")[2]
    return {
        "reason": Reason.CANCELLED,
        "name": "SuspendedDisapproved",
        "message": f"Disapproved by {approver}",
    }


def _approvals(decision: dict[str, Any]) -> Approvals:
    payloads = [payload.encode() for payload in decision["payloads"]]
    if decision["error"] is not None:
        text = error_value(**_error(decision["error"])).text
        if text is not None:
            payloads.append(text)
    return Approvals(tuple(payloads), tuple(decision["names"]))
