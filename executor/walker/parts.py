"""The jobs inside a run that need no container, on their way into the database.

A branch, an iteration, an inner flow, an identity; a script whose end is known without running it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

from executor.errors import Reason
from executor.flows.status import FlowStatus
from executor.flows.values import NULL, Args, End, Value
from executor.flows.world import Place
from executor.jobs import store
from executor.jobs.ending import Ending, labels_of
from executor.jobs.environment import iso
from executor.jobs.job import Job, Role, Status, new_id, now_us
from executor.jobs.runs import BIG_BYTES, Batch
from executor.walker.gathered import Gathered

UNENDED: dict[str, Any] = dict.fromkeys(
    (
        "status",
        "completed_at",
        "worker_id",
        "reason",
        "canceled_by",
        "canceled_reason",
        "labels",
        "memory_peak_bytes",
        "cpu_ms",
        "flow_status",
    )
)
"""What the row of a job says before its end; rows stored together have the same columns."""


Times = tuple[int | None, int | None]
"""When a job began and ended, in microseconds since 1970."""


class Parts:
    """Begins and ends such jobs in what its walk has gathered."""

    def __init__(
        self,
        run: Job,
        gathered: Gathered,
        text: Callable[[Value], Awaitable[bytes]],
        times: dict[str, Times],
    ) -> None:
        self.run = run
        self._gathered = gathered
        self._text = text
        self._times = times
        self._limits_text = json.dumps(asdict(run.limits))

    def row(self, place: Place, kind: str, role: Role = "part") -> dict[str, Any]:
        """A job inside the run that begins now."""
        run, now = self.run, now_us()
        return {
            "id": new_id(),
            "workspace_id": run.workspace_id,
            "state": "running",
            "kind": kind,
            "language": "",
            "content": "",
            "path": place.job_path,
            "tag": run.tag,
            "limits": self._limits_text,
            "request_hash": "",
            "parent_job": place.parent,
            "root_job": run.id,
            "created_by": run.created_by,
            "created_at": now,
            "scheduled_for": now,
            "started_at": now,
            "role": role,
            "run_id": run.id,
            "run_path": place.path,
            "step_id": place.step_id,
            "flow_path": run.path,
            "attempt": 1,
            "lock": None,
            "script_hash": None,
            "priority": 0,
            "concurrency_key": None,
            "concurrency_limit": None,
            "concurrency_window_s": None,
            "suspend": 0,
            "suspend_until": None,
            **UNENDED,
        }

    def begin(self, batch: Batch, row: dict[str, Any], args: Args, log: str = "") -> str:
        """Put a flow job that begins into a batch; its id."""
        job_id: str = row["id"]
        batch.jobs[job_id] = row
        self._times[job_id] = (row["started_at"], None)
        if log:
            batch.logs.append({"job_id": job_id, "kind": "log", "position": 0, "text": log})
        own = dict(args.own)
        if own or args.base is not None:
            batch.add_args(job_id, Args.of(own).text, args.base)
        return job_id

    async def complete(self, args: Args, end: End, row: dict[str, Any]) -> End:
        """A new job that has ended as it begins."""
        ending = await self._ending_of(end)
        job_id = row["id"]
        self._gathered.batch.jobs[job_id] = row | store.ended(ending, row["created_at"])
        if args.values:
            self._gathered.batch.add_args(job_id, args.text, None)
        return replace(end, value=self._keep_value(job_id, end.value, ending), job=job_id)

    async def end(self, job_id: str, end: End, status: FlowStatus) -> None:
        """A flow job has ended so."""
        ending, now = await self._ending_of(end), now_us()
        values = {**store.ended(ending, now), "flow_status": status.text}
        if (row := self._gathered.batch.jobs.get(job_id)) is not None:
            row.update(values)
        else:
            self._gathered.batch.ends.append({"id": job_id, **values})
        self._keep_value(job_id, end.value, ending)
        self._times[job_id] = (self._times[job_id][0], now)

    async def _ending_of(self, end: End) -> Ending:
        """As `ending`, but a result that is another job's is not read for it."""
        return await self.ending(replace(end, value=NULL) if end.value.is_stored else end)

    def _keep_value(self, job_id: str, value: Value, ending: Ending) -> Value:
        """Put a job's result into the batch; its value, by reference where it is big."""
        if value.is_stored:
            self._gathered.batch.add_result(job_id, None, value.job)
            return value
        self._gathered.batch.add_result(job_id, ending.result, None)
        if len(ending.result) <= BIG_BYTES:
            return Value(ending.result, job_id)
        self._gathered.unstored.add(job_id)
        return Value(None, job_id)

    async def ending(self, end: End) -> Ending:
        """A step's or a flow's end as its job records it."""
        text = await self._text(end.value)
        if not end.ok:
            reason = reason_of(text)
            is_cancelled = end.final and reason == Reason.CANCELLED.value
            return Ending(Status.CANCELED if is_cancelled else Status.FAILURE, text, reason=reason)
        skipped = end.stop is not None and end.stop.is_skip
        return Ending(Status.SKIPPED if skipped else Status.SUCCESS, text, labels=labels_of(text))

    def took(self, job: str) -> tuple[str | None, int | None]:
        """When a flow job began, and how many milliseconds it took."""
        began, ended = self._times.get(job, (None, None))
        took = None if began is None or ended is None else (ended - began) // 1000
        return None if began is None else iso(began), took


def reason_of(text: bytes) -> str | None:
    """The reason in an error object; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    reason = error.get("reason") if isinstance(error, dict) else None
    return reason if isinstance(reason, str) else None
