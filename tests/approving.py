"""Flows with gates on the fake engine, and those who approve them, without a token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.service import LocalService


def script(step_id: str, *steps: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A module that runs fake steps; `transforms` are its args, as expressions."""
    transforms = {
        name: {"type": "javascript", "expr": expr} for name, expr in settings.pop("transforms", {}).items()
    }
    value = {
        "type": "rawscript",
        "language": "python3",
        "content": json.dumps(steps),
        "input_transforms": transforms,
    }
    return {"id": step_id, "value": value, **settings}


def gated(step_id: str = "a", *steps: dict[str, Any], **suspend: Any) -> dict[str, Any]:
    """A module with a gate behind it."""
    return script(
        step_id, *(steps or ({"result": 1},)), suspend={"required_events": 1, "timeout": 60, **suspend}
    )


SEEN = {"resume": "resume", "resumes": "resumes", "approvers": "approvers"}


def told(step_id: str = "b", **settings: Any) -> dict[str, Any]:
    """A module that gives back what it sees of the gate before it."""
    return script(step_id, {"echo": True}, transforms=SEEN, **settings)


def identity(step_id: str, **settings: Any) -> dict[str, Any]:
    return {"id": step_id, "value": {"type": "identity"}, **settings}


class Approvals:
    """Starts flows and approves them; `stranger` has no token."""

    def __init__(self, service: LocalService) -> None:
        self.service = service
        transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
        self.stranger = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def start(self, *modules: dict[str, Any], **flow: Any) -> str:
        """Run a flow; its id."""
        body = {"value": {"modules": list(modules), **flow}, "path": "u/test/flow"}
        response = await self.service.http.post("/api/w/main/jobs/run/preview_flow", json=body)
        assert response.status_code == 201, response.text
        return response.text

    async def waits(self, run: str, *, parked: bool = False, timeout_s: float = 30) -> str:
        """The gated step's job, once the flow waits for it; `parked`: once the run is rows only."""
        async with asyncio.timeout(timeout_s):
            while True:
                job = await self.service.job(run)
                found = waiting(job["flow_status"])
                if found and (not parked or job["suspend"]):
                    return found
                await asyncio.sleep(0.01)

    async def job_of(self, run: str, step_id: str, timeout_s: float = 30) -> str:
        """A step's job, once there is one."""
        async with asyncio.timeout(timeout_s):
            while True:
                status = (await self.service.job(run))["flow_status"] or {"modules": []}
                for module in status["modules"]:
                    if module["id"] == step_id and module.get("job"):
                        found: str = module["job"]
                        # the status shows jobs that need no container a moment before they are stored
                        if (await self.service.get(f"jobs_u/get/{found}")).status_code == 200:
                            return found
                await asyncio.sleep(0.01)

    async def urls(self, job: str, resume_id: int = 0, approver: str | None = None) -> dict[str, str]:
        """The signed URLs, without scheme and host."""
        query = {} if approver is None else {"approver": approver}
        response = await self.service.get(f"jobs/resume_urls/{job}/{resume_id}", **query)
        assert response.status_code == 200, response.text
        return {name: path_of(url) for name, url in response.json().items()}

    async def send(
        self,
        job: str,
        payload: Any = None,
        resume_id: int = 0,
        approver: str | None = None,
        action: str = "resume",
        **more: Any,
    ) -> httpx.Response:
        """Send an event without a token."""
        url = (await self.urls(job, resume_id, approver))[action]
        return await self.stranger.post(url, json=payload, **more)

    async def approve(
        self, job: str, payload: Any = None, resume_id: int = 0, approver: str | None = None
    ) -> None:
        """Send an approval that counts."""
        response = await self.send(job, payload, resume_id, approver)
        assert (response.status_code, response.content) == (201, b""), response.text

    async def disapprove(self, job: str, resume_id: int = 0, approver: str | None = None) -> None:
        """Send a disapproval that counts."""
        response = await self.send(job, None, resume_id, approver, "cancel")
        assert (response.status_code, response.content) == (201, b""), response.text


def waiting(status: dict[str, Any] | None) -> str | None:
    """The job that a flow's status waits for."""
    for module in (status or {"modules": []})["modules"]:
        if module["type"] == "WaitingForEvents":
            found: str = module["job"]
            return found
    return None


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def events(payloads: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """What the step right behind a gate sees."""
    return {"resume": payloads[-1] if payloads else None, "resumes": list(payloads), "approvers": list(names)}
