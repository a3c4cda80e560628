"""A whole service in this process, on the fake engine: HTTP, database and all but containers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from executor.api.app import build
from executor.api.context import Context
from executor.containers import HolderParts, Parts
from executor.runtimes import Runtimes
from executor.sandbox.fake import FakeEngine
from executor.sandbox.firewall import Surroundings
from executor.settings import Settings
from executor.wiring import Service

TOKEN = "test-token"


class LocalService:
    """A service with its fake engine and a client that holds the admin token."""

    def __init__(self, service: Service, engine: FakeEngine, context: Context, app: FastAPI) -> None:
        self.service = service
        self.engine = engine
        self.context = context
        self.app = app
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )

    async def submit(self, *steps: dict[str, Any], **body: Any) -> httpx.Response:
        """Post a script of fake steps; `query` becomes the query, the rest goes into the body."""
        query = body.pop("query", {})
        whole = {"language": "python3", "content": json.dumps(steps), **body}
        return await self.http.post("/api/w/main/jobs/run/preview", json=whole, params=query)

    async def run(self, *steps: dict[str, Any], **body: Any) -> str:
        """Post a script and give its job's id."""
        response = await self.submit(*steps, **body)
        assert response.status_code == 201, response.text
        assert str(uuid.UUID(response.text)) == response.text
        return response.text

    async def get(self, path: str, **params: Any) -> httpx.Response:
        """GET a path of the workspace."""
        return await self.http.get(f"/api/w/main/{path}", params=params)

    async def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        response = await self.get(f"jobs_u/get/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def started(self, job_id: str) -> None:
        """Wait until the job's script runs."""
        async with asyncio.timeout(30):
            while (await self.job(job_id)).get("sandbox") is None:
                await asyncio.sleep(0.01)

    async def ended(self, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """The job once it is completed."""
        async with asyncio.timeout(timeout_s):
            await self.context.desk.wait("main", job_id)
        return await self.job(job_id)


@asynccontextmanager
async def local_service(
    folder: Path, engine: FakeEngine | None = None, **settings: Any
) -> AsyncIterator[LocalService]:
    """Start a service on `folder`, stop it at the end; start it again there, and it goes on."""
    used = engine or FakeEngine()

    def parts(_: Settings, __: Runtimes) -> Parts:
        holder = HolderParts(lambda: "image-of-holder", lambda _: Surroundings())
        return Parts(used, lambda runtime: f"image-of-{runtime.name}", holder=holder)

    chosen: dict[str, Any] = {
        "drain_s": 0.2,
        "cancel_grace_s": 0.05,
        "pool_max": 0,
        "wrong_tokens_per_s": 1e6,
        **settings,
    }
    service = Service.of(Settings(data_dir=folder, token=TOKEN, **chosen))
    service.make_parts = parts
    async with service.running() as context:
        app = APPS.pop() if APPS else build(service.running)
        app.state.context = context
        local = LocalService(service, used, context, app)
        async with local.http:
            yield local
        del app.state.context
        APPS.append(app)


APPS: list[FastAPI] = []
"""Those that no service has now. Making one takes longer than most tests, and FastAPI forgets none that it ever met."""
