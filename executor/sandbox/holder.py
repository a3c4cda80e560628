"""One holder: a container that does nothing but keep a network with its rules, and tell what they refuse.

Jobs join its network and nothing else of it. Only the holder may change the rules, and only we
tell it to, over its stdin. It ends with our connection, so a killed service leaves none running.
What it takes and says is written at the top of images/holder/hold.pl.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Callable

from executor.errors import EngineError, EngineTransient
from executor.sandbox.engine import Channel, Engine
from executor.sandbox.spec import ContainerSpec

ANSWER_S = 15
"""How long a holder may take to boot and load its rules."""
ANSWER_BYTES_MAX = 64 * 1024


def tell_nobody(_: list[str]) -> None:
    """For holders that refuse nothing."""


class Holder:
    """A running holder; `is_alive` turns false as soon as its stream has ended.

    `refused` is told the words of each packet that its rules refuse: why, protocol, address, port.
    """

    def __init__(self, name: str, channel: Channel, refused: Callable[[list[str]], None]) -> None:
        self.name = name
        self._channel = channel
        self._refused = refused
        self._closed = False
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._marks: dict[str, asyncio.Future[bool]] = {}
        self._numbers = itertools.count(1)
        self._listening = asyncio.create_task(self._listen(), name=f"holder {name}")

    @classmethod
    async def start(
        cls, engine: Engine, spec: ContainerSpec, refused: Callable[[list[str]], None] = tell_nobody
    ) -> Holder:
        """Start the container; nobody may join it before its first rules are loaded.

        Raises EngineError. The caller removes the container, whatever happens.
        """
        return cls(spec.name, await engine.start(spec), refused)

    @property
    def is_alive(self) -> bool:
        """Whether jobs may still join."""
        return not (self._closed or self._listening.done())

    async def load(self, rules: str) -> None:
        """Put these rules in the place of all earlier ones in their tables, in one transaction.

        Raises EngineTransient when the holder is gone, and EngineError when nftables refuses them; the
        holder ends then, as nobody knows by which rules it goes.
        """
        if (refused := await self._ask("load", rules)) is not None:
            self.close()
            raise EngineError(f"the holder cannot load its rules, so no job gets its network: {refused}")

    async def check(self, rules: str) -> str | None:
        """Why the kernel would not take these rules; None if it would. Raises EngineTransient as `load` does."""
        return await self._ask("check", rules)

    async def mark(self) -> asyncio.Future[bool]:
        """Done when `refused` was told of every packet before; what was told before is told again from there on.

        False if the holder has ended meanwhile. Raises EngineTransient when it was gone already.
        """
        if not self.is_alive:
            raise EngineTransient("the holder has ended")
        number = str(next(self._numbers))
        mark = self._marks[number] = asyncio.get_running_loop().create_future()
        await self._channel.send(f"sync {number}\n".encode())
        return mark

    def close(self) -> None:
        """Let go of the holder, which ends it."""
        self._closed = True
        self._listening.cancel()
        self._channel.close()

    async def _ask(self, verb: str, rules: str) -> str | None:
        """What is wrong with the rules; one question at a time."""
        try:
            await self._channel.send(f"{verb} ".encode() + base64.b64encode(rules.encode()) + b"\n")
            async with asyncio.timeout(ANSWER_S):
                answer = await self._answers.get()
        except TimeoutError:
            self.close()
            raise EngineTransient(f"the holder did not load its rules within {ANSWER_S} s") from None
        except BaseException:  # cancelled, say: a late answer must not be taken for the next one
            self.close()
            raise
        if not answer:
            self.close()
            raise EngineTransient("the holder ended before its rules were loaded")
        return None if answer == "ok" else answer

    async def _listen(self) -> None:
        line = b""
        try:
            while data := await self._channel.receive():
                *whole, line = (line + data).split(b"\n")
                for said in whole:
                    self._hear(said.decode("utf-8", "replace").strip())
                if len(line) > ANSWER_BYTES_MAX:
                    break
        finally:  # whoever waits for an answer learns that there is none
            self._answers.put_nowait("")
            for mark in self._marks.values():
                if not mark.done():
                    mark.set_result(False)
            self._marks.clear()

    def _hear(self, said: str) -> None:
        match said.split():
            case ["packet", *words]:
                self._refused(words)
            case ["at", number]:
                if (mark := self._marks.pop(number, None)) is not None and not mark.done():
                    mark.set_result(True)
            case _:
                self._answers.put_nowait(said)
