"""From a step's job back to its module, and what has become of the gate behind it.

The walk decides (`executor.flows.gate`); this tells others, who hold a job and its events, where it
stands. A job's place in its run is read as `executor.flows.walk` and the steps write it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from executor.flows.document import BranchAll, BranchOne, ForLoop, Module, WhileLoop
from executor.flows.walk import effective
from executor.flows.world import Event

_SEGMENT = re.compile(r"(\d+):[^/\[#]*?(?:#\d+)?(\[\d+\]|\.branch\[(?:\d+|default)\])?")
_STAND_IN = "none"


class GateState(StrEnum):
    """Where the gate behind a step stands."""

    RUNNING = "running"
    """The step still runs; events may come already."""
    WAITING = "waiting"
    APPROVED = "approved"
    DISAPPROVED = "disapproved"
    TIMED_OUT = "timed_out"
    NONE = "none"
    """The step has no gate, or failed or was skipped, so that its gate does not count."""
    ENDED = "ended"
    """The run has ended, or was cancelled, before the gate was passed."""

    @property
    def takes_events(self) -> bool:
        """Whether an event still changes something."""
        return self in (GateState.RUNNING, GateState.WAITING)


@dataclass(frozen=True)
class Gated:
    """A module with a gate behind it, and where in the run's journal that gate's decision stands."""

    module: Module
    base_path: str
    """Of the step that is held back."""


def gated_at(modules: Sequence[Module], path: str, prefix: str = "") -> Gated | None:
    """The module at a place of a run, `path`, in a flow whose own place is `prefix`.

    None if there is none: in a handler of the flow, or in a flow that these modules only name.
    """
    found: Gated | None = None
    flow_path = prefix
    current: Sequence[Module] | None = modules
    for segment in path.removeprefix(prefix).strip("/").split("/"):
        if segment == _STAND_IN:
            break
        match = _SEGMENT.fullmatch(segment)
        if match is None or current is None or int(match[1]) >= len(current):
            return None
        whole, index = effective(current), int(match[1])
        behind = whole[index + 1] if index + 1 < len(whole) else None
        base_path = "" if behind is None else f"{flow_path}/{index + 1}:{quote(behind.id, safe='')}"
        found = Gated(current[index], base_path)
        flow_path = f"{flow_path}/{segment}"
        current = _body(current[index], match[2] or "")
    return found


def _body(module: Module, below: str) -> Sequence[Module] | None:
    """The modules inside a module that `below` leads to."""
    number = below.removeprefix(".branch[").rstrip("]")
    match module.value:
        case ForLoop() | WhileLoop():
            return module.value.modules
        case BranchOne() if number == "default":
            return module.value.default
        case BranchOne() | BranchAll() if number.isdecimal() and int(number) < len(module.value.branches):
            return module.value.branches[int(number)].modules
        case _:
            return None


def state_of(gated: Gated, events: Sequence[Event], *, is_late: bool) -> GateState:
    """What the events alone say about a gate of which no decision is recorded."""
    if any(not event.is_approved for event in events):
        return GateState.DISAPPROVED
    if len(events) >= gated.module.suspend.required_events:
        return GateState.APPROVED
    return GateState.TIMED_OUT if is_late else GateState.WAITING
