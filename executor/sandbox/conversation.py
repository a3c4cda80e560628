"""What a container says from its job to its end, and what may cut in: the time limit, a cancellation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from executor import telemetry
from executor.errors import EngineError, EngineTransient
from executor.sandbox.booted import Booted, Frames
from executor.sandbox.engine import Channel, Engine
from executor.sandbox.frames import Exit, signal_line
from executor.sandbox.verdict import Account

OVERTIME_S = 0.5
"""jobinit ends a script at its time limit; this much later we end its container ourselves."""
STREAM_END_S = 10
"""How long a killed container's stream may take to end."""


@dataclass
class Cancellation:
    """Asks a run to end: a signal first, the kill after `grace_s` seconds."""

    grace_s: float
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """End the run; asking again changes nothing."""
        self.asked.set()


async def converse(engine: Engine, booted: Booted, account: Account, cancellation: Cancellation) -> None:
    """Read frames into the account to the end of the stream; a deadline or a cancellation may cut in.

    Raises EngineTransient when the stream is lost, so that nobody knows how the script ended.
    """
    listening = asyncio.create_task(_listen(booted.frames, account))
    cancelling = asyncio.create_task(cancellation.asked.wait())
    try:
        await asyncio.wait(
            {listening, cancelling},
            timeout=account.limits.timeout_s + OVERTIME_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not listening.done():
            if cancelling.done():
                account.cancelled = True
                await _signal(booted.channel, account.runtime.manifest.cancel_signal)
                await asyncio.wait({listening}, timeout=cancellation.grace_s)
            else:
                account.overran = True
            await _end(engine, booted.name, listening)
        if not listening.cancelled():  # then its stream did not end; the outcome is settled
            listening.result()
    finally:
        cancelling.cancel()
        listening.cancel()
    if account.exit is None:
        await _explain_lost_stream(engine, account, booted.name)


async def _listen(frames: Frames, account: Account) -> None:
    while (frame := await frames.next()) is not None:
        account.take(frame)
        if isinstance(frame, Exit):
            return
        if account.log_is_full:
            account.take_limit("output_limit")
            return


async def _signal(channel: Channel, name: str) -> None:
    try:
        await channel.send(signal_line(name))
    except EngineTransient:
        telemetry.log.debug("the script had ended before its cancellation reached it")


async def _end(engine: Engine, name: str, listening: asyncio.Task[None]) -> None:
    """Kill the container if it still talks; the outcome is settled, whatever the engine says."""
    if listening.done():
        return
    try:
        await engine.kill(name)
    except EngineError as error:
        telemetry.log.warning("kill failed; the container's removal will end it", error=str(error))
    await asyncio.wait({listening}, timeout=STREAM_END_S)
    if not listening.done():
        listening.cancel()
        await asyncio.wait({listening})


async def _explain_lost_stream(engine: Engine, account: Account, name: str) -> None:
    """The stream ended without an exit frame: ended by us, by the kernel for memory, or lost."""
    if account.cancelled or account.overran:
        return
    account.oom_killed = (await engine.ended(name)).oom_killed
    if not account.oom_killed:
        raise EngineTransient("the container's stream ended before the script did")
