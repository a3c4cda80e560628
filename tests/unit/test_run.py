"""The life of a run, on the fake engine: every way a script can end, and every way we can fail it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.containers import Parts, make_sandbox
from executor.errors import EngineError, EngineTransient, Reason
from executor.runtimes import scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.fake import FakeEngine
from executor.sandbox.holders import OFFLINE
from executor.sandbox.order import INLINE_ARGS_BYTES_MAX, Listener, Order, blank_spec
from executor.sandbox.shared import SharedDirectory
from executor.sandbox.spec import Bind, Place, Volume
from executor.script import Failed, Isolation, Outcome, Returned, Script, resolve_limits
from executor.settings import LimitBounds

pytestmark = pytest.mark.anyio

LIMITS = resolve_limits({}, LimitBounds())


class Bench:
    """A sandbox on a fake engine, and one order at a time."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        parts = Parts(self.engine, lambda runtime: f"image-of-{runtime.name}")
        self.sandbox = make_sandbox(parts, folder, "test", "worker")
        self.cleanup = self.sandbox.cleanup
        self.runtime = scan().by_name["python3"]
        self.log = ""
        self.claims: list[Isolation] = []
        self.cancellation = Cancellation(grace_s=0.05)

    async def _claimed(self, isolation: Isolation) -> None:
        self.claims.append(isolation)

    def _log(self, text: str) -> None:
        self.log += text

    async def run(self, *steps: dict[str, Any], args: bytes = b"{}", **limits: Any) -> Outcome:
        order = Order(
            name="c1",
            runtime=self.runtime,
            script=Script("python3", json.dumps(steps), args),
            limits=replace(LIMITS, **limits),
            cancellation=self.cancellation,
            listener=Listener(claimed=self._claimed, log=self._log),
        )
        return await self.sandbox.run(order)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_a_result_is_handed_on_as_it_came(bench: Bench) -> None:
    outcome = await bench.run({"log": "hello\n"}, {"result": {"a": [1, None]}})
    assert outcome == Returned(b'{"a":[1,null]}', outcome.usage)
    assert bench.log == "hello\n"


async def test_the_lease_is_committed_before_the_script_starts(bench: Bench) -> None:
    async def refuse(_: Isolation) -> None:
        raise RuntimeError("no lease")

    order = Order(
        "c1", bench.runtime, Script("python3", "[]"), LIMITS, bench.cancellation, Listener(claimed=refuse)
    )
    with pytest.raises(RuntimeError, match="no lease"):
        await bench.sandbox.run(order)
    container = bench.engine.living["c1"]
    assert container.inbox.empty(), "no job frame may be sent without a lease"


async def test_isolation_is_told_as_it_is(bench: Bench) -> None:
    await bench.run({"result": 1}, memory_mb=99, pids=77)
    (told,) = bench.claims
    spec = bench.engine.started[0]
    assert (told.image, told.network, told.container) == ("image-of-python3", "none", "c1")
    assert (told.memory_mb, told.pids) == (99, 77)
    assert spec.hardening.memory_bytes == 99 << 20
    assert spec.entrypoint == tuple(bench.runtime.jobinit_argv)


@pytest.mark.parametrize(
    ("steps", "reason", "says"),
    [
        ([{"exit": 3}], Reason.SCRIPT_ERROR, 'exit code for "python run": 3'),
        ([{"log": "why\n"}, {"exit": 3}], Reason.SCRIPT_ERROR, "last log lines:\nwhy"),
        ([], Reason.SCRIPT_ERROR, "ended without a result"),
        ([{"error": {"name": "ValueError", "message": "boom"}}], Reason.SCRIPT_ERROR, "boom"),
        (
            [{"error": {"name": "E", "message": "m", "reason": "dependency_error"}}],
            Reason.DEPENDENCY_ERROR,
            "m",
        ),
        ([{"error": {"name": "E", "message": "m", "reason": "infrastructure"}}], Reason.SCRIPT_ERROR, "m"),
        ([{"stopped": "timeout"}], Reason.TIMEOUT, "due to timeout after exceeding"),
        ([{"stopped": "output_limit"}], Reason.OUTPUT_LIMIT, "log_bytes"),
        ([{"stopped": "result_too_large"}], Reason.RESULT_TOO_LARGE, "result_bytes"),
        ([{"oom": True}, {"exit": 137}], Reason.OUT_OF_MEMORY, "memory_mb: 256"),
        ([{"oom": True}, {"vanish": True}], Reason.OUT_OF_MEMORY, "memory_mb: 256"),
    ],
)
async def test_every_end_has_its_reason(
    bench: Bench, steps: list[dict[str, Any]], reason: Reason, says: str
) -> None:
    outcome = failed(await bench.run(*steps))
    assert outcome.reason is reason
    assert says in outcome.message


