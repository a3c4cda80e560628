"""Who did what: changes and refusals are noted with the token's beginning, and kept for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.jobs.job import now_us
from executor.workspace.audit import DAY_US, Act, Audit
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
SCRIPT = {"language": "python3", "content": '[{"result": 1}]'}
VARIABLE = {"path": "u/ada/key", "value": "s3cr3t", "is_secret": True, "description": ""}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as made:
        yield made


async def acts(
    service: LocalService, count: int, path: str = "/api/w/main/audit/list"
) -> list[dict[str, Any]]:
    """The acts, the latest first, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            found: list[dict[str, Any]] = (await service.http.get(path)).json()
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_changes_and_refusals_are_noted_and_what_was_run_is_on_the_job(service: LocalService) -> None:
    token = (await service.http.post("/api/users/tokens/create", json={"right": "run", "user": "ada"})).text
    ada = {"Authorization": f"Bearer {token}"}
    job_id = (await service.http.post("/api/w/main/jobs/run/preview", json=SCRIPT, headers=ada)).text
    await service.http.post("/api/w/main/variables/create", json=VARIABLE, headers=ada)
    await service.http.post("/api/w/main/scripts/create", json={"path": "u/ada/x", **SCRIPT}, headers=ada)
    await service.http.get("/api/w/main/audit/list", headers=ada)
    await service.http.get("/api/w/main/jobs/list", headers=ada)
    refused_list, refused_script, variable = await acts(service, 3)
    assert [(act["operation"], act["status"]) for act in (variable, refused_script, refused_list)] == [
        ("variables.create", 201),
        ("scripts.create", 403),
        ("auditing.list_of_workspace", 403),
    ]
    for act in (variable, refused_script, refused_list):
        assert (act["user"], act["token_prefix"], act["workspace_id"]) == ("ada", token[:10], "main")
    assert (await service.job(job_id))["created_by"] == "ada"
    of_instance = await acts(service, 4, "/api/audit/list")
    assert (of_instance[-1]["subject"], of_instance[-1]["user"]) == ("/api/users/tokens/create", "admin")
    shown = str(of_instance)
    assert token not in shown
    assert "s3cr3t" not in shown


async def test_they_can_be_asked_for_by_user_and_time(service: LocalService) -> None:
    for name in ("red", "blue"):
        await service.http.post("/api/workspaces/create", json={"id": name})
    newest, oldest = await acts(service, 2, "/api/audit/list")
    path = "/api/audit/list"
    for query, expected in (
        ({"username": "ada"}, []),
        ({"before": newest["at"]}, [oldest]),
        ({"after": oldest["at"]}, [newest]),
        ({"per_page": 1}, [newest]),
    ):
        assert (await service.http.get(path, params=query)).json() == expected


async def test_they_outlast_a_stop_and_are_forgotten_in_time(tmp_path: Path) -> None:
    async with local_service(tmp_path) as service:
        audit: Audit = service.context.audit
        old = Act(now_us() - 91 * DAY_US, "ada", "", None, "x.create", "/x", 201, "")
        audit.note(old)
        await service.http.post("/api/workspaces/create", json={"id": "red"})
    async with local_service(tmp_path) as service:
        async with asyncio.timeout(10):
            while len(found := (await service.http.get("/api/audit/list")).json()) != 1:
                await asyncio.sleep(0.02)
        assert found[0]["operation"] == "workspaces.create"


async def test_one_that_is_being_written_at_the_end_is_kept(tmp_path: Path) -> None:
    busy = threading.Event()
    async with local_service(tmp_path) as service:
        database = service.context.desk.database
        audit = Audit(database, days=1)
        audit.start()
        before = asyncio.create_task(database.write(lambda _: busy.wait(10)))
        await asyncio.sleep(0)
        audit.note(Act(now_us(), "ada", "", None, "x.create", "/x", 201, ""))
        await asyncio.sleep(0)
        closing = asyncio.create_task(audit.close())
        await asyncio.sleep(0.1)
        busy.set()
        await closing
        assert await before
        (found,) = await audit.list(None, None, None, None, 10)
    assert found.operation == "x.create"


@pytest.mark.parametrize("when", ["9" * 23, "-1"])
async def test_a_time_out_of_range_is_named(service: LocalService, when: str) -> None:
    for name in ("before", "after"):
        response = await service.http.get("/api/audit/list", params={name: when})
        assert (response.status_code, response.json()["field"]) == (400, name)
