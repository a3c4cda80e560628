"""A service that stops and starts again while flows run, wait, and queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.workspace.library import Library, StoredScript
from tests.flows.running import (
    Flows,
    branchall,
    const,
    echo,
    fails,
    forloop,
    ident,
    retry,
    script,
    static,
    types_of,
    whileloop,
)
from tests.service import local_service
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]

MANY = forloop(
    "l",
    [1, 2, 3, 4, 5, 6],
    script("x", {"sleep": 0.3}, {"echo": True}, args={"i": "flow_input.iter"}),
    parallel=True,
)
CASES = {
    "a running script": [const("a", 1), script("b", {"sleep": 0.6}, {"result": 2}), ident("c")],
    "more scripts than slots": [MANY, echo("after", "results.l.length")],
    "a sleep": [const("a", 1, sleep=static(1.5)), ident("b")],
    "a retry": [fails("a", retry=retry(1, 1.5), continue_on_error=True), const("b", 5)],
    "a loop": [
        whileloop(
            "w",
            script("x", {"sleep": 0.1}, {"result": 1}),
            stop_after_if={"expr": "flow_input, result && all_iters.length == 6"},
        )
    ],
}


@pytest.mark.parametrize("name", CASES)
async def test_an_orderly_stop_fails_no_run(tmp_path: Path, name: str) -> None:
    """The next service walks on; what had ended does not run again."""
    async with local_service(tmp_path, concurrency=2) as service:
        run = await Flows(service).start(*CASES[name])
        await asyncio.sleep(0.4)
    async with local_service(tmp_path, concurrency=2) as service:
        job = await service.ended(run)
        assert job["success"], job["result"]
        assert "Failure" not in types_of(job).values() or name == "a retry"
        runs = await Flows(service).runs_of(job)
        assert runs["x"] in (0, 6)
        assert runs["a"] == (2 if name == "a retry" else runs["a"])


async def test_stopped_again_and_again(tmp_path: Path) -> None:
    """A run that lives through many services gives what it would have given in one."""
    result: Any = None
    run = ""
    for life in range(5):
        async with local_service(tmp_path, concurrency=2) as service:
            if not run:
                run = await Flows(service).start(MANY, echo("after", "results.l"))
            await asyncio.sleep(0.15)
            if life == 4:
                result = (await service.ended(run))["result"]
    assert result == {"x": [{"i": {"index": i, "value": i + 1}} for i in range(6)]}


class BrokenLibrary(Library):
    """Its tables are gone, say."""

    async def script(self, workspace_id: str, path: str, hash: str | None) -> StoredScript | None:
        """A bug of ours."""
        raise RuntimeError("no such table")


async def test_trouble_of_ours_ends_the_run_and_what_it_started(tmp_path: Path) -> None:
    """With an InternalError; its scripts do not go on."""
    async with local_service(tmp_path, concurrency=4) as service:
        walker = service.service.walker
        assert walker is not None
        library = walker._around.library
        walker._around = replace(walker._around, library=BrokenLibrary(library._database, library._vault))
        stored = {"id": "p", "value": {"type": "script", "path": "f/a/b"}}
        first = script("s", {"sleep": 0.2}, {"result": 1})
        long = script("long", {"sleep": 30}, {"result": 1})
        flows = Flows(service)
        job = await flows.run(branchall("b", [long], [first, stored]), failure_module=const("failure", 1))
        assert (job["result"]["error"]["name"], job["reason"]) == ("InternalError", "infrastructure")
        inside = {inner["flow_step_id"]: inner for inner in await flows.jobs(job)}
        assert all(inner["type"] == "CompletedJob" for inner in inside.values())
        assert inside["long"]["status"] == "canceled"
        await until(lambda: not service.engine.living)
