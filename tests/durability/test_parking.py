"""A suspended flow is rows only: it outlives the service, costs nothing, and goes on directly."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from executor.jobs import events as stored_events
from executor.jobs import runs
from tests.approving import Approvals, events, gated, identity, script, told
from tests.service import local_service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]

MANY = 1000
RESUMED_WITHIN_S = 0.25


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Approvals]:
    async with local_service(folder, queue_max=10 * MANY) as service:
        approvals = Approvals(service)
        async with approvals.stranger:
            yield approvals


async def test_a_parked_flow_outlives_the_service(tmp_path: Path) -> None:
    """URLs from before work after, events from before count, and what has run does not run again."""
    async with serving(tmp_path) as approvals:
        run = await approvals.start(gated(required_events=2), told())
        job = await approvals.waits(run, parked=True)
        await approvals.approve(job, 1, resume_id=1, approver="before")
        url = (await approvals.urls(job, 2, "after"))["resume"]
    async with serving(tmp_path) as approvals:
        assert await approvals.waits(run) == job
        assert (await approvals.stranger.post(url, json=2)).status_code == 201
        ended = await approvals.service.ended(run)
        assert ended["result"] == events([1, 2], ["before", "after"])
        assert len(approvals.service.engine.started) == 1, "only the step behind the gate"


async def test_a_gate_s_time_goes_on_while_the_service_is_away(tmp_path: Path) -> None:
    """The next service finds it over at its start."""
    async with serving(tmp_path) as approvals:
        run = await approvals.start(gated(timeout=2), told())
        await approvals.waits(run, parked=True)
    await asyncio.sleep(2)
    async with serving(tmp_path) as approvals:
        ended = await approvals.service.ended(run, timeout_s=2)
        assert ended["result"]["error"]["name"] == "SuspendedTimedOut"


async def test_events_at_the_moment_of_parking_are_not_lost(tmp_path: Path) -> None:
    """Each run gets its last event within some milliseconds of its gate, before, while or after it parks."""
    chance = random.Random(7)
    async with serving(tmp_path) as approvals:

        async def one(number: int) -> None:
            run = await approvals.start(identity("a", suspend={"required_events": 3}), told())
            job = await approvals.job_of(run, "a")
            urls = [(await approvals.urls(job, resume_id))["resume"] for resume_id in range(3)]
            await asyncio.sleep(chance.random() * 0.03)
            answers = await asyncio.gather(*(approvals.stranger.post(url, json=number) for url in urls))
            assert [answer.status_code for answer in answers] == [201] * 3
            ended = await approvals.service.ended(run, timeout_s=20)
            assert ended["result"] == events([number] * 3, ["anonymous"] * 3)

        for start in range(0, 60, 10):
            await asyncio.gather(*(one(number) for number in range(start, start + 10)))


async def test_an_event_just_before_the_run_is_put_down_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk has looked already, and its row is about to be stored as waiting."""
    async with serving(tmp_path) as approvals:
        database = approvals.service.context.desk.database
        write = database.write
        sent: list[str] = []

        async def write_after_event(act: Any, *args: Any) -> Any:
            if act is runs.park and not sent:
                (gate,) = args[2].seen
                sent.append(gate)
                await approvals.approve(gate, "just in time")
            return await write(act, *args)

        monkeypatch.setattr(database, "write", write_after_event)
        run = await approvals.start(gated(), told())
        ended = await approvals.service.ended(run, timeout_s=3)
        assert len(sent) == 1
        assert ended["result"] == events(["just in time"], ["anonymous"])


async def test_an_event_between_looking_and_resting_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another branch of the run works, so that it is not put down and looked at anew."""
    async with serving(tmp_path) as approvals:
        database = approvals.service.context.desk.database
        read = database.read
        sent: list[str] = []

        async def read_before_event(act: Any, *args: Any) -> Any:
            found = await read(act, *args)
            if act is stored_events.read and not sent:
                sent.append(args[0])
                await approvals.approve(args[0], "meanwhile")
                await asyncio.sleep(0.2)  # the run has been told
            return found

        monkeypatch.setattr(database, "read", read_before_event)
        branches = [
            {"modules": [gated(), told()]},
            {"modules": [script("slow", {"sleep": 6}, {"result": 0})]},
        ]
        run = await approvals.start({"id": "all", "value": {"type": "branchall", "branches": branches}})
        async with asyncio.timeout(30):
            while len(approvals.service.engine.started) < 3:
                await asyncio.sleep(0.02)
        assert len(sent) == 1
        ended = await approvals.service.ended(run)
        assert ended["result"] == [events(["meanwhile"], ["anonymous"]), 0]


async def test_one_event_sent_many_times_at_once_counts_once(tmp_path: Path) -> None:
    """The others are told so."""
    async with serving(tmp_path) as approvals:
        run = await approvals.start(gated(required_events=2), told())
        url = (await approvals.urls(await approvals.waits(run), 1))["resume"]
        answers = await asyncio.gather(*(approvals.stranger.post(url, json=n) for n in range(20)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [201] + [409] * 19
        async with asyncio.timeout(30):  # the walk hears of the event a moment after its sender
            # The walk may just be on its way back to the gate, and then counts nothing.
            while (await approvals.service.job(run))["flow_status"]["modules"][1].get("count") != 1:
                await asyncio.sleep(0.01)


async def test_a_thousand_parked_flows_hold_nothing_and_resume_at_once(tmp_path: Path) -> None:
    """No task and no thread of theirs; any of them goes on within a quarter of a second."""
    async with serving(tmp_path) as approvals:
        last = await approvals.start(gated(timeout=3600), told())
        await approvals.waits(last, parked=True)
        await asyncio.gather(
            *(approvals.service.job(last) for _ in range(50))
        )  # all readers' threads are there
        await settled()
        tasks, threads = len(asyncio.all_tasks()), {thread.name for thread in threading.enumerate()}
        runs: list[str] = []
        for _ in range(0, MANY, 50):
            step = identity("a", suspend={"required_events": 1, "timeout": 3600})
            runs += await asyncio.gather(*(approvals.start(step, identity("b")) for _ in range(50)))
        for run in runs:
            await approvals.waits(run, parked=True, timeout_s=60)
        await settled()
        assert len(asyncio.all_tasks()) <= tasks
        begun = {thread.name for thread in threading.enumerate()} - threads
        assert begun <= {"db-checkpoint_0"}, "one brings in the database's log, now and then"
        took = [await resumed(approvals, run) for run in (runs[0], *runs[100:1000:100], runs[-1])]
        print(
            f"resumed within {max(took):.3f} s of {MANY} parked flows, on average {sum(took) / len(took):.3f} s"
        )
        assert sorted(took)[-2] < RESUMED_WITHIN_S, "all but one, on a machine that others use too"
        assert max(took) < 4 * RESUMED_WITHIN_S


async def settled() -> None:
    """Let tasks that are ending end."""
    await asyncio.sleep(0.3)


async def resumed(approvals: Approvals, run: str) -> float:
    """Seconds from the event to the end of the run."""
    job = await approvals.job_of(run, "a")
    url = (await approvals.urls(job))["resume"]
    began = time.monotonic()
    assert (await approvals.stranger.post(url)).status_code == 201
    await approvals.service.context.desk.wait("main", run)
    return time.monotonic() - began
