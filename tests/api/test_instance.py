"""The instance: health, readiness, metrics, languages, workspaces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from executor import __version__
from executor.api.context import Check
from executor.errors import EngineUnreachable
from executor.readiness import Looks
from executor.runtimes import scan
from executor.sandbox.fake import FakeEngine
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def test_health_and_version_need_nothing(service: LocalService) -> None:
    """Neither engine nor credentials."""
    service.engine.failures.append(EngineUnreachable("away"))
    del service.http.headers["authorization"]
    assert (await service.http.get("/health")).json() == {"status": "ok"}
    assert (await service.http.get("/api/version")).text == f"executor {__version__}"


async def test_ready_only_with_engine_database_and_every_image(service: LocalService) -> None:
    """Each check says what it saw."""
    response = await service.http.get("/ready")
    checks = {check["name"]: check for check in response.json()["checks"]}
    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert {"engine", "database", "accepting"} <= set(checks)
    assert {f"image {name}" for name in scan().names()} <= set(checks)
    assert "fake" in checks["engine"]["detail"]


async def not_ready(service: LocalService, name: str) -> str:
    """Why the service says that it is not ready; only this check fails."""
    response = await service.http.get("/ready")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    (failed,) = (check for check in response.json()["checks"] if not check["ok"])
    assert failed["name"] == name
    return str(failed["detail"])


async def test_not_ready_while_the_engine_is_away(service: LocalService) -> None:
    """And ready again when it is back."""
    service.engine.failures.append(EngineUnreachable("nobody answers"))
    assert "nobody answers" in await not_ready(service, "engine")
    service.engine.failures.clear()
    assert (await service.http.get("/ready")).status_code == 200


async def test_not_ready_without_an_image(service: LocalService) -> None:
    """Also when it went away later; the detail has the remedy."""
    assert (await service.http.get("/ready")).status_code == 200
    service.engine.missing_images.add("image-of-deno")
    assert "executor images build" in await not_ready(service, "image deno")


async def test_however_many_ask_there_is_one_look_at_a_time() -> None:
    """Begun after they have asked, so that it is true; and between looks a pause as long as the look."""
    began: list[float] = []
    running = 0

    async def look() -> list[Check]:
        nonlocal running
        running += 1
        began.append(time.monotonic())
        await asyncio.sleep(0.05)
        assert running == 1
        running -= 1
        return [Check(str(len(began)), True, "")]

    looks = Looks(look)

    async def asked() -> tuple[float, int]:
        when = time.monotonic()
        return when, int((await looks())[0].name)

    async def flood() -> list[tuple[float, int]]:
        return [await asked() for _ in range(4)]

    told = [each for answers in await asyncio.gather(*(flood() for _ in range(50))) for each in answers]
    assert all(began[number - 1] >= when for when, number in told)
    assert len(began) <= 5, "two hundred have asked"
    assert all(later - earlier >= 0.095 for earlier, later in pairwise(began))


async def test_not_ready_while_stopping(service: LocalService) -> None:
    """A load balancer sends nobody here any more; health still says the process lives."""
    service.service.stop_taking()
    await not_ready(service, "accepting")
    assert (await service.http.get("/health")).status_code == 200
    response = await service.submit({"result": 1})
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    assert response.headers["retry-after"]


async def test_a_job_whose_image_is_missing_fails_with_the_remedy(service: LocalService) -> None:
    """It is our trouble, and trying again would not help."""
    service.engine.missing_images.add("image-of-bash")
    job = await service.ended(await service.run({"result": 1}, language="bash"))
    assert (job["status"], job["reason"], job["attempt"]) == ("failure", "infrastructure", 1)
    assert "executor images build" in job["result"]["error"]["message"]


async def metrics(service: LocalService) -> dict[str, float]:
    """All samples by name and labels; they are the process's, so tests look at differences."""
    response = await service.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = (line for line in response.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_metrics_count_jobs_by_language_and_end(service: LocalService) -> None:
    """Submitted, running, ended with status and reason, and for how long."""
    before = await metrics(service)
    for step in ({"result": 1}, {"exit": 1}):
        await service.ended(await service.run(step))
    running = await service.run({"sleep": 60})
    after = await metrics(service)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown('executor_jobs_submitted_total{language="python3"}') == 3
    ended = 'executor_jobs_ended_total{{language="python3",reason="{}",status="{}"}}'
    assert grown(ended.format("", "success")) == 1
    assert grown(ended.format("script_error", "failure")) == 1
    assert grown('executor_job_seconds_count{language="python3"}') == 2
    assert grown("executor_jobs_running") == 1
    await service.http.post(f"/api/w/main/jobs_u/queue/cancel/{running}")
    await service.ended(running)
    assert (await metrics(service))["executor_jobs_running"] == before["executor_jobs_running"]


async def test_metrics_know_the_queue(tmp_path: Path) -> None:
    """How many wait, and how many were sent away because too many did."""
    async with local_service(tmp_path, queue_max=1) as service:
        before = await metrics(service)
        for _ in range(2):
            await service.submit({"result": 1}, query={"scheduled_in_secs": 60})
        after = await metrics(service)
        assert after["executor_jobs_queued"] == 1
        refused = "executor_jobs_refused_total"
        assert after[refused] - before[refused] == 1


async def test_metrics_need_no_credentials_and_hold_no_names(service: LocalService) -> None:
    """Numbers only: no job, user or workspace can be read from them."""
    job_id = await service.run({"result": 1}, path="f/secret")
    await service.ended(job_id)
    del service.http.headers["authorization"]
    text = (await service.http.get("/metrics")).text
    assert job_id not in text
    assert "secret" not in text


async def test_runtimes_are_listed_with_what_a_client_needs(service: LocalService) -> None:
    """Names to submit with, the image, the network, the least limits."""
    found = {runtime["name"]: runtime for runtime in (await service.http.get("/api/runtimes")).json()}
    assert set(found) == set(scan().names())
    python = found["python3"]
    assert (python["image"], python["network"]) == ("image-of-python3", "none")
    assert "python" in python["aliases"]
    assert ".py" in python["extensions"]
    assert set(python["minimum"]) == {"memory_mb", "pids", "tmp_mb"}
    for name in (python["name"], *python["aliases"]):
        assert (await service.submit(language=name)).status_code == 201


async def test_a_workspace_is_made_read_and_listed(service: LocalService) -> None:
    """`main` is always there; a name and a policy are optional."""
    policy = {"networks": [{"cidr": "10.0.0.0/8", "ports": [443]}], "limits": {"pids": 64}, "concurrency": 2}
    made = await service.http.post("/api/workspaces/create", json={"id": "a-1", "policy": policy})
    assert made.status_code == 201
    assert (made.json()["id"], made.json()["name"]) == ("a-1", "a-1")
    assert made.json()["policy"].items() >= policy.items()
    assert (await service.http.get("/api/workspaces/get/a-1")).json() == made.json()
    listed = (await service.http.get("/api/workspaces/list")).json()
    assert [workspace["id"] for workspace in listed] == ["a-1", "main"]
    assert listed[0] == made.json()


async def test_workspaces_survive_a_restart(tmp_path: Path) -> None:
    """With their policies."""
    async with local_service(tmp_path) as service:
        said = {"id": "kept", "name": "Kept", "policy": {"limits": {"cpus": 0.5}}}
        made = (await service.http.post("/api/workspaces/create", json=said)).json()
    async with local_service(tmp_path) as service:
        assert (await service.http.get("/api/workspaces/get/kept")).json() == made
        body = {"language": "bash", "content": "[]", "limits": {"cpus": 0.6}}
        response = await service.http.post("/api/w/kept/jobs/run/preview", json=body)
        assert (response.status_code, response.json()["field"]) == (400, "limits.cpus")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "id"),
        ({"id": ""}, "id"),
        ({"id": "A"}, "id"),
        ({"id": "-a"}, "id"),
        ({"id": "a" * 51}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": 1}, "id"),
        ({"id": "a", "name": "x" * 256}, "name"),
        ({"id": "a", "owner": "x"}, "owner"),
        ({"id": "a", "policy": []}, "policy"),
        ({"id": "a", "policy": {"concurrency": 0}}, "policy.concurrency"),
        ({"id": "a", "policy": {"networks": [{"cidr": "x"}]}}, "policy.networks.0.cidr"),
        ({"id": "a", "policy": {"limits": {"pids": 513}}}, "policy.limits.pids"),
        ({"id": "a", "policy": {"limits": {"disk": 1}}}, "policy.limits.disk"),
    ],
    ids=[str(number) for number in range(14)],
)
async def test_a_wrong_workspace_is_refused_and_not_made(
    service: LocalService, body: dict[str, Any], field: str
) -> None:
    """Naming the member, however deep it is."""
    response = await service.http.post("/api/workspaces/create", json=body)
    assert (response.status_code, response.json()["field"]) == (400, field), response.text
    assert len((await service.http.get("/api/workspaces/list")).json()) == 1


