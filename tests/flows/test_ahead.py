"""What a walk tells of the scripts it is about to run, so that containers can be made ahead."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio


def script(id: str, language: str = "python3", **more: Any) -> dict[str, Any]:
    value = {"type": "rawscript", "language": language, "content": '[{"result": 1}]', "input_transforms": {}}
    return {"id": id, "value": value, **more}


def loop(id: str, items: str, *modules: dict[str, Any], **more: Any) -> dict[str, Any]:
    iterator = {"type": "javascript", "expr": items}
    value = {"type": "forloopflow", "iterator": iterator, "skip_failures": False, "modules": list(modules)}
    return {"id": id, "value": {**value, **more}}


async def told(service: LocalService, *modules: dict[str, Any], **flow: Any) -> list[dict[str, int]]:
    """Run a flow of these modules; what was told of, sequence by sequence."""
    heard: list[dict[str, int]] = []
    sandbox = service.service.sandbox
    assert sandbox is not None
    assert sandbox.pool is not None
    expect = sandbox.pool.expect

    def hear(language: str, workspace: str, count: int) -> None:
        heard.append({language: count})
        expect(language, workspace, count)

    sandbox.pool.expect = hear  # type: ignore[method-assign]
    body = {"value": {"modules": list(modules), **flow}, "args": {}}
    done = await service.http.post("/api/w/main/jobs/run_wait_result/preview_flow", json=body)
    assert done.status_code == 200, done.text
    sandbox.pool.expect = expect  # type: ignore[method-assign]
    return heard


async def test_a_sequence_tells_of_its_scripts_at_its_beginning(tmp_path: Path) -> None:
    async with local_service(tmp_path, pool_max=4) as service:
        heard = await told(service, script("a"), script("b", "bash"), script("c"))
    assert heard == [{"python3": 2}, {"bash": 1}]


async def test_a_loop_tells_of_all_its_iterations_once(tmp_path: Path) -> None:
    async with local_service(tmp_path, pool_max=4) as service:
        heard = await told(service, loop("l", "[1,2,3]", script("a"), script("b")))
        side_by_side = await told(service, loop("l", "[1,2]", script("a"), parallel=True))
    assert heard == [{"python3": 6}]
    assert side_by_side == [{"python3": 2}]


async def test_what_comes_after_a_wait_or_never_is_not_told(tmp_path: Path) -> None:
    """A mock needs no container; who knows what is when a sleep is over."""
    sleep: dict[str, Any] = {"sleep": {"type": "static", "value": 0}}
    async with local_service(tmp_path, pool_max=4) as service:
        heard = await told(
            service, script("m", mock={"enabled": True, "return_value": 1}), script("a", **sleep), script("b")
        )
    assert heard == [{"python3": 1}]


async def test_steps_that_share_a_directory_are_told_as_such(tmp_path: Path) -> None:
    """Their containers wait with a slot for it."""
    async with local_service(tmp_path, pool_max=4) as service:
        heard = await told(service, script("a"), script("b"), same_worker=True)
    assert heard == [{"python3 shared": 2}]


async def test_a_flow_s_steps_find_containers_waiting(tmp_path: Path) -> None:
    """An idle service has put by enough; each step has a container of its own all the same."""
    async with local_service(tmp_path, pool_max=60) as service:
        async with asyncio.timeout(20):
            while sum(spec.image == "image-of-python3" for spec in service.engine.started) < 12:
                await asyncio.sleep(0.01)
        await told(service, *(script(f"s{number}") for number in range(12)))
        roles = Counter(spec.labels["executor.role"] for spec in service.engine.started)
    assert roles["job"] == 0
