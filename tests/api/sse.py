"""Server-sent events as a client sees them: one by one, while the answer is still being sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.service import TOKEN, LocalService


@dataclass
class Events:
    """What came, and when, in seconds since the request."""

    began: float = field(default_factory=time.monotonic)
    arrived: asyncio.Queue[tuple[float, dict[str, Any]] | None] = field(default_factory=asyncio.Queue)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def take(self, message: Any) -> None:
        """Note a message of the application; an event is one `data:` line and an empty one."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
            return
        for block in message["body"].split(b"\n\n"):
            if block:
                assert block.startswith(b"data: "), block
                self.arrived.put_nowait((time.monotonic() - self.began, json.loads(block[6:])))

    async def next(self, timeout_s: float = 30) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(timeout_s):
            found = await self.arrived.get()
        assert found is not None, "the stream has ended"
        return found[1]

    async def rest(self, timeout_s: float = 60) -> list[dict[str, Any]]:
        """All further events, to the end of the stream."""
        found = []
        async with asyncio.timeout(timeout_s):
            while (event := await self.arrived.get()) is not None:
                found.append(event[1])
        return found


@asynccontextmanager
async def following(service: LocalService, job_id: str, query: str = "") -> AsyncIterator[Events]:
    """Ask for a job's events, without a client that would wait for the end of the answer."""
    path = f"/api/w/main/jobs_u/getupdate_sse/{job_id}"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode())],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }
    events = Events()
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("BUG: nobody sets this event")

    async def send(message: Any) -> None:
        events.take(message)

    async def call() -> None:
        try:
            await service.app(scope, receive, send)
        finally:
            events.arrived.put_nowait(None)

    calling = asyncio.create_task(call())
    try:
        yield events
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
