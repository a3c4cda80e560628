"""kill -9 of the whole service at random moments, while a flow runs in real containers."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service import RealService
from tests.flows.running import Module, branchall, branchone, forloop, ident, js, whileloop

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("database_url")]


def compact(value: Any) -> str:
    """As JSON.stringify has it."""
    return json.dumps(value, separators=(",", ":"))


def bash(id: str, seconds: float = 0.3, **settings: Any) -> Module:
    """A script that takes a moment and gives its id and its argument."""
    content = f'key="$1"\necho began\nsleep {seconds}\necho "{id} $key"'
    transforms = {"key": js(settings.pop("key", "''"))}
    value = {"type": "rawscript", "language": "bash", "content": content, "input_transforms": transforms}
    return {"id": id, "value": value, **settings}


INDEX = "flow_input.iter.index"
FLOW = {
    "modules": [
        bash("a"),
        forloop("p", [1, 2, 3, 4], bash("b", 0.6, key=INDEX), parallel=True, parallelism=2),
        forloop("l", [1, 2], bash("c", key=INDEX), ident("i")),
        branchall(
            "t",
            [bash("d")],
            [whileloop("w", bash("e", key=INDEX), stop_after_if={"expr": "all_iters.length > 1"})],
        ),
        branchone("o", ("results.t.length == 2", [bash("f", key="JSON.stringify([results.p, results.l])")])),
        bash("g", key="JSON.stringify([results.t, results.o])"),
    ]
}
INNER = "f " + compact([["b 0", "b 1", "b 2", "b 3"], ["c 0", "c 1"]])
RESULT = "g " + compact([["d", ["e 0", "e 1"]], INNER])
SCRIPTS = 12


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RealService]:
    """A service for one test, not started yet."""
    own = RealService(tmp_path / "data", EXECUTOR_CONCURRENCY="3")
    own.folder.mkdir()
    yield own
    own.close()


def jobs(service: RealService, run: str) -> dict[str, dict[str, Any]]:
    """The script jobs of the run, by id."""
    response = service.http.get("/api/w/main/jobs/list", params={"per_page": 1000, "job_kinds": "preview"})
    response.raise_for_status()
    return {job["id"]: job for job in response.json()}


def lived_through(service: RealService, kills: int, chance: random.Random) -> None:
    """Run the flow, killing the service that often; check what it gave and what it ran."""
    service.start()
    run = service.http.post("/api/w/main/jobs/run/preview_flow", json={"value": FLOW}).text
    final: dict[str, dict[str, Any]] = {}
    for _ in range(kills):
        time.sleep(chance.uniform(0, 1.2))
        service.kill()
        service.start()
        now = jobs(service, run)
        for job_id, job in final.items():
            assert now[job_id] == job, "what has ended is final"
        final = {job_id: job for job_id, job in now.items() if job["type"] == "CompletedJob"}
    done = service.ended(run)
    assert (done["status"], done["result"]) == ("success", RESULT)
    scripts = jobs(service, run)
    assert len(scripts) == SCRIPTS
    for job_id, script in scripts.items():
        assert script["status"] == "success"
        assert script["attempt"] <= kills + 1
        assert job_id not in final or final[job_id] == script
        log = service.http.get(f"/api/w/main/jobs_u/get_logs/{job_id}").text
        assert log.count("--- RUN") <= script["attempt"] - 1


def test_killed_a_few_times(service: RealService) -> None:
    """The result is as if nothing had happened, what had ended was not run again, nothing is left."""
    lived_through(service, 4, random.Random(5))
    service.await_no_containers()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_twenty_times(service: RealService, seed: int) -> None:
    """In one database."""
    lived_through(service, 20, random.Random(seed))
    service.await_no_containers()
