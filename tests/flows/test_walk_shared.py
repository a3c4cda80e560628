"""The shared directory of a run with `same_worker` (docs/openflow.md section 5.1): who has it, and until when."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows.running import Flows, const, fails, forloop, script
from tests.service import local_service

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Flows]:
    """A service with a data directory that the test can look into."""
    async with local_service(tmp_path) as service:
        yield Flows(service)


@pytest.mark.parametrize("way", ["success", "failure", "cancel"])
async def test_it_is_there_while_the_run_is_and_gone_with_it(own: Flows, tmp_path: Path, way: str) -> None:
    """Whatever way the run ends."""
    runs = tmp_path / "shared" / "runs"
    last = {"success": const("z", 1), "failure": fails("z")}.get(way, script("z", {"sleep": 30}))
    slow = script("s", {"sleep": 0.4}, {"result": 1})
    run = await own.start(const("a", 1), forloop("l", [1], slow), last, same_worker=True)
    seen = set()
    while (await own.service.job(run))["flow_status"]["step"] < 2:
        seen |= {link.name for link in runs.iterdir()} if runs.exists() else set()
    if way == "cancel":
        await own.service.http.post(f"/api/w/main/jobs_u/queue/cancel/{run}")
    await own.service.ended(run)
    assert {name for name in seen if not name.startswith(".")} == {run}
    assert [link.name for link in runs.iterdir()] == []
