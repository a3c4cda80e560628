"""A flow run as a tree in the terminal: its steps, and the jobs inside its loops and branches."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.tree import Tree

from executor.cli.client import Client

MARKS = {
    "Success": "[green]✓[/]",
    "Failure": "[red]✗[/]",
    "InProgress": "[yellow]●[/]",
    "WaitingForExecutor": "[yellow]○[/]",
    "WaitingForEvents": "[magenta]⏸[/]",
    "WaitingForPriorSteps": "[dim]·[/]",
}
INSIDE_MAX = 12
"""Iterations or branches of one step that are shown; of more the last ones are."""
DEPTH_MAX = 6


class FlowTree:
    """Draws a run; what has ended is asked for once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ended: dict[str, dict[str, Any]] = {}

    def draw(self, job: dict[str, Any], title: str) -> Tree:
        """The run as it is now."""
        tree = Tree(f"{_mark_of(job)} [bold]{escape(title)}[/] {_took(job)}")
        self._add(tree, job, _modules(job.get("raw_flow") or {}), 0)
        return tree

    def _add(self, tree: Tree, job: dict[str, Any], document: dict[str, Any], depth: int) -> None:
        """A line for each step of a flow job."""
        status = job.get("flow_status") or {"modules": []}
        handlers = [status.get("preprocessor_module"), status.get("failure_module")]
        before, after = (h if h and h["type"] != "WaitingForPriorSteps" else None for h in handlers)
        for module in filter(None, [before, *status["modules"], after]):
            said = document.get(module["id"], {})
            branch = tree.add(self._line(module, said))
            if depth < DEPTH_MAX:
                self._add_inside(branch, module, document, depth)

    def _add_inside(self, branch: Tree, module: dict[str, Any], document: dict[str, Any], depth: int) -> None:
        """The flow jobs inside a step: its iterations or branches."""
        jobs = module.get("flow_jobs") or []
        left_out = max(0, len(jobs) - INSIDE_MAX)
        if left_out:
            branch.add(f"[dim]… {left_out} before[/]")
        for number, job_id in list(enumerate(jobs))[left_out:]:
            job = self._job(job_id)
            if job is not None:
                kind = document.get(module["id"], {}).get("value", {}).get("type")
                name = "iteration" if kind in ("forloopflow", "whileloopflow") else "branch"
                inside = branch.add(f"{_mark_of(job)} {name} {number} {_took(job)}")
                self._add(inside, job, document, depth + 1)

    def _line(self, module: dict[str, Any], said: dict[str, Any]) -> str:
        value = said.get("value", {})
        kind = value.get("language") or value.get("path") or value.get("type", "")
        words = [MARKS.get(module["type"], "?"), escape(module["id"]), f"[dim]{escape(str(kind))}[/]"]
        if summary := said.get("summary"):
            words.append(escape(str(summary)))
        if module.get("branch_chosen"):
            chosen = module["branch_chosen"]
            took = f"branch {chosen['branch']}" if "branch" in chosen else "the default"
            words.append(f"[dim]took {took}[/]")
        if module["type"] == "WaitingForEvents":
            words.append(f"[magenta]waits for {module.get('count')} approval(s)[/]")
        if module.get("skipped"):
            words.append("[dim]skipped[/]")
        if retries := module.get("failed_retries"):
            words.append(f"[dim]{len(retries)} retries[/]")
        return " ".join(words)

    def _job(self, job_id: str) -> dict[str, Any] | None:
        if job_id in self._ended:
            return self._ended[job_id]
        response = self._client.call("GET", f"/api/w/main/jobs_u/get/{job_id}?no_logs=true", refusals=False)
        if response.status_code != 200:
            return None  # it is not stored yet
        job: dict[str, Any] = response.json()
        if job["type"] == "CompletedJob":
            self._ended[job_id] = job
        return job


def _mark_of(job: dict[str, Any]) -> str:
    if job["type"] != "CompletedJob":
        return MARKS["WaitingForEvents"] if job.get("suspend") else MARKS["InProgress"]
    return MARKS["Success"] if job["success"] else MARKS["Failure"]


def _took(job: dict[str, Any]) -> str:
    if job.get("duration_ms") is None:
        return ""
    return f"[dim]{job['duration_ms'] / 1000:.2f} s[/]"


def _modules(flow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every module of a document by its id, the inner ones too."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [*flow.get("modules", []), flow.get("failure_module"), flow.get("preprocessor_module")]
    while waiting:
        module = waiting.pop()
        if not module:
            continue
        found.setdefault(module["id"], module)
        value = module.get("value", {})
        waiting += [*value.get("modules", []), *value.get("default", [])]
        for branch in value.get("branches", []):
            waiting += branch.get("modules", [])
    return found
