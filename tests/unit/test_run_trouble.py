"""When the engine misbehaves: a run ends in time and says whose trouble it was."""

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
from executor.sandbox.fake import FakeChannel, FakeContainer, FakeEngine
from executor.sandbox.order import Order
from executor.script import Failed, Limits, Script, resolve_limits
from executor.settings import LimitBounds

pytestmark = pytest.mark.anyio
LIMITS = resolve_limits({}, LimitBounds())


async def run(
    engine: FakeEngine,
    folder: Path,
    *steps: dict[str, Any],
    cancellation: Cancellation | None = None,
    **limits: Any,
) -> Failed:
    """The failure that a script of these steps ends with."""

    sandbox = make_sandbox(Parts(engine, lambda runtime: f"image-of-{runtime.name}"), folder, "i", "w")
    script = Script("bash", json.dumps(steps))
    chosen: Limits = replace(LIMITS, **limits)
    order = Order("c1", scan().by_name["bash"], script, chosen, cancellation or Cancellation(0.05))
    async with asyncio.timeout(30):
        outcome = await sandbox.run(order)
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_a_container_that_never_gets_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script has not run: it may be tried again."""
    monkeypatch.setattr("executor.sandbox.booted.BOOT_S", 0.05)
    with pytest.raises(EngineTransient, match="not ready"):
        await run(FakeEngine(boot_s=60), tmp_path, {"result": 1})


class Stillborn(FakeEngine):
    """Its containers end before they are ready, saying these frames."""

    def __init__(self, *frames: dict[str, Any]) -> None:
        super().__init__()
        self.frames = frames

    async def _live(self, container: FakeContainer) -> None:
        for frame in self.frames:
            container.say(**frame)
        container.end()


async def test_a_container_that_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    """jobinit's own words reach whoever operates the service."""
    with pytest.raises(EngineTransient, match="its output ended"):
        await run(Stillborn(), tmp_path, {"result": 1})
    words = {"type": "error", "name": "InternalError", "message": "no bash here", "reason": "infrastructure"}
    with pytest.raises(EngineTransient, match="no bash here"):
        await run(Stillborn(words), tmp_path, {"result": 1})


class Deaf(FakeEngine):
    """Refuses to kill."""

    async def kill(self, name: str) -> None:
        raise EngineError("no")


async def test_a_time_limit_holds_even_if_the_engine_refuses_to_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is settled; the removal, which is tried again and again, ends the container."""
    monkeypatch.setattr("executor.sandbox.conversation.OVERTIME_S", 0.01)
    monkeypatch.setattr("executor.sandbox.conversation.STREAM_END_S", 0.05)
    assert (await run(Deaf(), tmp_path, {"sleep": 60}, timeout_s=0.05)).reason is Reason.TIMEOUT


class Cut(FakeChannel):
    """Takes the job, then nothing any more."""

    sent = 0

    async def send(self, data: bytes) -> None:
        self.sent += 1
        if self.sent > 1:
            raise EngineTransient("the stream is gone")
        await super().send(data)


class Cutting(FakeEngine):
    async def start(self, spec: Any) -> FakeChannel:
        await super().start(spec)
        return Cut(self.living[spec.name])


async def test_a_cancellation_that_cannot_be_told_still_cancels(tmp_path: Path) -> None:
    """The kill after the grace period needs no stream."""
    cancellation = Cancellation(0.05)
    asyncio.get_running_loop().call_later(0.05, cancellation.ask)
    engine = Cutting()
    found = await run(engine, tmp_path, {"sleep": 60}, cancellation=cancellation)
    assert (found.reason, engine.killed[:1]) == (Reason.CANCELLED, ["c1"])


async def test_a_container_that_floods_is_ended_at_once(tmp_path: Path) -> None:
    """jobinit would have stopped it; one that does not is not listened to any longer."""
    flood = [{"log": "x" * 1000}] * 100
    found = await run(FakeEngine(), tmp_path, *flood, {"sleep": 60}, log_bytes=1000)
    assert found.reason is Reason.OUTPUT_LIMIT


async def test_a_result_over_its_limit_is_never_read_to_its_end(tmp_path: Path) -> None:
    """It breaks the protocol: jobinit sends none."""
    with pytest.raises(EngineTransient, match="bytes"):
        await run(FakeEngine(), tmp_path, {"result": "x" * 1000}, result_bytes=100)
