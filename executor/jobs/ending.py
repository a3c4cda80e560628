"""From how a script ended to what its job records: status, result, labels. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace

from executor.errors import Reason
from executor.jobs.job import Job, Status
from executor.jobs.redaction import Redactor
from executor.script import Failed, Outcome, Returned, Usage, compact_json, is_light

LABELS_MAX = 100
LABEL_CHARS_MAX = 200
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A string in a JSON text."""


@dataclass(frozen=True)
class Ending:
    """What a completed job's rows say. `result` is the result, or the error object in its place."""

    status: Status
    result: bytes
    reason: str | None = None
    labels: list[str] | None = None
    canceled_by: str | None = None
    canceled_reason: str | None = None
    memory_peak_bytes: int | None = None
    cpu_ms: int | None = None


def after(job: Job, end: Ending, now: int) -> Job:
    """The job as it is once this end, of microsecond `now`, is stored; but for where it ran."""
    return replace(
        job,
        state="completed",
        completed_at=now,
        worker_id=None,
        suspend=0,
        **{each.name: getattr(end, each.name) for each in fields(end) if each.name != "result"},
    )


def ending(outcome: Outcome, timeout_s: float, step_id: str | None = None) -> Ending:
    """The end of a job whose script had this outcome; `step_id` is the flow step it is the job of."""
    match outcome:
        case Returned(value, usage, stream):
            result = with_stream(value, stream)
            return Ending(
                Status.SUCCESS,
                result,
                labels=labels_of(result),
                memory_peak_bytes=usage.memory_peak_bytes,
                cpu_ms=usage.cpu_ms,
            )
        case Failed():
            timed_out = outcome.reason is Reason.TIMEOUT
            return Ending(
                Status.FAILURE,
                outcome.as_json(**({} if step_id is None else {"step_id": step_id})),
                reason=outcome.reason.value,
                canceled_by="timeout" if timed_out else None,
                canceled_reason=f"duration > {outcome.timeout_s or timeout_s:g}" if timed_out else None,
                memory_peak_bytes=outcome.usage.memory_peak_bytes,
                cpu_ms=outcome.usage.cpu_ms,
            )


def without_secrets(end: Ending, redactor: Redactor) -> Ending:
    """The end with the secrets that its error shows masked; what a script returns is its own choice."""
    if not is_light(end.result):
        error = {"name": "ExecutionErr", "message": "the error has too many values to be shown"}
        return replace(end, result=compact_json({"error": {**error, "reason": end.reason}}))

    def masked(literal: re.Match[str]) -> str:
        text: str = json.loads(literal[0])
        shown = redactor.whole(text)
        return literal[0] if shown == text else compact_json(shown).decode()

    return replace(end, result=STRING.sub(masked, end.result.decode()).encode())


def canceled(by: str, why: str, usage: Usage = Usage()) -> Ending:
    """The end of a job that somebody cancelled (docs/openflow.md section 3.2)."""
    error = {
        "name": "Canceled",
        "message": f"Job canceled: {why} by {by}",
        "canceler": by,
        "reason": Reason.CANCELLED.value,
    }
    return Ending(
        Status.CANCELED,
        compact_json({"error": error}),
        reason=Reason.CANCELLED.value,
        canceled_by=by,
        canceled_reason=why,
        memory_peak_bytes=usage.memory_peak_bytes,
        cpu_ms=usage.cpu_ms,
    )


def infrastructure(message: str) -> Ending:
    """The end of a job that our own trouble kept from running."""
    return ending(Failed(Reason.INFRASTRUCTURE, message, name="InternalError"), timeout_s=0)


def with_stream(value: bytes, stream: str) -> bytes:
    """A result with its stream: in place of null, or as the field `wm_stream` of an object."""
    value = value.strip()
    if not stream:
        return value
    text = compact_json(stream)
    if value == b"null":
        return text
    if value.startswith(b"{"):
        inside = value[1:-1].strip()
        return b"{" + inside + (b"," if inside else b"") + b'"wm_stream":' + text + b"}"
    return value


def labels_of(result: bytes) -> list[str] | None:
    """The job labels that a result object names under `wm_labels`, bounded in number and length."""
    if b'"wm_labels"' not in result or not is_light(result):
        return None
    try:
        value = json.loads(result)
    except (ValueError, RecursionError):
        return None
    found = value.get("wm_labels") if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        return None
    return [label.replace("\0", "")[:LABEL_CHARS_MAX] for label in found[:LABELS_MAX]]
