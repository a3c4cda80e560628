"""Which network a job with egress gets: that of its workspace's holder, made on first need.

A workspace has one holder at a time; its jobs share it, and with it loopback. All holders of this
process are on one bridge of their own, where they do not reach each other, and no job ever is.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from executor import telemetry
from executor.errors import EngineError, EngineTransient, ImageMissing
from executor.reach import USUAL_LIMITS, EgressLimits, Reach
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.engine import LABEL_ROLE, Bridge, Engine
from executor.sandbox.firewall import Surroundings, limit_rules, rules
from executor.sandbox.hardening import harden_holder
from executor.sandbox.holder import Holder
from executor.sandbox.holders import IDLE_S, Holders, Joined, Place, network_of
from executor.sandbox.hostwatch import HostWatch
from executor.sandbox.refusals import Refusal, Refusals
from executor.sandbox.spec import Bind, ContainerSpec

RESOLV_CONF = "resolv.conf"
TELL_S = 2
"""How long an ended job waits for what its holder has to tell."""
LOOK_PAUSE_S = 0.1
"""A host whose routes change all the time is looked at so often."""


@dataclass(eq=False)
class _Hearing:
    """A job at a holder. What the holder says is of the past: of jobs that have not begun, and of some that have ended.

    So a job hears from its mark on, and counts as one who may be meant until the mark after its end.
    """

    refusals: Refusals | None
    hears: bool = False

    def begin(self, _: object) -> None:
        """What is said from now on may be meant for it."""
        self.hears = True


@dataclass
class _Place(Place):
    """A workspace's holder, what is around it, what its rules open, and the jobs to tell of refusals."""

    around: Surroundings = field(default_factory=Surroundings)
    reach: tuple[Reach, ...] = ()
    limits: EgressLimits | None = None
    """Those that its holder goes by."""
    jobs: list[_Hearing] = field(default_factory=list)

    def refused(self, words: list[str]) -> None:
        """Tell the jobs of a packet."""
        refusal = Refusal.read(words)
        is_never = self.around.is_never_reached(refusal.address, refusal.port)
        reason = refusal.text(self.limits or USUAL_LIMITS, is_never)
        for job in self.jobs:
            if job.hears and job.refusals is not None:
                job.refusals.take(refusal, reason, is_alone=len(self.jobs) == 1)


@dataclass(frozen=True)
class Abilities:
    """What of the rules the host's kernel can do beyond judging where packets go, and why not the rest."""

    limiting: bool = True
    telling: bool = True
    missing: tuple[str, ...] = ()


