"""The names that an expression sees, by the place it stands in (docs/openflow.md section 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULTS: Mapping[str, bytes] = {
    "params": b"{}",
    "resume": b"null",
    "resumes": b"[]",
    "approvers": b"[]",
    "flow_env": b"{}",
    "all_iters": b"[]",
    "started_at": b"null",
    "flow_job_id": b"null",
    "WM_SCHEDULED_FOR": b"null",
}
"""What a name is, as JSON text, where the scope has no value for it."""


@dataclass(frozen=True)
class Place:
    """What an expression sees in one kind of place; any other name is a ReferenceError there.

    `names` are the values the scope gives. `result` is `previous_result` under another name, `error` its property
    of that name, `results` the results by step id, `calls` the functions variable() and resource().
    """

    names: frozenset[str]
    result: bool = False
    error: bool = False
    results: bool = False
    calls: bool = False

    def sees(self, name: str) -> bool:
        """Whether an expression may begin with `name`."""
        if name in ("result", "error", "results"):
            return bool(getattr(self, name))
        return self.calls if name in ("variable", "resource") else name in self.names


_FLOW = frozenset({"flow_input", "previous_result"})
_STEP = _FLOW | {"resume", "resumes", "approvers", "flow_env"}

INPUT = Place(_STEP | {"params"}, error=True, results=True, calls=True)
"""A step's `input_transforms`, `timeout` or `parallelism`."""
FAILURE_INPUT = Place(INPUT.names | {"started_at", "flow_job_id"}, error=True, results=True, calls=True)
"""The failure module's `input_transforms`."""
CHOICE = Place(_STEP, result=True, error=True, results=True, calls=True)
"""A loop's iterator, a branch's `expr`, `skip_if`."""
STOP = Place(_FLOW | {"all_iters", "flow_env"}, result=True, results=True, calls=True)
"""`stop_after_if`, `stop_after_all_iters_if`."""
RETRY = Place(_FLOW, result=True, error=True)
"""`retry_if`; its `previous_result` is the failing result."""
SLEEP = Place(_FLOW, result=True)
"""`sleep`."""
SKIP_FLOW = Place(frozenset({"flow_input", "WM_SCHEDULED_FOR"}))
"""The flow's `skip_expr`."""
