"""Following a job: updates from any offset, and the same as server-sent events, as they arrive."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.api import updates
from executor.errors import Unavailable
from tests.api.sse import following
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def test_the_pieces_of_a_log_and_stream_make_the_whole(service: LocalService) -> None:
    """Asking again and again with the offsets of the last answer misses and repeats nothing."""
    steps = [step for n in range(60) for step in ({"log": f"ä{n}\n"}, {"stream": f"{n},"}, {"sleep": 0.01})]
    job_id = await service.run(*steps, {"result": None})
    await service.started(job_id)
    log, stream, log_offset, stream_offset, rounds = "", "", 0, 0, 0
    while True:
        answer = await service.get(
            f"jobs_u/getupdate/{job_id}", log_offset=log_offset, stream_offset=stream_offset
        )
        update = answer.json()
        log += update["new_logs"]
        stream += update["new_result_stream"] or ""
        log_offset, stream_offset = update["log_offset"], update["stream_offset"]
        assert (log_offset, stream_offset) == (len(log), len(stream))
        rounds += 1
        if update["completed"]:
            break
        assert update["running"] is True
        await asyncio.sleep(0.02)
    assert rounds > 3, "it was followed while it ran"
    assert log == "".join(f"ä{n}\n" for n in range(60)) == update["job"]["logs"]
    assert stream == "".join(f"{n}," for n in range(60)) == update["job"]["result"]
    assert update["job"]["type"] == "CompletedJob"


async def test_a_completed_job_s_log_is_given_from_any_offset(service: LocalService) -> None:
    """Also from beyond its end, where nothing is new."""
    job_id = await service.run(*({"log": text} for text in ("añ", "", "b\n", "cde")), {"result": 1})
    whole = (await service.ended(job_id))["logs"]
    for offset in range(len(whole) + 3):
        update = (await service.get(f"jobs_u/getupdate/{job_id}", log_offset=offset)).json()
        assert update["new_logs"] == whole[offset:]
        assert update["log_offset"] == max(offset, len(whole))


async def test_an_update_leaves_out_what_is_not_wanted(service: LocalService) -> None:
    """`no_logs` and `only_result`."""
    job_id = await service.run({"log": "x"}, {"result": {"a": 1}})
    await service.ended(job_id)
    silent = (await service.get(f"jobs_u/getupdate/{job_id}", no_logs=True)).json()
    assert "new_logs" not in silent
    assert "logs" not in silent["job"]
    bare = (await service.get(f"jobs_u/getupdate/{job_id}", only_result=True)).json()
    assert bare["only_result"] == {"a": 1}
    assert "job" not in bare
    assert "new_logs" not in bare


async def test_a_queued_job_has_an_update_without_news(service: LocalService) -> None:
    """Neither running nor completed."""
    job_id = await service.run({"result": 1}, query={"scheduled_in_secs": 60})
    update = (await service.get(f"jobs_u/getupdate/{job_id}")).json()
    assert (update["running"], update["completed"], update["new_logs"]) == (False, False, "")
    assert "job" not in update


@pytest.mark.parametrize("query", [{"log_offset": -1}, {"stream_offset": "x"}, {"log_offset": 2**60}])
@pytest.mark.parametrize("route", ["getupdate", "getupdate_sse"])
async def test_a_wrong_offset_is_named(service: LocalService, route: str, query: dict[str, object]) -> None:
    """Before any stream begins."""
    response = await service.get(f"jobs_u/{route}/{uuid.uuid4()}", **query)
    assert (response.status_code, response.json()["field"]) == (400, next(iter(query)))


async def test_events_arrive_as_things_happen(service: LocalService) -> None:
    """Each log line long before the job ends; the last event carries the whole job."""
    job_id = await service.run(
        {"sleep": 0.1}, {"log": "one\n"}, {"sleep": 0.4}, {"stream": "s"}, {"sleep": 0.4}, {"result": 7}
    )
    async with following(service, job_id) as events:
        first = await events.next()
        assert first["type"] == "update"
        while not first["new_logs"]:
            first = await events.next()
        assert (first["new_logs"], first["running"]) == ("one\n", True)
        assert events.headers["content-type"].startswith("text/event-stream")
        streamed = await events.next()
        assert (streamed["new_result_stream"], streamed["new_logs"], streamed["log_offset"]) == ("s", "", 4)
        *others, last = await events.rest()
        assert [event["type"] for event in others] == ["update"] * len(others)
        assert last["type"] == "update"
        assert last["completed"] is True
        assert last["job"] == await service.job(job_id)
        assert last["job"]["result"] == 7


async def test_a_line_is_sent_before_it_is_stored(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live means at once, not with the next flush."""
    monkeypatch.setattr("executor.jobs.live.FLUSH_S", 60)
    job_id = await service.run({"sleep": 0.3}, {"log": "now"}, {"sleep": 0.5}, {"result": 1})
    async with following(service, job_id) as events:
        while not (await events.next()).get("new_logs"):
            pass
        assert await service.context.desk.stored_output(job_id, "log") == ("", 0)


