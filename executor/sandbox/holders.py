"""One holder for each workspace that needs one: made by the first job, shared, gone when idle.

What such a holder keeps is its owner's to say: `executor.sandbox.egress` has those with a way out,
`executor.sandbox.loopback` those without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from executor.errors import EngineError, EngineTransient
from executor.reach import Reach
from executor.sandbox.engine import Engine
from executor.sandbox.holder import Holder
from executor.sandbox.spec import Bind

IDLE_S = 300.0
"""How long a holder stays without a job."""


@dataclass(frozen=True)
class Joined:
    """The network of one job: the engine's name for it, what its container needs for it, what it reaches."""

    network: str
    binds: tuple[Bind, ...] = ()
    reach: tuple[Reach, ...] = ()
    kind: Literal["none", "none-shared", "egress"] = "egress"
    """What people are told: `none-shared` is a loopback that the workspace's other jobs have too."""


OFFLINE = Joined("none", kind="none")


@dataclass
class Place:
    """A workspace's holder, if there is one, and how many jobs need it."""

    users: int = 0
    holder: Holder | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the holder is being made or changed: the first makes it, the others find it."""
    idle: asyncio.TimerHandle | None = None
    stays: bool = False
    """Whether its holder stays without a job too."""


P = TypeVar("P", bound=Place)


class Holders(Generic[P]):
    """The holders of one kind; `give_up` removes the container of one that is not needed any more."""

    def __init__(
        self, engine: Engine, new: Callable[[], P], give_up: Callable[[str], None], idle_s: float
    ) -> None:
        self._engine = engine
        self._new = new
        self._give_up = give_up
        self._idle_s = idle_s
        self._places: dict[str, P] = {}
        self.on_drop: Callable[[str], None] = lambda _: None
        """Told of each network that nothing new is to join, by the engine's name for it."""

    @asynccontextmanager
    async def needed(self, workspace: str) -> AsyncIterator[P]:
        """The workspace's place, whose holder stays for as long as the context lasts, and then until it is idle."""
        place = self._places.setdefault(workspace, self._new())
        place.users += 1
        if place.idle is not None:
            place.idle.cancel()
        try:
            yield place
        finally:
            place.users -= 1
            if not place.users and not place.stays:
                loop = asyncio.get_running_loop()
                place.idle = loop.call_later(self._idle_s, self._retire, workspace)

    @asynccontextmanager
    async def explained(self, holder: Holder) -> AsyncIterator[None]:
        """An engine refuses a job whose holder is gone for good, but the next holder will do: EngineTransient."""
        try:
            yield
        except EngineTransient:
            raise
        except EngineError as error:
            if (await self._engine.ended(holder.name)).running:
                raise
            holder.close()
            raise EngineTransient(f"the holder of the job's network has ended: {error}") from error

    def keep(self, workspace: str) -> None:
        """The workspace's holder, once there is one, stays until `close`."""
        place = self._places.setdefault(workspace, self._new())
        place.stays = True
        if place.idle is not None:
            place.idle.cancel()

    def find(self, workspace: str) -> P | None:
        """The workspace's place, if it has one."""
        return self._places.get(workspace)

    def all(self) -> tuple[P, ...]:
        """Every place, with a holder or without."""
        return tuple(self._places.values())

    def drop(self, place: P) -> None:
        """Give up the place's holder, if it has one."""
        if place.holder is not None:
            self.on_drop(network_of(place.holder))
            place.holder.close()
            self._give_up(place.holder.name)
            place.holder = None

    def close(self) -> None:
        """Give up every holder."""
        for place in self._places.values():
            if place.idle is not None:
                place.idle.cancel()
            self.drop(place)
        self._places.clear()

    def _retire(self, workspace: str) -> None:
        if (place := self._places.get(workspace)) is not None and not place.users:
            self.drop(place)
            del self._places[workspace]


def network_of(holder: Holder) -> str:
    """The engine's name for the network that a holder keeps."""
    return f"container:{holder.name}"