async def test_a_workspace_gets_another_policy_whole(service: LocalService) -> None:
    """What the new one does not say counts no more; a wrong one changes nothing."""
    path = "/api/workspaces/set_policy/main"
    policy = {"networks": [{"cidr": "10.0.0.5", "ports": [5432]}], "concurrency": 2}
    changed = await service.http.post(path, json={"policy": policy})
    assert (changed.status_code, changed.json()["policy"]["concurrency"]) == (200, 2)
    assert changed.json()["policy"]["networks"] == [{"cidr": "10.0.0.5/32", "ports": [5432]}]
    for wrong, field in [({}, "policy"), ({"policy": {"limits": {"pids": 513}}}, "policy.limits.pids")]:
        response = await service.http.post(path, json=wrong)
        assert (response.status_code, response.json()["field"]) == (400, field)
    assert (await service.http.get("/api/workspaces/get/main")).json() == changed.json()
    again = await service.http.post(path, json={"policy": {"networks": []}})
    assert (again.json()["policy"]["networks"], again.json()["policy"]["concurrency"]) == ([], None)
    assert (
        await service.http.post("/api/workspaces/set_policy/none", json={"policy": {}})
    ).status_code == 404


async def test_a_changed_policy_survives_a_restart(tmp_path: Path) -> None:
    async with local_service(tmp_path) as service:
        said = {"policy": {"concurrency": 3}}
        changed = (await service.http.post("/api/workspaces/set_policy/main", json=said)).json()
    async with local_service(tmp_path) as service:
        assert (await service.http.get("/api/workspaces/get/main")).json() == changed


