"""While one workspace floods the service, another one's job does not wait behind the flood."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from executor.walker import runner
from tests.flows.running import const, ident, script
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio


async def submit(service: LocalService, workspace: str, *steps: dict[str, object]) -> str:
    body = {"language": "python3", "content": json.dumps(steps)}
    response = await service.http.post(f"/api/w/{workspace}/jobs/run/preview", json=body)
    assert response.status_code == 201, response.text
    return response.text


async def started(service: LocalService, workspace: str) -> int:
    counts = await service.context.desk.counts(workspace)
    return counts[1]


async def with_workspaces(service: LocalService) -> None:
    for name in ("red", "blue"):
        assert (await service.http.post("/api/workspaces/create", json={"id": name})).status_code == 201


async def test_a_guest_starts_while_all_slots_are_taken_for_long(tmp_path: Path) -> None:
    async with local_service(tmp_path, concurrency=2) as service:
        await with_workspaces(service)
        for _ in range(20):
            await submit(service, "red", {"sleep": 60})
        guest = await submit(service, "blue", {"result": 1})
        async with asyncio.timeout(20):
            assert (await service.context.desk.wait("blue", guest)).job.status == "success"
        assert await started(service, "red") == 2, "the flood has the slots that there are, and no more"


async def test_turns_go_round_however_long_one_workspace_s_queue_is(tmp_path: Path) -> None:
    async with local_service(tmp_path, concurrency=2) as service:
        await with_workspaces(service)
        flood = [await submit(service, "red", {"sleep": 0.02}) for _ in range(60)]
        few = [await submit(service, "blue", {"sleep": 0.02}) for _ in range(6)]
        async with asyncio.timeout(60):
            for job_id in few:
                await service.context.desk.wait("blue", job_id)
            waiting, _ = await service.context.desk.counts("red")
            assert waiting > 10, "the flood was not done first"
            for job_id in flood:
                await service.context.desk.wait("red", job_id)


async def run_flow(service: LocalService, workspace: str, *modules: dict[str, Any]) -> str:
    path = f"/api/w/{workspace}/jobs/run/preview_flow"
    response = await service.http.post(path, json={"value": {"modules": modules}})
    assert response.status_code == 201, response.text
    return response.text


async def test_a_guest_s_flow_is_walked_while_all_walks_are_another_workspace_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was put down, and one that waits behind many."""
    monkeypatch.setattr(runner, "WALKS_MAX", 2)
    async with local_service(tmp_path) as service:
        await with_workspaces(service)
        paused = await run_flow(service, "blue", ident("a", sleep={"type": "static", "value": 3}), ident("b"))
        for _ in range(20):
            await run_flow(service, "red", script("slow", {"sleep": 60}))
        async with asyncio.timeout(40):
            for _ in range(3):
                guest = await run_flow(service, "blue", const("a", 1))
                assert (await service.context.desk.wait("blue", guest)).job.status == "success"
            assert (await service.context.desk.wait("blue", paused)).job.status == "success"
        walked = (await service.http.get("/api/w/red/jobs/list", params={"running": "true"})).json()
        runs = [job for job in walked if job["job_kind"] == "flowpreview"]
        assert len(runs) == 2, "the flood has the places that there are, and no more"


async def test_endless_expressions_of_one_workspace_are_not_the_other_one_s_trouble(tmp_path: Path) -> None:
    """They take the processes that evaluate for ten seconds each, and there are two."""
    endless = {"type": "javascript", "expr": "(() => { while (true) {} })()"}
    looks = {"type": "javascript", "expr": "[1, 2].map(x => x + 1)"}
    slow, fast = [
        {"id": "a", "value": {"type": "forloopflow", "iterator": over, "modules": [ident("i")]}}
        for over in (endless, looks)
    ]
    async with local_service(tmp_path) as service:
        await with_workspaces(service)
        for _ in range(12):
            await run_flow(service, "red", slow)
        async with asyncio.timeout(8):
            for _ in range(3):
                guest = await run_flow(service, "blue", fast)
                assert (await service.context.desk.wait("blue", guest)).job.status == "success"
