"""Builders of flows to run, and a service on the fake engine that runs them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.service import LocalService

Module = dict[str, Any]
Body = list[Module]


def js(expr: str) -> dict[str, Any]:
    """An input transform."""
    return {"type": "javascript", "expr": expr}


def static(value: Any) -> dict[str, Any]:
    """An input transform."""
    return {"type": "static", "value": value}


def ident(id: str, **settings: Any) -> Module:
    """An identity."""
    return {"id": id, "value": {"type": "identity"}, **settings}


def script(id: str, *steps: dict[str, Any], **settings: Any) -> Module:
    """A script of fake steps; `args` are its input transforms, a text among them an expression."""
    given = settings.pop("args", {})
    fields = settings.pop("fields", {})
    value = {
        "type": "rawscript",
        "language": "python3",
        "content": json.dumps(list(steps)),
        "input_transforms": {name: js(it) if isinstance(it, str) else it for name, it in given.items()},
        **fields,
    }
    return {"id": id, "value": value, **settings}


def echo(id: str, expr: str, **settings: Any) -> Module:
    """A script that gives `{"x": <value of expr>}`."""
    return script(id, {"echo": True}, args={"x": expr}, **settings)


def const(id: str, value: Any, **settings: Any) -> Module:
    """A script that gives `value`."""
    return script(id, {"result": value}, **settings)


def call(id: str, function: str, **settings: Any) -> Module:
    """A script that is a function of the test's."""
    return script(id, {"call": function}, **settings)


def fails(id: str, message: str = "boom", **settings: Any) -> Module:
    """A script that fails."""
    error = {"name": "Trouble", "message": message, "stack": "", "extra": {}}
    return script(id, {"error": error}, **settings)


def forloop(id: str, iterator: Any, *body: Module, **more: Any) -> Module:
    """A for-loop over an expression or a list."""
    fields = {key: more.pop(key) for key in ("skip_failures", "parallel", "parallelism") if key in more}
    over = js(iterator) if isinstance(iterator, str) else static(iterator)
    return {
        "id": id,
        "value": {"type": "forloopflow", "iterator": over, "modules": list(body), **fields},
        **more,
    }


def whileloop(id: str, *body: Module, **more: Any) -> Module:
    """A while-loop."""
    fields = {"skip_failures": more.pop("skip_failures")} if "skip_failures" in more else {}
    return {"id": id, "value": {"type": "whileloopflow", "modules": list(body), **fields}, **more}


def branchone(id: str, *branches: tuple[str, Body], default: Body | None = None, **more: Any) -> Module:
    """A branchone of pairs of predicate and body."""
    listed = [{"expr": expr, "modules": body} for expr, body in branches]
    return {"id": id, "value": {"type": "branchone", "branches": listed, "default": default or []}, **more}


def branchall(
    id: str, *bodies: Body, parallel: bool = True, skip: tuple[int, ...] = (), **more: Any
) -> Module:
    """A branchall; a failure of the branches `skip` is skipped."""
    listed = [{"modules": body, "skip_failure": number in skip} for number, body in enumerate(bodies)]
    return {"id": id, "value": {"type": "branchall", "branches": listed, "parallel": parallel}, **more}


def stop(expr: str, **more: Any) -> dict[str, Any]:
    """A `stop_after_if`."""
    return {"expr": expr, **more}


def retry(attempts: int, seconds: float = 0, when: str | None = None) -> dict[str, Any]:
    """A constant retry."""
    found: dict[str, Any] = {"constant": {"attempts": attempts, "seconds": seconds}}
    return found if when is None else {**found, "retry_if": {"expr": when}}


def inner(id: str, path: str, **settings: Any) -> Module:
    """A flow of the workspace as a step; `args` are its input transforms."""
    given = settings.pop("args", {})
    transforms = {name: js(it) if isinstance(it, str) else it for name, it in given.items()}
    return {"id": id, "value": {"type": "flow", "path": path, "input_transforms": transforms}, **settings}


