"""A flow's status as clients see it (docs/openflow.md section 3.4), kept up by the walk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from executor.script import compact_json

State = Literal[
    "WaitingForPriorSteps", "WaitingForEvents", "WaitingForExecutor", "InProgress", "Success", "Failure"
]


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
    iterator: dict[str, Any] | None = None
    items: Sequence[bytes] | None = None
    """What a loop in turn goes through, as JSON texts."""
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
    """What a restarted run took over of it, in place of all else."""

    def forget_children(self) -> None:
        """The module is tried again; an earlier attempt's branches or iterations are not its own."""
        self.children.clear()
        self.successes.clear()

    def as_json(self) -> dict[str, Any]:
        """The members that its type has."""
        if self.copied is not None:
            return dict(self.copied)
        shown: dict[str, Any] = {"type": self.type, "id": self.id}
        names = {
            "WaitingForPriorSteps": (),
            "WaitingForEvents": ("count", "job"),
            "WaitingForExecutor": ("job",),
        }.get(self.type, SHOWN)
        shown |= {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.type == "InProgress" and self.progress is not None:
            shown["progress"] = self.progress
        if self.items is not None and self.iterator is not None and names is SHOWN:
            shown["iterator"] = {**self.iterator, "itered": [json.loads(item) for item in self.items]}
        if self.children and names is SHOWN:
            order = sorted(self.children)
            shown["flow_jobs"] = [self.children[number] for number in order]
            shown["flow_jobs_success"] = [self.successes.get(number) for number in order]
        if self.type == "Success":
            shown |= {"approvers": self.approvers, "skipped": self.skipped}
        if self.type in ("Success", "Failure"):
            shown["failed_retries"] = self.failed_retries
        if self.parent_module is not None:
            shown["parent_module"] = self.parent_module
        return shown


SHOWN = (
    "job",
    "iterator",
    "branch_chosen",
    "branchall",
    "parallel",
    "while_loop",
)


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

    def waiting(self) -> list[ModuleStatus]:
        """The modules that wait for events."""
        return [module for module in self.modules if module.type == "WaitingForEvents"]

    @property
    def text(self) -> str:
        """As it is stored."""
        return compact_json(self.as_json()).decode()

    def as_json(self) -> dict[str, Any]:
        """The whole status, without the user states, which are stored apart."""
        shown: dict[str, Any] = {
            "step": self.step,
            "modules": [module.as_json() for module in self.modules],
            "failure_module": None if self.failure is None else self.failure.as_json(),
            "retry": {"fail_count": self.fail_count, "failed_jobs": self.failed_jobs},
            "cleanup_module": {"flow_jobs_to_clean": []},
        }
        if self.preprocessor is not None:
            shown["preprocessor_module"] = self.preprocessor.as_json()
        if self.restarted_from is not None:
            shown["restarted_from"] = self.restarted_from
        return shown
