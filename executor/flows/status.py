"""A flow's status as clients see it (docs/openflow.md section 3.4), kept up by the walk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from executor.script import compact_json

State = Literal[
    "WaitingForPriorSteps", "WaitingForEvents", "WaitingForExecutor", "InProgress", "Success", "Failure"
]


WITHOUT_JOB = ("WaitingForPriorSteps", "WaitingForEvents", "WaitingForExecutor")
"""States in which a module has not begun."""
MEMBERS: Mapping[State, Sequence[str]] = {
    "WaitingForPriorSteps": (),
    "WaitingForEvents": ("count", "job"),
    "WaitingForExecutor": ("job",),
    "InProgress": ("job", "branch_chosen", "branchall", "parallel", "while_loop", "progress"),
    "Success": ("job", "branch_chosen", "parallel"),
    "Failure": ("job", "branch_chosen", "parallel"),
}
"""What a module shows in each state, if it has it."""
Took = Callable[[], tuple[str | None, int | None]]
"""When a job began, and how many milliseconds it took, as far as it has."""


@dataclass
class ModuleStatus:
    """Where one module stands."""

    id: str
    type: State = "WaitingForPriorSteps"
    job: str | None = None
    count: int | None = None
    """Events that are still missing, while it waits for them."""
    children: dict[int, str] = field(default_factory=dict)
    """Flow jobs of its branches or iterations, by their number."""
    successes: dict[int, bool] = field(default_factory=dict)
    took: dict[int, Took] = field(default_factory=dict)
    """When the children began, and how long each took."""
    iterator: dict[str, Any] | None = None
    items: Sequence[Any] | None = None
    """What a loop in turn goes through."""
    branch_chosen: dict[str, Any] | None = None
    branchall: dict[str, Any] | None = None
    parallel: bool | None = None
    while_loop: bool | None = None
    skipped: bool = False
    approvers: list[dict[str, Any]] = field(default_factory=list)
    failed_retries: list[str] = field(default_factory=list)
    progress: int | None = None
    """Percent, as the step's script says; from 0 to 99."""
    parent_module: str | None = None
    """Of a failure module: the module that failed."""
    copied: Mapping[str, Any] | None = None
    """What a restarted run took over of it, in place of all else but who has approved it anew."""

    def begin_again(self) -> None:
        """The module is tried again; what an earlier attempt did is not its own."""
        for of_children in (self.children, self.successes, self.took):
            of_children.clear()
        self.iterator = self.items = self.branch_chosen = self.branchall = None

    def as_json(self) -> dict[str, Any]:
        """The members that its type has."""
        if self.copied is not None:
            return {**self.copied, "approvers": self.approvers}
        shown: dict[str, Any] = {"type": self.type, "id": self.id}
        shown |= {name: value for name in MEMBERS[self.type] if (value := getattr(self, name)) is not None}
        if self.type == "InProgress" and self.iterator is not None:
            itered = {} if self.items is None else {"itered": self.items}
            shown["iterator"] = {**self.iterator, **itered}
        if self.children and self.type not in WITHOUT_JOB:
            shown |= self._children()
        if self.type == "Success":
            shown |= {"approvers": self.approvers, "skipped": self.skipped}
        if self.type in ("Success", "Failure"):
            shown["failed_retries"] = self.failed_retries
        if self.parent_module is not None:
            shown["parent_module"] = self.parent_module
        return shown

    def _children(self) -> dict[str, Any]:
        order = sorted(self.children)
        took = [self.took[number]() if number in self.took else (None, None) for number in order]
        return {
            "flow_jobs": [self.children[number] for number in order],
            "flow_jobs_success": [self.successes.get(number) for number in order],
            "flow_jobs_duration": {
                "started_at": [began for began, _ in took],
                "duration_ms": [duration_ms for _, duration_ms in took],
            },
        }


@dataclass
class FlowStatus:
    """Where one flow job stands."""

    modules: list[ModuleStatus]
    failure: ModuleStatus | None
    preprocessor: ModuleStatus | None
    step: int = 0
    fail_count: int = 0
    failed_jobs: list[str] = field(default_factory=list)
    restarted_from: dict[str, Any] | None = None
    approval_conditions: dict[str, Any] | None = None
    """Who may approve what the flow waits for now, where not everybody with the URL may."""

    @classmethod
    def of(cls, ids: Sequence[str], failure_id: str | None, preprocessor_id: str | None) -> FlowStatus:
        """The status of a flow that has not begun."""
        return cls(
            [ModuleStatus(step_id) for step_id in ids],
            None if failure_id is None else ModuleStatus(failure_id),
            None if preprocessor_id is None else ModuleStatus(preprocessor_id),
            step=0 if preprocessor_id is None else -1,
        )

    def note_progress(self, job: str, percent: int) -> None:
        """The script of a step says how far it is."""
        for module in (*self.modules, self.failure, self.preprocessor):
            if module is not None and module.job == job:
                module.progress = min(max(percent, 0), 99)

    def forget_retries(self) -> None:
        """A step begins, or has succeeded: the retries of another one are not its own."""
        self.fail_count = 0
        self.failed_jobs.clear()

    @property
    def text(self) -> str:
        """As it is stored."""
        return compact_json(self.as_json()).decode()

    def as_json(self) -> dict[str, Any]:
        """The whole status, without the user states, which are stored apart."""
        shown: dict[str, Any] = {
            "step": self.step,
            "modules": [module.as_json() for module in self.modules],
            "failure_module": (self.failure or ModuleStatus("failure")).as_json(),
            "retry": {"fail_count": self.fail_count, "failed_jobs": self.failed_jobs},
            "cleanup_module": {"flow_jobs_to_clean": []},
        }
        if self.preprocessor is not None:
            shown["preprocessor_module"] = self.preprocessor.as_json()
        if self.restarted_from is not None:
            shown["restarted_from"] = self.restarted_from
        if self.approval_conditions is not None:
            shown["approval_conditions"] = self.approval_conditions
        return shown
