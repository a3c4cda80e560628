"""What the clients of a soak do: each task is one job from its submission to the end that is right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.acceptance.service import RealService
from tests.bench.kinds import GO, READ, WRITE, raw
from tests.flows.running import branchone, forloop, js
from tests.servers.database import DatabaseServer

Body = Mapping[str, Any]
Meddle = Callable[[RealService, str], None]

END_S = 300.0
ABUSE = Path(__file__).parents[1] / "conformance" / "abuse.json"
ABUSES = {  # those whose only right end can be told by its reason
    "fork-bomb-py": None,
    "mem-bomb-py": "out_of_memory",
    "result-100mb": "result_too_large",
    "ignore-sigterm": "timeout",
    "zombies": None,
    "daemon-holds-stdout": None,
}


@dataclass(frozen=True)
class Task:
    """So many of a hundred; what is posted, what a client does meanwhile, and how it must end."""

    name: str
    share: int
    body: Body
    status: str = "success"
    reason: str | None = None
    result: Any = None
    """None: it is not looked at."""
    meddle: Meddle | None = None

    @property
    def path(self) -> str:
        """Where it is posted."""
        return f"/api/w/main/jobs/run/preview{'_flow' if 'value' in self.body else ''}"


def act(service: RealService, task: Task, accepted: dict[str, Task]) -> float:
    """Do it; give the seconds from the job's creation to its end. Raises AssertionError if it ends wrongly."""
    response = service.http.post(task.path, json=task.body)
    assert response.status_code == 201, f"{response.status_code} {response.text[:200]}"
    job_id = response.text
    accepted[job_id] = task
    if task.meddle is not None:
        task.meddle(service, job_id)
    job = ended(service, job_id)
    seen = (job["status"], job.get("reason"))
    assert seen == (task.status, task.reason), f"{job_id}: {seen} {str(job['result'])[:200]}"
    assert task.result in (None, job["result"]), f"{job_id}: {str(job['result'])[:200]}"
    return float(job["duration_ms"] or 0) / 1000  # None: cancelled before it started


def ended(service: RealService, job_id: str) -> dict[str, Any]:
    """The job once it has ended; asked seldom, so that the asking is no load."""
    deadline = time.monotonic() + END_S
    while not service.maybe(job_id)["completed"]:
        assert time.monotonic() < deadline, f"{job_id} has not ended after {END_S:g} s"
        time.sleep(0.2)
    return service.job(job_id)


def approve(service: RealService, run: str) -> None:
    """Resume the run once it waits for that, as somebody without a token."""
    deadline = time.monotonic() + END_S
    while (gate := _waiting(service.job(run))) is None:
        assert time.monotonic() < deadline, f"{run} does not come to its gate"
        time.sleep(0.2)
    urls = service.http.get(f"/api/w/main/jobs/resume_urls/{gate}/1").json()
    parts = urlsplit(urls["resume"])
    response = httpx.post(
        f"{service.http.base_url}{parts.path}", json={"ok": True}, trust_env=False, timeout=60
    )
    assert response.status_code == 201, response.text


def _waiting(job: Mapping[str, Any]) -> str | None:
    for module in (job.get("flow_status") or {"modules": []})["modules"]:
        if module["type"] == "WaitingForEvents":
            return str(module["job"])
    return None


def cancel(service: RealService, job_id: str) -> None:
    """End it, wherever it is by then."""
    time.sleep(0.5)
    response = service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json={"reason": "soak"})
    assert response.status_code == 200, response.text


def tasks(service: RealService, servers: Mapping[str, DatabaseServer]) -> list[Task]:
    """All of them, for a service that reaches these servers."""
    images = {runtime["name"]: runtime["image"] for runtime in service.http.get("/api/runtimes").json()}
    return [*scripts(images, servers), *flows(), *abuses()]


def scripts(images: Mapping[str, str], servers: Mapping[str, DatabaseServer]) -> list[Task]:
    """One of each language, and each way in which a script can end."""
    sql = {kind: {"database": server.connection()} for kind, server in servers.items()}
    endless = one("bash", "sleep 600")
    return [
        Task("python3", 15, one("python3", "def main(x):\n    return x\n", {"x": [1, "ü"]}), result=[1, "ü"]),
        Task("bash", 15, one("bash", "echo 1"), result="1"),
        Task("deno", 10, one("deno", "export async function main() { return 1 }"), result=1),
        Task("go", 6, one("go", GO, {"s": "up"}), result="UP"),
        Task("duckdb", 4, one("duckdb", "select 42 as n"), result=[{"n": 42}]),
        Task("postgresql", 5, one("postgresql", "select 1 as n", sql["postgresql"]), result=[{"n": 1}]),
        Task("mysql", 3, one("mysql", "select 1 as n", sql["mariadb"]), result=[{"n": 1}]),
        Task("docker", 2, one("docker", f"# image: {images['bash']}\necho 1\n")),
        Task(
            "raises", 5, one("python3", "def main():\n    raise ValueError(1)\n"), "failure", "script_error"
        ),
        Task("time limit", 3, {**endless, "limits": {"timeout_s": 1}}, "failure", "timeout"),
        Task("cancelled", 4, endless, "canceled", "cancelled", meddle=cancel),
    ]


def flows() -> list[Task]:
    """Each construct, an approval, a cancellation."""
    four = {"modules": [forloop("l", [0, 1, 2, 3], raw("b", "bash", "echo 4"), parallel=True)]}
    branch = branchone("o", ("false", [raw("x", "bash", "echo no")]), default=[raw("y", "bash", "echo yes")])
    shared = {"modules": [raw("w", "bash", WRITE), raw("r", "python3", READ)], "same_worker": True}
    broken = raw("a", "python3", "def main():\n    raise ValueError(1)\n")
    failing = {"modules": [broken], "failure_module": raw("failure", "bash", "echo told")}
    gate = {**raw("a", "bash", "echo 1"), "suspend": {"required_events": 1, "timeout": 600}}
    last = raw("b", "bash", 'x="$1"\necho "$x"')
    last["value"]["input_transforms"] = {"x": js("resume.ok")}
    sleeping = {
        "modules": [{"id": "a", "value": {"type": "identity"}, "sleep": {"type": "static", "value": 300}}]
    }
    return [
        Task("flow: loop", 4, {"value": four}, result=["4"] * 4),
        Task("flow: branch", 3, {"value": {"modules": [branch]}}, result="yes"),
        Task("flow: shared directory", 3, {"value": shared}, result=1),
        Task("flow: failure module", 2, {"value": failing}, "failure", result="told"),
        Task("flow: approval", 4, {"value": {"modules": [gate, last]}}, result="true", meddle=approve),
        Task("flow: cancelled", 2, {"value": sleeping}, "canceled", "cancelled", meddle=cancel),
    ]


def abuses() -> list[Task]:
    """A few attacks of the conformance suite."""
    cases = {case["id"]: case for case in json.loads(ABUSE.read_text("utf-8"))}
    found = []
    for name, reason in ABUSES.items():
        case = cases[name]
        content = case["content"].replace("@marker@", "7" * 6)
        body = one(case["language"], content, case["args"]) | {"limits": case["limits"]}
        found.append(Task(f"abuse: {name}", 1, body, "failure" if reason else "success", reason))
    return found


def one(language: str, content: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of a script's request."""
    return {"language": language, "content": content, "args": dict(args or {})}