async def test_a_completed_job_is_one_event(service: LocalService) -> None:
    """And the end of the stream."""
    job_id = await service.run({"log": "x"}, {"result": 1})
    await service.ended(job_id)
    async with following(service, job_id, "log_offset=1") as events:
        (event,) = await events.rest()
    assert (event["completed"], event["new_logs"], event["job"]["logs"]) == (True, "", "x")


async def test_a_database_that_fails_is_an_event_too(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client knows then that the stream did not just break."""
    job_id = await service.run({"result": 1})
    await service.ended(job_id)

    async def away(*_: object) -> None:
        raise Unavailable("the database does not work")

    monkeypatch.setattr(service.context.desk, "get", away)
    async with following(service, job_id) as events:
        assert await events.rest() == [{"type": "error", "error": "the database does not work"}]


async def test_an_unknown_job_is_said_to_be_unknown(service: LocalService) -> None:
    """As an event: the stream has begun by then."""
    async with following(service, str(uuid.uuid4())) as events:
        assert await events.rest() == [{"type": "notfound"}]


async def test_silence_is_broken_by_pings(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody in between takes the connection for dead."""
    monkeypatch.setattr(updates, "PING_S", 0.05)
    job_id = await service.run({"sleep": 0.4}, {"result": 1})
    async with following(service, job_id) as events:
        types = [event["type"] for event in await events.rest()]
    assert types.count("ping") >= 3
    assert types[-1] == "update"


async def test_a_long_stream_ends_and_is_taken_up_again_by_offset(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`timeout`, and the client reconnects with what it has."""
    monkeypatch.setattr(updates, "STREAM_S", 0.15)
    lines = [step for n in range(20) for step in ({"log": f"{n}\n"}, {"sleep": 0.03})]
    job_id = await service.run(*lines, {"result": 1})
    log, rounds, completed = "", 0, False
    while not completed:
        async with following(service, job_id, f"log_offset={len(log)}") as events:
            seen = await events.rest()
        log += "".join(event.get("new_logs", "") for event in seen)
        completed = seen[-1].get("completed", False)
        assert completed or seen[-1] == {"type": "timeout"}
        rounds += 1
    assert rounds > 2
    assert log == "".join(f"{n}\n" for n in range(20))


async def test_a_job_cancelled_while_it_is_followed_ends_the_stream(service: LocalService) -> None:
    """Queued ones too: nobody waits for a job that will never run."""
    queued = await service.run({"result": 1}, query={"scheduled_in_secs": 60})
    running = await service.run({"sleep": 60})
    async with following(service, queued) as first, following(service, running) as second:
        await first.next()
        await second.next()
        for job_id in (queued, running):
            await service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}")
        for events in (first, second):
            assert (await events.rest())[-1]["job"]["status"] == "canceled"


async def test_a_stopping_service_ends_its_streams(service: LocalService) -> None:
    """Clients reconnect, to its successor."""
    job_id = await service.run({"result": 1}, query={"scheduled_in_secs": 60})
    async with following(service, job_id) as events:
        await events.next()
        service.context.desk.close()
        assert await events.rest() == [{"type": "timeout"}]