def stored(id: str, path: str, **settings: Any) -> Module:
    """A script of the workspace as a step; `args` are its input transforms."""
    given = settings.pop("args", {})
    fields = settings.pop("fields", {})
    transforms = {name: js(it) if isinstance(it, str) else it for name, it in given.items()}
    value = {"type": "script", "path": path, "input_transforms": transforms, **fields}
    return {"id": id, "value": value, **settings}


class Flows:
    """Runs flows to their end on one service."""

    def __init__(self, service: LocalService) -> None:
        self.service = service

    @property
    def functions(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """What `call` scripts are."""
        return self.service.engine.functions

    async def start(self, *modules: Module, args: Any = None, path: str | None = None, **flow: Any) -> str:
        """Submit a flow; its run's id."""
        body: dict[str, Any] = {"value": {"modules": list(modules), **flow}, "args": args or {}}
        if path is not None:
            body["path"] = path
        response = await self.service.http.post("/api/w/main/jobs/run/preview_flow", json=body)
        assert response.status_code == 201, response.text
        return response.text

    async def run(self, *modules: Module, timeout_s: float = 60, **more: Any) -> dict[str, Any]:
        """Run a flow; its job once it has ended."""
        return await self.service.ended(await self.start(*modules, **more), timeout_s)

    async def post(self, route: str, **body: Any) -> str:
        """Post to the workspace; the answer's text."""
        response = await self.service.http.post(f"/api/w/main/{route}", json=body)
        assert response.is_success, response.text
        return response.text

    async def log(self, job: dict[str, Any]) -> str:
        """A job's log."""
        return (await self.service.get(f"jobs_u/get_logs/{job['id']}")).text

    async def store(self, path: str, *modules: Module, **flow: Any) -> None:
        """Store a flow."""
        await self.post("flows/create", path=path, value={"modules": list(modules), **flow})

    async def store_script(self, path: str, *steps: dict[str, Any], **more: Any) -> str:
        """Store a script of fake steps; its hash."""
        return await self.post(
            "scripts/create", path=path, language="python3", content=json.dumps(steps), **more
        )

    async def result(self, *modules: Module, **more: Any) -> Any:
        """Run a flow that succeeds; its result."""
        job = await self.run(*modules, **more)
        assert job["success"], job["result"]
        return job["result"]

    async def error(self, *modules: Module, **more: Any) -> dict[str, Any]:
        """Run a flow that fails; the error object."""
        job = await self.run(*modules, **more)
        assert job["status"] == "failure", job["result"]
        found: dict[str, Any] = job["result"]["error"]
        return found

    async def jobs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """The jobs inside a run, in the order they were made."""
        found = await self.service.get("jobs/list", per_page=1000)  # other tests' jobs are older
        jobs = {job["id"]: job for job in sorted(found.json(), key=lambda job: job["created_at"])}
        return [job for job in jobs.values() if self._is_inside(job, jobs, run["id"])]

    def _is_inside(self, job: dict[str, Any], jobs: dict[str, dict[str, Any]], run_id: str) -> bool:
        while job["parent_job"] in jobs:
            if job["parent_job"] == run_id:
                return True
            job = jobs[job["parent_job"]]
        return False

    async def runs_of(self, run: dict[str, Any]) -> Counter[str]:
        """How many jobs of each step the run made."""
        return Counter(job["flow_step_id"] for job in await self.jobs(run))


def modules_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The modules of a job's `flow_status`, by id."""
    return {module["id"]: module for module in job["flow_status"]["modules"]}


def types_of(job: dict[str, Any]) -> dict[str, str]:
    """The types of the modules, by id."""
    return {id: module["type"] for id, module in modules_of(job).items()}


def counting(flows: Flows, name: str = "count") -> Counter[str]:
    """A function that counts its runs by the argument `k`, and gives `v` back."""
    runs: Counter[str] = Counter()

    def act(args: dict[str, Any]) -> Any:
        runs[str(args.get("k"))] += 1
        return args.get("v")

    flows.functions[name] = act
    return runs


def counted(id: str, value: str = "1", **settings: Any) -> dict[str, Any]:
    """A step that is counted under its id."""
    return call(id, "count", args={"k": static(id), "v": value}, **settings)
