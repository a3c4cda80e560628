"""One holder: a container that does nothing but keep a network with its rules.

Jobs join its network and nothing else of it. Only the holder may change the rules, and only we
tell it to, over its stdin. It ends with our connection, so a killed service leaves none running.
"""

from __future__ import annotations

import asyncio
import base64

from executor.errors import EngineError, EngineTransient
from executor.sandbox.engine import Channel, Engine
from executor.sandbox.spec import ContainerSpec

ANSWER_S = 15
"""How long a holder may take to boot and load its rules."""
ANSWER_BYTES_MAX = 64 * 1024


class Holder:
    """A running holder; `is_alive` turns false as soon as its stream has ended."""

    def __init__(self, name: str, channel: Channel) -> None:
        self.name = name
        self._channel = channel
        self._closed = False
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen(), name=f"holder {name}")

    @classmethod
    async def start(cls, engine: Engine, spec: ContainerSpec) -> Holder:
        """Start the container; nobody may join it before its first rules are loaded.

        Raises EngineError. The caller removes the container, whatever happens.
        """
        return cls(spec.name, await engine.start(spec))

    @property
    def is_alive(self) -> bool:
        """Whether jobs may still join."""
        return not (self._closed or self._listening.done())

    async def load(self, rules: str) -> None:
        """Put these rules in the place of all earlier ones, in one transaction.

        Raises EngineTransient when the holder is gone, and EngineError when nftables refuses them; the
        holder ends then, as nobody knows by which rules it goes.
        """
        try:
            await self._channel.send(base64.b64encode(rules.encode()) + b"\n")
            async with asyncio.timeout(ANSWER_S):
                answer = (await self._answers.get()).decode("utf-8", "replace").strip()
        except TimeoutError:
            self.close()
            raise EngineTransient(f"the holder did not load its rules within {ANSWER_S} s") from None
        except BaseException:  # cancelled, say: a late answer must not be taken for the next one
            self.close()
            raise
        if answer != "ok":
            self.close()
            if not answer:
                raise EngineTransient("the holder ended before its rules were loaded")
            raise EngineError(f"the holder cannot load its rules, so no job gets its network: {answer}")

    def close(self) -> None:
        """Let go of the holder, which ends it."""
        self._closed = True
        self._listening.cancel()
        self._channel.close()

    async def _listen(self) -> None:
        line = b""
        while data := await self._channel.receive():
            *whole, line = (line + data).split(b"\n")
            for answer in whole:
                self._answers.put_nowait(answer)
            if len(line) > ANSWER_BYTES_MAX:
                break
        self._answers.put_nowait(b"")  # whoever waits for an answer learns that there is none