class Egress:
    """The holders of this process; `look_around` tells what is around those on a bridge."""

    def __init__(
        self,
        engine: Engine,
        cleanup: Cleanup,
        image_tag: Callable[[], Awaitable[str]],
        look_around: Callable[[Bridge], Surroundings],
        folder: Path,
        labels: dict[str, str],
        *,
        ipv6: bool = False,
        idle_s: float = IDLE_S,
    ) -> None:
        self._engine = engine
        self._cleanup = cleanup
        self.image_tag = image_tag
        self._look_around = look_around
        self._folder = folder
        self._labels = labels
        self._ipv6 = ipv6
        self.holders = Holders(engine, _Place, self._give_up, idle_s)
        self._changed: dict[str, tuple[tuple[Reach, ...], EgressLimits]] = {}
        self.abilities: Abilities | None = None
        """None until the first holder was made."""
        self._bridge: tuple[str, Bridge] | None = None
        self._on_bridge: set[str] = set()
        self._making_bridge = asyncio.Lock()
        self._watch: HostWatch | None = None
        self._looking: asyncio.Task[None] | None = None
        self._is_stale = False

    @asynccontextmanager
    async def joined(
        self,
        workspace: str,
        reach: tuple[Reach, ...],
        limits: EgressLimits = USUAL_LIMITS,
        refusals: Refusals | None = None,
    ) -> AsyncIterator[Joined]:
        """The network for one job of the workspace, for as long as the context lasts.

        What a workspace may reach, and how much, is one thing for all its jobs: of two that come with
        different ranges, the later one's count for both, unless `change` has said what counts.
        When the context ends, a job that failed has heard in `refusals` of all that was refused to it.
        Raises EngineTransient when the holder is lost on the way, EngineError when there can be none.
        """
        async with self.holders.needed(workspace) as place:
            async with place.turn:
                holder = await self._settle(place, *self._changed.get(workspace, (reach, limits)))
                bind = Bind(self._folder.resolve() / holder.name / RESOLV_CONF, "/etc/resolv.conf")
                joined = Joined(network_of(holder), (bind,), place.reach)
            async with self.holders.explained(holder), self._told(place, holder, refusals):
                yield joined

    @asynccontextmanager
    async def _told(self, place: _Place, holder: Holder, refusals: Refusals | None) -> AsyncIterator[None]:
        """A job of the place is there, and hears what is refused."""
        job = _Hearing(refusals)
        place.jobs.append(job)
        try:
            (await holder.mark()).add_done_callback(job.begin)
            yield
            if refusals is not None and refusals.are_worth_a_wait:
                with suppress(EngineTransient, TimeoutError):  # the job has ended, whatever its holder does
                    await asyncio.wait_for(await holder.mark(), TELL_S)
        finally:
            if refusals is not None:
                refusals.close()
            job.refusals = None
            await _leave(place, holder, job)

    async def change(
        self, workspace: str, reach: tuple[Reach, ...], limits: EgressLimits = USUAL_LIMITS
    ) -> None:
        """The workspace's policy is another one: from now on it counts, for running jobs too.

        Where it cannot be loaded, the holder ends, and its jobs reach nothing more.
        """
        self._changed[workspace] = reach, limits
        place = self.holders.find(workspace)
        if place is None:
            return
        async with place.turn:
            await self._load_anew(place, reach, limits)

    def close(self) -> None:
        """Give up every holder and the bridge; the clean-up removes them."""
        self.holders.close()
        if self._looking is not None:
            self._looking.cancel()

    # ------------------------------------------------------------ the host

    def host_changed(self) -> None:
        """The host may have other addresses than those that the rules name; soon they name the new ones."""
        self._is_stale = True
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_until_it_is_quiet(), name="egress: look around")

    async def _look_until_it_is_quiet(self) -> None:
        while self._is_stale:
            self._is_stale = False
            await asyncio.gather(*(self._look_again(place) for place in self.holders.all()))
            await asyncio.sleep(LOOK_PAUSE_S)

    async def _look_again(self, place: _Place) -> None:
        async with place.turn:
            if place.holder is None or self._bridge is None:
                return
            around = await asyncio.to_thread(self._look_around, self._bridge[1])
            if around != place.around:
                place.around = around
                await self._load_anew(place, place.reach, place.limits or USUAL_LIMITS)

    async def _load_anew(self, place: _Place, reach: tuple[Reach, ...], limits: EgressLimits) -> None:
        """Give the place's holder, if it has one, other rules. One that does not take them ends."""
        if place.holder is None:
            return
        try:
            await self._load(place, place.holder, reach, limits)
        except EngineError as error:
            telemetry.log.warning(
                "a holder did not take its new rules", holder=place.holder.name, error=str(error)
            )
            self.holders.drop(place)

    # ------------------------------------------------------------ holders

    async def _settle(self, place: _Place, reach: tuple[Reach, ...], limits: EgressLimits) -> Holder:
        """A living holder with these rules in the place."""
        if place.holder is None or not place.holder.is_alive:
            self.holders.drop(place)
            await self._make(place, reach, limits)
        elif (place.reach, place.limits) != (reach, limits):
            await self._load(place, place.holder, reach, limits)
        if place.holder is None:
            raise AssertionError("BUG: a holder was made and is not there")
        return place.holder

    async def _make(self, place: _Place, reach: tuple[Reach, ...], limits: EgressLimits) -> None:
        name = f"executor-holder-{uuid.uuid4()}"
        image = await self.image_tag()
        self._cleanup.owns(name)
        self._on_bridge.add(name)
        try:
            network, bridge = await self._the_bridge()
            self._watch = self._watch or HostWatch(self.host_changed)  # before the look, to miss nothing
            place.around = await asyncio.to_thread(self._look_around, bridge)
            spec = ContainerSpec(
                name=name,
                image=image,
                hardening=harden_holder(),
                labels={**self._labels, LABEL_ROLE: "holder"},
                network=network,
            )
            place.holder = await Holder.start(self._engine, spec, place.refused)
            place.limits = None
            await self._load(place, place.holder, reach, limits)
        except ImageMissing as error:
            self._give_up(name)
            raise EngineError(
                f"the image of the holder ({image}) is missing; run `executor images build`"
            ) from error
        except BaseException:
            self.holders.drop(place)
            self._give_up(name)
            raise

    async def _load(
        self, place: _Place, holder: Holder, reach: tuple[Reach, ...], limits: EgressLimits
    ) -> None:
        """Rules first: a job must not ask a resolver that it may not reach."""
        can = self.abilities = self.abilities or await find_abilities(holder)
        files = rules(reach, place.around, telling=can.telling)
        if can.limiting and limits != place.limits:
            files += limit_rules(limits, telling=can.telling)
        await holder.load(files)
        place.reach, place.limits = reach, limits
        path = self._folder / holder.name / RESOLV_CONF
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.write_text(place.around.resolv_conf(reach), "utf-8")
            path.chmod(0o644)
        except OSError as error:
            raise EngineError(f"{path} cannot be written: {error}") from error

    async def _the_bridge(self) -> tuple[str, Bridge]:
        async with self._making_bridge:
            if self._bridge is None:
                name = f"executor-egress-{uuid.uuid4()}"
                self._cleanup.owns(name)
                try:
                    bridge = await self._engine.make_network(name, self._labels, ipv6=self._ipv6)
                except BaseException:
                    self._cleanup.discard_network(name)
                    raise
                self._bridge = name, bridge
            return self._bridge

    def _give_up(self, name: str) -> None:
        """Remove a holder, and the bridge after its last one."""
        if name not in self._on_bridge:
            return
        self._on_bridge.discard(name)
        self._cleanup.discard(name)
        if self._on_bridge:
            return
        if self._bridge is not None:
            self._cleanup.discard_network(self._bridge[0])
            self._bridge = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None


async def _leave(place: _Place, holder: Holder, job: _Hearing) -> None:
    """The job is gone, but what the holder says next may still be about it."""
    try:
        mark = await holder.mark()
    except EngineTransient:
        place.jobs.remove(job)
    except BaseException:
        place.jobs.remove(job)
        raise
    else:
        mark.add_done_callback(lambda _: place.jobs.remove(job))


async def find_abilities(holder: Holder) -> Abilities:
    """Try on a holder what the host's kernel can do; raises EngineTransient when the holder is gone."""
    missing = []
    if untold := await holder.check(rules((), Surroundings())):
        missing.append(f"refusals are not told in logs (nfnetlink_log, nft_log): {untold}")
    if unlimited := await holder.check(limit_rules(USUAL_LIMITS, telling=False)):
        missing.append(f"connections are not limited (nft_connlimit, nft_limit, nft_ct): {unlimited}")
    for what in missing:
        telemetry.log.warning("the host's kernel lacks something for jobs with egress", missing=what)
    return Abilities(unlimited is None, untold is None, tuple(missing))
