"""What a restarted run has from the one before it (docs/openflow.md section 3.5)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from executor.flows.document import BranchAll, BranchOne, Flow, ForLoop, Module, WhileLoop
from executor.flows.values import End, Value
from executor.flows.walk import Kept
from executor.jobs import runs, store

_SEGMENT = re.compile(r"(\d+):[^/\[#]*?(?:#\d+)?(?:\[(\d+)\]|\.branch\[(\d+|default)\])?")


@dataclass(frozen=True)
class TakenOver:
    """Ends and results of the run before."""

    modules: dict[str, Kept] = field(default_factory=dict)
    """The modules before the one it begins at, by id."""
    children: dict[str, list[End]] = field(default_factory=dict)
    """Ends of that module's branches or iterations before the one it begins at."""
    inside: dict[str, Value] = field(default_factory=dict)
    """Results, by id, of the steps in those that are seen from outside."""


def take_over(connection: Connection, flow: Flow, origin: Mapping[str, Any]) -> TakenOver:
    """What is taken over from an earlier run of the same flow; that it may be was checked when it was asked for."""
    taken = TakenOver()
    run_id = origin["flow_job_id"]
    status = json.loads(store.flow_status(connection, run_id) or "{}")
    for index, (module, was) in enumerate(zip(flow.modules, status.get("modules", []), strict=False)):
        place = f"/{index}:{quote(module.id, safe='')}"
        walked = _walked_by(connection, flow, index, run_id)
        if module.id == origin["step_id"]:
            number = origin.get("branch_or_iteration_n") or 0
            jobs = (was.get("flow_jobs") or [])[:number]
            taken.children[module.id] = [_end_of_job(connection, job) for job in jobs]
            if number:
                taken.inside.update(_inside(connection, flow, walked, place, number))
            break
        taken.inside.update(_inside(connection, flow, walked, place))
        kept = runs.note(connection, run_id, f"{place}/result")
        job = was.get("job")
        end = End(Value(kept), job=job) if kept else _end_of_job(connection, job)
        taken.modules[module.id] = Kept(replace(end, skipped=was.get("skipped", False)), was)
    return taken


def _end_of_job(connection: Connection, job: str | None) -> End:
    text = None if job is None else store.result(connection, job)
    ok = job is not None and store.is_success(connection, job)
    return End(Value(b"null" if text is None else text, job), ok=ok, job=job)


def _walked_by(connection: Connection, flow: Flow, index: int, run_id: str) -> str:
    """The run that has walked a module: of a restarted run's, the one that it was taken over from."""
    ids = [module.id for module in flow.modules]
    while (text := runs.restarted_from(connection, run_id)) is not None:
        origin = json.loads(text)
        if origin["step_id"] not in ids or index >= ids.index(origin["step_id"]):
            break
        run_id = origin["flow_job_id"]
    return run_id


def _inside(
    connection: Connection, flow: Flow, run_id: str, place: str, below: int | None = None
) -> Iterator[tuple[str, Value]]:
    """Results of the steps inside a module, the latest of an id last; with `below` of its first bodies only."""
    for path, step_id, value in runs.results_beneath(connection, run_id, place):
        segments = path.strip("/").split("/")
        if len(segments) > 1 and _is_seen(flow.modules, segments, below):
            yield step_id, Value(*value)


def _is_seen(modules: Sequence[Module], segments: list[str], below: int | None) -> bool:
    """Whether a step at this place shares the results of the run (section 2.4)."""
    current: Sequence[Module] = modules
    for depth, segment in enumerate(segments):
        match = _SEGMENT.fullmatch(segment)
        if match is None or int(match[1]) >= len(current):
            return False
        value = current[int(match[1])].value
        is_last = depth == len(segments) - 1
        number = match[2] or match[3]
        if is_last:
            return number is None or isinstance(value, BranchOne)
        if depth == 0 and below is not None and not (number and number.isdecimal() and int(number) < below):
            return False
        match value:
            case ForLoop(parallel=False) | WhileLoop():
                current = value.modules
            case BranchOne() if number == "default":
                current = value.default
            case BranchOne() | BranchAll() if (
                number and number.isdecimal() and int(number) < len(value.branches)
            ):
                current = value.branches[int(number)].modules
            case _:
                return False
    return False