async def test_a_workspace_is_made_once(service: LocalService) -> None:
    """Of many who ask at once, one succeeds; `main` exists from the beginning."""
    asked = (service.http.post("/api/workspaces/create", json={"id": "a"}) for _ in range(5))
    statuses = sorted([response.status_code for response in await asyncio.gather(*asked)])
    assert statuses == [201, 409, 409, 409, 409]
    again = await service.http.post("/api/workspaces/create", json={"id": "main"})
    assert (again.status_code, again.json()["field"]) == (409, "id")


async def test_an_unknown_workspace_is_404_everywhere(service: LocalService) -> None:
    """With the remedy."""
    for path in ("/api/workspaces/get/nowhere", "/api/w/nowhere/jobs/list"):
        response = await service.http.get(path)
        assert (response.status_code, response.json()["field"]) == (404, "workspace")
        assert "workspaces/create" in response.json()["remedy"]


async def test_jobs_wait_for_an_engine_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have not run, so no attempt is lost; the log tells once."""
    monkeypatch.setattr("executor.worker.RETRY_US", 10_000)
    engine = FakeEngine()
    engine.failures.extend(EngineUnreachable("away") for _ in range(9))
    async with local_service(tmp_path, engine) as service:
        job = await service.ended(await service.run({"log": "up"}, {"result": 1}))
        assert (job["status"], job["attempt"], len(engine.failures)) == ("success", 1, 0)
        log = (await service.get(f"jobs_u/get_logs/{job['id']}")).text
        assert log == "--- WAITS for the container engine: away ---\nup"


def engine_waited_for(job: dict[str, Any]) -> bool:
    """It has been tried, and is back in the queue."""
    return not job["running"] and "WAITS" in job["logs"]


async def test_who_waits_for_an_engine_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.worker.RETRY_US", 60_000_000)
    engine = FakeEngine()
    engine.failures.append(EngineUnreachable("away"))
    async with local_service(tmp_path, engine) as service:
        job_id = await service.run({"result": 1})
        async with asyncio.timeout(30):
            while not engine_waited_for(await service.job(job_id)):
                await asyncio.sleep(0.01)
        await service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json={})
        job = await service.ended(job_id)
        assert (job["canceled"], job["attempt"]) == (True, 0)


async def test_an_engine_that_stays_away_fails_jobs_as_infrastructure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few tries more; the script is not blamed."""
    monkeypatch.setattr("executor.worker.RETRY_US", 10_000)
    engine = FakeEngine()
    engine.failures.extend(EngineUnreachable("away") for _ in range(9))
    async with local_service(tmp_path, engine, engine_wait_s=0) as service:
        job = await service.ended(await service.run({"result": 1}))
        assert (job["reason"], job["attempt"], len(engine.failures)) == ("infrastructure", 3, 6)
        assert job["result"]["error"]["name"] == "InternalError"


