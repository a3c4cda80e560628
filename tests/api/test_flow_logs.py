"""The log of a whole flow: its steps' logs in order, each under a headline, also while it runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.jobs import flowlogs
from tests.api.sse import following
from tests.flows.running import (
    Flows,
    branchall,
    branchone,
    const,
    fails,
    forloop,
    ident,
    retry,
    script,
)
from tests.service import LocalService, local_service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]
HEADLINE = re.compile(r"^--- STEP (.+) \(python3\), job ([0-9a-f-]{36}) ---$", re.M)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


@pytest.fixture
def flows(service: LocalService) -> Flows:
    return Flows(service)


def says(id: str, *texts: str, **more: Any) -> dict[str, Any]:
    """A step that logs."""
    return script(id, *({"log": text} for text in texts), {"result": id}, **more)


async def log(service: LocalService, job_id: str, route: str = "get_logs") -> str:
    response = await service.get(f"jobs_u/{route}/{job_id}")
    assert response.status_code == 200, response.text
    return response.text


def plain(text: str) -> list[str]:
    """The lines, headlines without the ids of jobs."""
    return HEADLINE.sub(r"# \1", text).splitlines()


async def test_a_flow_s_log_has_its_steps_in_order_each_under_a_headline(
    service: LocalService, flows: Flows
) -> None:
    """Loops, branches, inner flows, retries and the failure module too; what logs nothing shows that it ran."""
    inner = {"path": "f/x/inner", "value": {"modules": [says("deep", "in the inner flow\n")]}}
    assert (await service.http.post("/api/w/main/flows/create", json=inner)).status_code == 201
    run = await flows.run(
        says("a/b", "no line break", "; second piece"),
        ident("nothing"),
        forloop("loop", "[0,1,2,3,4,5,6,7,8,9,10]", says("body", "x\n"), parallel=True),
        {"id": "inner", "value": {"type": "flow", "path": "f/x/inner"}},
        branchall("all", [const("quiet", 1)], [says("loud", "LOUD\n")]),
        branchone("one", ("true", [says("chosen", "me\n")])),
        fails("bad", retry=retry(1)),
        failure_module=says("failure", "to the rescue\n"),
    )
    iterations = [line for n in range(11) for line in (f"# loop[{n}]/body", "x")]
    whole = await log(service, run["id"])
    assert plain(whole) == [
        "# a/b", "no line break; second piece", *iterations, "# inner/deep", "in the inner flow",
        "# all.branch[0]/quiet", "# all.branch[1]/loud", "LOUD", "# one.branch[0]/chosen", "me",
        "# bad", "# bad (retry 1)", "# failure", "to the rescue",
    ]  # fmt: skip
    assert whole == run["logs"] == await log(service, run["id"], "get_flow_all_logs")
    names = {job["id"]: job["flow_step_id"] for job in await flows.jobs(run)}
    for label, job_id in HEADLINE.findall(whole):
        assert re.sub(r" \(.*", "", label).endswith(names[job_id])


async def test_a_part_of_a_flow_has_the_log_of_its_own_steps(service: LocalService, flows: Flows) -> None:
    """An iteration, a branch, an inner flow: named from there. A step's own log is as it was written."""
    run = await flows.run(forloop("loop", "[1,2]", says("a", "one\n"), says("b", "two\n")))
    second = run["flow_status"]["modules"][0]["flow_jobs"][1]
    assert plain(await log(service, second)) == ["# a", "one", "# b", "two"]
    ids = [job_id for _, job_id in HEADLINE.findall(await log(service, second))]
    assert [await log(service, job_id) for job_id in ids] == ["one\n", "two\n"]


async def test_following_a_flow_misses_and_repeats_nothing(service: LocalService, flows: Flows) -> None:
    """By offsets, while parallel iterations write at the same time; the end is what `get_logs` gives."""
    steps = [step for n in range(6) for step in ({"log": f"line {n}\n"}, {"sleep": 0.05})]
    run_id = await flows.start(
        forloop("loop", "[0,1,2]", script("w", *steps, {"result": 1}), parallel=True), says("last", "end\n")
    )
    text, rounds = "", 0
    while True:
        update = (await service.get(f"jobs_u/getupdate/{run_id}", log_offset=len(text))).json()
        text += update["new_logs"]
        assert update["log_offset"] == len(text)
        rounds += bool(update["new_logs"])
        if update["completed"]:
            break
        await asyncio.sleep(0.02)
    assert rounds > 2, "it was followed while it ran"
    assert text == await log(service, run_id) == update["job"]["logs"]
    assert plain(text).count("line 5") == 3
    assert plain(text)[-2:] == ["# last", "end"]