async def test_an_oom_kill_that_the_script_survives_is_no_failure(bench: Bench) -> None:
    assert isinstance(await bench.run({"oom": True}, {"result": 1}), Returned)


async def test_a_script_cannot_claim_a_reason_of_ours(bench: Bench) -> None:
    outcome = failed(await bench.run({"error": {"name": "E", "message": "m", "reason": "timeout"}}))
    assert outcome.reason is Reason.SCRIPT_ERROR


async def test_a_container_that_outstays_its_time_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.sandbox.conversation.OVERTIME_S", 0.01)
    outcome = failed(await bench.run({"sleep": 60}, timeout_s=0.05))
    assert outcome.reason is Reason.TIMEOUT
    assert "c1" in bench.engine.killed


async def test_a_cancellation_signals_first_and_kills_after_the_grace_period(bench: Bench) -> None:
    asyncio.get_running_loop().call_later(0.02, bench.cancellation.ask)
    outcome = failed(await bench.run({"log": "x"}, {"sleep": 60}))
    assert outcome.reason is Reason.CANCELLED
    assert bench.engine.killed[0] == "c1"


async def test_a_cancelled_script_that_ends_in_time_is_still_cancelled(bench: Bench) -> None:
    bench.cancellation.ask()
    outcome = failed(await bench.run({"sleep": 0.02}, {"result": 1}))
    assert outcome.reason is Reason.CANCELLED


@pytest.mark.parametrize(
    "steps", [[{"vanish": True}], [{"garbage": "not json"}], [{"garbage": '{"type":"?"}'}]]
)
async def test_a_lost_or_broken_stream_is_our_trouble_never_the_scripts(
    bench: Bench, steps: list[dict[str, Any]]
) -> None:
    with pytest.raises(EngineTransient):
        await bench.run(*steps)


async def test_an_engine_that_refuses_is_told_apart_from_one_that_is_away(bench: Bench) -> None:
    bench.engine.failures.append(EngineError("no"))
    with pytest.raises(EngineError):
        await bench.run({"result": 1})
    bench.engine.failures.append(EngineTransient("away"))
    with pytest.raises(EngineTransient):
        await bench.run({"result": 1})


async def test_big_arguments_travel_as_a_file_and_the_file_goes(bench: Bench, tmp_path: Path) -> None:
    big = json.dumps({"s": "x" * INLINE_ARGS_BYTES_MAX}).encode()
    outcome = await bench.run({"echo": True}, args=big)
    assert isinstance(outcome, Returned)
    assert outcome.value == b"null", "the frame holds no args"
    await bench.cleanup.settle(5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "mount",
    [Bind(Path("/data/files"), "/shared", writable=True), Volume("v", "/shared")],
    ids=["bind", "volume"],
)
async def test_a_shared_directory_takes_the_private_one_s_place(bench: Bench, mount: Bind | Volume) -> None:
    """The container gets it as its only further mount, and may write files of its size."""

    async def sync() -> None:
        raise AssertionError("whose business is that?")

    shared = SharedDirectory("run", mount, 1 << 30, None, "kind", True, sync)
    order = Order("c1", bench.runtime, Script("python3", "[]"), LIMITS, bench.cancellation, shared=shared)
    await bench.sandbox.run(order)
    (spec,) = bench.engine.started
    assert [*spec.binds[1:], *spec.volumes] == [mount]
    assert "/shared" not in {tmpfs.path for tmpfs in spec.hardening.tmpfs}
    assert spec.hardening.file_bytes == 1 << 30
    await bench.sandbox.run(replace(order, name="c2", shared=None))
    assert "/shared" in {tmpfs.path for tmpfs in bench.engine.started[1].hardening.tmpfs}


async def test_containers_are_removed_even_when_the_engine_refuses_at_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.sandbox.cleanup.RETRY_S", 0.01)
    bench.engine.remove_failures.append(EngineTransient("busy"))
    await bench.run({"result": 1})
    await bench.cleanup.settle(5)
    assert bench.engine.living == {}


async def test_the_reaper_takes_what_no_living_worker_owns(bench: Bench) -> None:
    async def alive(worker: str) -> bool:
        return worker == "lives"

    for name, worker in (("a", "lives"), ("b", "dead"), ("c", "worker")):
        sandbox = replace(bench.sandbox, worker=worker)
        order = Order(name, bench.runtime, Script("python3", "[]"), LIMITS, bench.cancellation)
        place = await sandbox.places.find(order)
        assert isinstance(place, Place)
        spec = sandbox.own(blank_spec(order, place, OFFLINE), name, "job")
        await bench.engine.start(spec)
    bench.cleanup.owns("c")
    assert await bench.cleanup.reap(alive) == 1
    await bench.cleanup.settle(5)
    assert set(bench.engine.living) == {"a", "c"}