async def test_a_client_learns_who_it_is(service: LocalService) -> None:
    found = (await service.get("users/whoami")).json()
    assert (found["username"], found["workspace_id"], found["is_admin"]) == ("admin", "main", True)


@pytest.mark.parametrize(
    ("path", "words"),
    [("job_helpers/v2/load_file", "no object storage"), ("oidc/token/audience", "no OIDC tokens")],
)
async def test_what_there_is_not_is_said_in_words(service: LocalService, path: str, words: str) -> None:
    """The client's helpers for object storage and OIDC; without a token nothing is said."""
    for response in (await service.get(path), await service.http.post(f"/api/w/main/{path}")):
        assert response.status_code == 404
        assert words in response.json()["detail"]
        assert response.json()["remedy"]
    headers = {"Authorization": ""}
    assert (await service.http.get(f"/api/w/main/{path}", headers=headers)).status_code == 401


async def test_the_description_names_flows_and_every_group_of_routes(service: LocalService) -> None:
    """A newcomer reads it at /docs."""
    described = (await service.http.get("/openapi.json")).json()
    assert "flow" in described["info"]["description"]
    told = {tag["name"] for tag in described["tags"]}
    used = {tag for path in described["paths"].values() for route in path.values() for tag in route["tags"]}
    assert used == told


async def test_a_runtime_class_that_the_host_has_not_is_refused(service: LocalService) -> None:
    """When the policy is made or set, by the field's name; one that it has is the workspace's from then on."""
    for path, body in (("create", {"id": "boxed"}), ("set_policy/main", {})):
        for name, said in (("runsc", "runsc is not installed"), ("kata", "runsc")):
            refused = await service.http.post(
                f"/api/workspaces/{path}", json={**body, "policy": {"runtime_class": name}}
            )
            assert (refused.status_code, "runtime_class" in refused.text) == (400, True), refused.text
            assert said in refused.text
    made = await service.http.post(
        "/api/workspaces/create", json={"id": "boxed", "policy": {"runtime_class": "runc"}}
    )
    assert (made.status_code, made.json()["policy"]["runtime_class"]) == (201, "runc")
