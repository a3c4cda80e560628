"""A container's pipes as a channel: no data lost, no end missed, nobody kept waiting."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from executor.errors import EngineTransient
from executor.sandbox.oci.channel import PipeChannel

pytestmark = pytest.mark.anyio


class Other:
    """The container's side of the pipes."""

    def __init__(self) -> None:
        self.stdin, self._ours_in = os.pipe()
        self._ours_out, self.stdout = os.pipe()
        self._ours_err, self.stderr = os.pipe()
        self._open = {self.stdin, self.stdout, self.stderr}

    def channel(self) -> PipeChannel:
        return PipeChannel(self._ours_in, self._ours_out, self._ours_err)

    def close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)


@pytest.fixture
def other() -> Iterator[Other]:
    made = Other()
    yield made
    for descriptor in (made.stdin, made.stdout, made.stderr):
        made.close(descriptor)


async def test_the_end_of_the_stream_is_seen(other: Other) -> None:
    channel = other.channel()
    os.write(other.stdout, b"last words")
    assert await channel.receive() == b"last words"
    waiting = asyncio.create_task(channel.receive())
    await asyncio.sleep(0.01)
    other.close(other.stdout)
    async with asyncio.timeout(30):
        assert await waiting == b""
    assert await channel.receive() == b""
    channel.close()


async def test_a_write_bigger_than_the_pipe_waits_for_its_reader(other: Other) -> None:
    """It arrives whole, and a second one after it."""
    channel = other.channel()
    data = os.urandom(1 << 20)
    sending = [asyncio.create_task(channel.send(data)), asyncio.create_task(channel.send(b"next"))]
    await asyncio.sleep(0.02)
    assert not sending[0].done()
    got = bytearray()
    while len(got) < len(data) + 4:
        got += await asyncio.to_thread(os.read, other.stdin, 1 << 16)
    await asyncio.gather(*sending)
    assert bytes(got) == data + b"next"
    channel.close()


async def test_nobody_who_reads_any_more_is_an_error(other: Other) -> None:
    channel = other.channel()
    other.close(other.stdin)
    with pytest.raises(EngineTransient, match="stream is gone"):
        await channel.send(b"x")
    channel.close()


async def test_closing_ends_who_waits(other: Other) -> None:
    """The container's stdin ends too; closing twice is harmless."""
    channel = other.channel()
    receiving = asyncio.create_task(channel.receive())
    sending = asyncio.create_task(channel.send(bytes(1 << 20)))
    await asyncio.sleep(0.01)
    channel.close()
    channel.close()
    assert await receiving == b""
    with pytest.raises(EngineTransient):
        await sending
    assert await channel.receive() == b""
    while os.read(other.stdin, 1 << 20):
        pass


async def test_a_container_that_never_stops_writing_lets_others_run(other: Other) -> None:
    channel = other.channel()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(50):
        os.write(other.stdout, b"x")
        await channel.receive()
    counting.cancel()
    assert turns >= 50
    channel.close()


async def test_a_receive_that_is_given_up_loses_nothing(other: Other) -> None:
    channel = other.channel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await channel.receive()
    os.write(other.stdout, b"later")
    assert await channel.receive() == b"later"
    channel.close()