async def test_events_bring_a_flow_s_log_and_status_as_they_come(service: LocalService, flows: Flows) -> None:
    """Without waiting for the next ping."""
    steps = [step for n in range(3) for step in ({"log": f"{n}\n"}, {"sleep": 0.4})]
    run_id = await flows.start(
        forloop("loop", "[0]", script("slow", *steps, {"result": 1})), says("last", "end\n")
    )
    async with following(service, run_id) as events:
        seen = await events.rest()
    assert "ping" not in [event["type"] for event in seen]
    news = [event["new_logs"] for event in seen if event.get("new_logs")]
    assert len(news) >= 3, "the log came in pieces"
    assert "".join(news) == await log(service, run_id) == seen[-1]["job"]["logs"]
    states = [
        [m["type"] for m in event["flow_status"]["modules"]] for event in seen if "flow_status" in event
    ]
    assert ["InProgress", "WaitingForPriorSteps"] in states
    assert states[-1] == ["Success", "Success"]


async def test_what_runs_beside_an_unfinished_step_is_in_all_logs(
    service: LocalService, flows: Flows
) -> None:
    """`get_logs` keeps to what will not move; `get_flow_all_logs` shows what there is."""
    waits = script("waits", {"log": "first\n"}, {"sleep": 60})
    run_id = await flows.start(branchall("all", [waits], [says("quick", "second\n")]))
    async with asyncio.timeout(30):
        while "second" not in (everything := await log(service, run_id, "get_flow_all_logs")):
            await asyncio.sleep(0.02)
        while "first" not in (settled := await log(service, run_id)):
            await asyncio.sleep(0.02)
    assert plain(settled) == ["# all.branch[0]/waits", "first"]
    assert "# all.branch[1]/quick" in plain(everything)
    await service.http.post(f"/api/w/main/jobs_u/queue/cancel/{run_id}")
    await service.ended(run_id)
    assert plain(await log(service, run_id))[-2:] == ["# all.branch[1]/quick", "second"]


async def test_a_long_log_comes_in_bounded_answers(
    service: LocalService, flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer says where the next begins; events bring all of it before they end."""
    run = await flows.run(forloop("loop", "[0,1,2,3]", says("w", "ä" * 300 + "\n", "b" * 300)))
    whole = await log(service, run["id"])
    monkeypatch.setattr(flowlogs, "CHARS_MAX", 250)
    text, rounds = "", 0
    while update := (await service.get(f"jobs_u/getupdate/{run['id']}", log_offset=len(text))).json():
        assert len(update["new_logs"]) <= 250
        if not update["new_logs"]:
            break
        text += update["new_logs"]
        rounds += 1
    assert (text, rounds) == (whole, -(-len(whole) // 250))
    first = await log(service, run["id"])
    assert first[:250] == whole[:250]
    assert f"--- MORE: GET jobs_u/getupdate/{run['id']}?log_offset=250 ---" in first
    async with following(service, run["id"]) as events:
        seen = await events.rest()
    assert "".join(event["new_logs"] for event in seen) == whole
    assert [("job" in event) for event in seen] == [False] * (len(seen) - 1) + [True]
    for offset in range(0, len(whole) + 3, 7):
        piece = (await service.get(f"jobs_u/getupdate/{run['id']}", log_offset=offset)).json()
        assert piece["new_logs"] == whole[offset : offset + 250]


async def test_a_deleted_flow_s_log_says_only_that(service: LocalService, flows: Flows) -> None:
    run = await flows.run(says("a", "secret\n"))
    await service.http.post(f"/api/w/main/jobs/completed/delete/{run['id']}")
    assert await log(service, run["id"]) == "##DELETED##"
    assert "secret" not in await log(service, run["id"], "get_flow_all_logs")


async def test_a_script_s_log_is_the_same_by_either_route(service: LocalService) -> None:
    job = await service.ended(await service.run({"log": "hello\n"}, {"result": 1}))
    assert await log(service, job["id"]) == await log(service, job["id"], "get_flow_all_logs") == "hello\n"
