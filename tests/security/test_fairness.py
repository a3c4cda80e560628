"""While one workspace floods the service with whatever it has, another one's job hardly notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.service import RealService

pytestmark = pytest.mark.engine
HELLO = {"language": "bash", "content": "echo '\"hello\"' > result.json"}
LIMITS = {"timeout_s": 2, "memory_mb": 96, "pids": 64, "tmp_mb": 16, "log_bytes": 1 << 20}
FLOODS = {
    "fork": "f() { for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 2 & f & done; }; f; wait",
    "output": "yes AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "spin": "while :; do :; done",
    "memory": "a=x; while :; do a=$a$a; done",
}
QUEUED = 1000
SAMPLES = 7
SLOT_S = 1.0
"""How long a slot may take to come free: the kernel gives a core to the flood's processes first, for a while."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RealService]:
    service = RealService(tmp_path / "data", EXECUTOR_POOL_MAX="8")
    service.folder.mkdir()
    service.start()
    for name in ("red", "blue"):
        assert service.http.post("/api/workspaces/create", json={"id": name}).status_code == 201
    yield service
    service.close()


@pytest.mark.timeout(240)
def test_a_flood_of_one_workspace_is_not_the_other_one_s_trouble(service: RealService) -> None:
    hellos(service)  # what is made once, is made now
    alone = median(hellos(service))
    with ThreadPoolExecutor(8) as threads:
        kinds = [list(FLOODS.values())[n % len(FLOODS)] for n in range(QUEUED)]
        list(threads.map(lambda content: flood(service, content), kinds))
    beside = hellos(service)
    waiting = service.http.get("/api/w/red/jobs/queue/count").json()["database_length"]
    assert waiting > QUEUED / 2, "the flood is over: this shows nothing"
    assert median(beside) <= 3 * alone + SLOT_S, f"{sorted(beside)} s beside a flood, {alone} s alone"


@pytest.mark.timeout(240)
def test_a_flood_of_flows_is_not_the_other_one_s_trouble(service: RealService) -> None:
    """Big loops side by side, which need no slot: what they share with others is the event loop and the database."""
    hellos(service)
    alone = median(hellos(service))
    body = {
        "type": "forloopflow",
        "parallel": True,
        "iterator": {"type": "javascript", "expr": "Array(20000)"},
        "modules": [{"id": "i", "value": {"type": "identity"}}],
    }
    flows = {"value": {"modules": [{"id": "l", "value": body}]}}
    runs = [service.http.post("/api/w/red/jobs/run/preview_flow", json=flows).text for _ in range(12)]
    beside = hellos(service)
    first = service.http.get(f"/api/w/red/jobs_u/completed/get_result_maybe/{runs[-1]}").json()
    assert not first["completed"], "the flood is over: this shows nothing"
    assert median(beside) <= 3 * alone + SLOT_S, f"{sorted(beside)} s beside a flood, {alone} s alone"


@pytest.mark.timeout(240)
def test_a_crowd_that_waits_for_its_key_is_not_the_other_one_s_trouble(service: RealService) -> None:
    """Inner flows of which one may run at once, and that one waits for an approval."""
    hellos(service)
    alone = median(hellos(service))
    gate = {"id": "g", "value": {"type": "identity"}, "suspend": {"required_events": 1, "timeout": 600}}
    inner = {"modules": [gate, {"id": "e", "value": {"type": "identity"}}], "concurrent_limit": 1}
    stored = {"path": "f/flood/inner", "summary": "", "value": inner}
    assert service.http.post("/api/w/red/flows/create", json=stored).status_code == 201
    step = {"type": "flow", "path": "f/flood/inner", "input_transforms": {}}
    loop = {
        "type": "forloopflow",
        "parallel": True,
        "iterator": {"type": "javascript", "expr": "Array(20000)"},
        "modules": [{"id": "i", "value": step}],
    }
    flows = {"value": {"modules": [{"id": "l", "value": loop}]}}
    runs = [service.http.post("/api/w/red/jobs/run/preview_flow", json=flows).text for _ in range(20)]
    beside = [hellos(service) for _ in range(2)][-1]
    assert service.http.get(f"/api/w/red/jobs_u/get/{runs[-1]}").json()["running"], "this shows nothing"
    assert median(beside) <= 3 * alone + SLOT_S, f"{sorted(beside)} s beside a crowd, {alone} s alone"


def hellos(service: RealService) -> list[float]:
    """How long the other workspace's hello takes, seconds, one after another."""
    took = []
    for _ in range(SAMPLES):
        began = time.monotonic()
        answer = service.http.post("/api/w/blue/jobs/run_wait_result/preview", json=HELLO)
        took.append(time.monotonic() - began)
        assert answer.json() == "hello"
    return took


def flood(service: RealService, content: str) -> None:
    """Queue one more job that misbehaves."""
    body = {"language": "bash", "content": content, "limits": LIMITS}
    assert service.http.post("/api/w/red/jobs/run/preview", json=body).status_code == 201
