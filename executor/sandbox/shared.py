"""Directories that the steps of one run share: made, found again after a restart, removed.

A directory is a *place* in the data directory, made by one of several *kinds*: an ext4 image on a
loop device, a tmpfs, a volume of the engine. The first kind that works here is used. Which place is
which run's is said by a link in `runs/`; a place that no link names is nobody's, so that a crash at
any moment leaves either a whole directory or something to sweep.

The service may stop, be killed or be started again: what a run has written is there when it goes on.
"""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from executor import telemetry
from executor.errors import ExecutorError, NoRoom, NoSharedDirectory
from executor.sandbox.cleanup import IsAlive
from executor.sandbox.hardening import MIB
from executor.sandbox.spec import Bind, Volume

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
RUNS = "runs"
UNFINISHED = ".unfinished-"
FILES_PER_MB_MAX = 256
"""What an ext4 of the usual block size can count; the other kinds keep to it as well."""
SPARES = 2
REMOVERS = 2
RETRY_S = 1.0


@dataclass(frozen=True)
class Size:
    """How much a shared directory holds: bytes, and files and directories."""

    bytes: int
    files: int

    @classmethod
    def of(cls, mb: int, files: int) -> Size:
        """So many MiB and files, of which there are at most FILES_PER_MB_MAX for each MiB."""
        return cls(mb * MIB, min(files, mb * FILES_PER_MB_MAX))


class Kind(Protocol):
    """A way to make a bounded directory that containers can write to as the jobs' user.

    The methods block, and each may be called again after it failed or a crash cut it off. Those that
    fail raise OSError or ExecutorError.
    """

    @property
    def name(self) -> str:
        """What the kind is called, in the names of its places and to people."""

    @property
    def about(self) -> str:
        """What an operator should know of it, in a few words."""

    def make(self, place: Path, size: Size) -> None:
        """Make an empty directory at this place, ready for use, which a power cut does not undo.

        Raises NoSharedDirectory, saying why, where that cannot be.
        """

    def find(self, place: Path) -> bool:
        """Make ready again what was made before; False if its contents are gone."""

    def let_go(self, place: Path) -> None:
        """Stop occupying the host as far as the contents can be kept without it."""

    def held(self, place: Path, size: Size) -> int:
        """The bytes of disk or memory that it takes; all that it may take, where nobody can tell."""

    def remove(self, place: Path) -> None:
        """Delete everything but the place itself, which is empty then."""

    def mount(self, place: Path) -> Bind | Volume:
        """How a container is given the directory."""

    def files(self, place: Path) -> Path | None:
        """Where the service finds the files; None if it cannot reach them."""

    def sync(self, place: Path) -> None:
        """Return when a power cut cannot undo what was written before the call, if the kind can do that."""


@dataclass(frozen=True)
class SharedDirectory:
    """A run's shared directory, ready to be given to any number of containers at once."""

    run_id: str
    mount: Bind | Volume
    size_bytes: int
    files: Path | None
    """Where the service finds the files, None if it cannot; read them with `executor.sandbox.reading` only."""
    kind: str
    is_new: bool
    """Made by this very call: empty, also if the run had one before whose contents were lost."""
    sync: Callable[[], Awaitable[None]]
    """Returns when a power cut cannot undo what the containers wrote before; to be awaited before a
    step is recorded as done. Raises NoSharedDirectory if it could not be kept, as on a disk that is full."""


@dataclass(frozen=True)
class Choice:
    """Which kind is in use here, and why none of those before it is."""

    kind: str
    about: str
    obstacles: tuple[str, ...]


class SharedDirectories:
    """The shared directories below `folder`; one process at a time may use it.

    `kinds` are tried in order when the first directory is made, which is also when something of the
    host is occupied for the first time. From then on some are made ahead.
    """

    def __init__(self, folder: Path, size: Size, kinds: Sequence[Kind], spares: int = SPARES) -> None:
        self._folder = folder.resolve()
        self._size = size
        self._kinds = {kind.name: kind for kind in kinds}
        self._kind: Kind | None = None
        self._obstacles: list[str] = []
        self._choosing = asyncio.Lock()
        self._spares_max = spares
        self._spares: list[Path] = []
        self._making: set[Path] = set()
        self._refilling: asyncio.Task[None] | None = None
        self._opening: dict[str, asyncio.Task[SharedDirectory]] = {}
        self._resting: dict[str, asyncio.Task[None]] = {}
        self._removing: dict[Path, asyncio.Task[None]] = {}
        self._removers = asyncio.Semaphore(REMOVERS)
        self._closed = False

    async def open(self, run_id: str) -> SharedDirectory:
        """The run's directory: found again if it has one, else a new one.

        Any number of calls for a run give the same directory. Raises NoSharedDirectory.
        """
        if not RUN_ID.fullmatch(run_id):
            raise AssertionError(f"BUG: {run_id!r} cannot be a run's id")
        task = self._opening.get(run_id)
        if task is None:
            task = self._opening[run_id] = asyncio.create_task(self._open(run_id))
            task.add_done_callback(lambda done: self._opened(run_id, done))
        return await asyncio.shield(task)

    def close(self, run_id: str) -> None:
        """The run is over: delete its directory soon, when nothing uses it any more; never blocks.

        Closing again, or closing what was never opened, changes nothing.
        """
        if (busy := self._opening.get(run_id) or self._resting.get(run_id)) is not None:
            busy.add_done_callback(lambda _: self.close(run_id))
            return
        place = self._place_of(run_id)
        if place is not None:
            self._link(run_id).unlink(missing_ok=True)
            self._discard(place)

    def rest(self, run_id: str) -> None:
        """The run only waits now: let go of its directory, until it is opened again; never blocks."""
        place = self._place_of(run_id)
        if place is not None and run_id not in self._opening and run_id not in self._resting:
            task = self._resting[run_id] = asyncio.create_task(self._let_go(place))
            task.add_done_callback(lambda _: self._resting.pop(run_id, None))

    def held(self, run_id: str) -> int:
        """The bytes of disk or memory that the run's directory takes; blocks for a moment."""
        place = self._place_of(run_id)
        return 0 if place is None else self._kind_of(place).held(place, self._size)

    async def sweep(self, is_alive: IsAlive) -> int:
        """Delete what no living run owns, in the background; give the number of directories.

        `is_alive` is asked for each run that has one.
        """
        found = [place for place in self._folder.glob("*") if self._is_place(place)]
        kept = self._in_hand()
        for link in sorted(self._folder.glob(f"{RUNS}/*")):
            place = self._place_of(link.name)
            if place is not None and await self._is_owned(link.name, is_alive):
                kept.add(place)
            else:
                with suppress(OSError):  # gone, or nothing of ours
                    link.unlink()
        swept = [place for place in found if place not in kept]
        for place in swept:
            self._discard(place)
        if swept:
            telemetry.log.info("removing shared directories without a run", count=len(swept))
        return len(swept)

    async def settle(self, timeout_s: float) -> None:
        """Stop: give up spares, wait for what is being removed, let go of the rest, which is kept.

        What is not removed after `timeout_s` the next `sweep` removes.
        """
        self._closed = True
        if self._refilling is not None:
            await asyncio.wait({self._refilling}, timeout=timeout_s)
        if self._resting:
            await asyncio.wait(set(self._resting.values()), timeout=timeout_s)
        while self._spares:
            self._discard(self._spares.pop())
        if self._removing:
            await asyncio.wait(set(self._removing.values()), timeout=timeout_s)
        for task in list(self._removing.values()):
            task.cancel()
        for link in self._folder.glob(f"{RUNS}/*"):
            if (place := self._place_of(link.name)) is not None:
                await self._let_go(place)

    async def chosen(self) -> Choice:
        """The kind in use here, found out now if it is not known yet; raises NoSharedDirectory."""
        kind = await self._choose()
        return Choice(kind.name, kind.about, tuple(self._obstacles))

    # ------------------------------------------------------------ opening

    async def _open(self, run_id: str) -> SharedDirectory:
        if (resting := self._resting.get(run_id)) is not None:
            await asyncio.wait({resting})
        place, is_new = await self._again(run_id), False
        if place is None:
            place, is_new = await self._fresh(), True
            try:
                await asyncio.to_thread(self._assign, run_id, place)
            except OSError as error:
                self._give_up(place)
                raise NoSharedDirectory(f"the shared directory of run {run_id}: {error}") from error
            self._making.discard(place)
            self._refill()
        kind = self._kind_of(place)

        async def sync() -> None:
            try:
                await asyncio.to_thread(kind.sync, place)
            except OSError as error:
                raise NoSharedDirectory(f"what run {run_id} wrote cannot be kept: {error}") from error

        mount, files = kind.mount(place), kind.files(place)
        return SharedDirectory(run_id, mount, self._size.bytes, files, kind.name, is_new, sync)

    def _opened(self, run_id: str, task: asyncio.Task[SharedDirectory]) -> None:
        self._opening.pop(run_id, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody may wait any more

    async def _again(self, run_id: str) -> Path | None:
        """The place that the run has, ready for use; None if it has none whose contents are left."""
        place = self._place_of(run_id)
        if place is None:
            return None
        try:
            if await asyncio.to_thread(self._kind_of(place).find, place):
                return place
        except (OSError, ExecutorError) as error:
            raise NoSharedDirectory(f"the shared directory of run {run_id}: {error}") from error
        telemetry.log.warning("the contents of a shared directory are lost", run=run_id, place=place.name)
        self._link(run_id).unlink(missing_ok=True)
        self._discard(place)
        return None

    async def _fresh(self) -> Path:
        """A place ready for use: a spare if there is one. It is in `_making` until it is somebody's."""
        kind = await self._choose()
        if self._spares:
            place = self._spares.pop()
            self._making.add(place)
            return place
        return await self._make(kind)

    async def _make(self, kind: Kind) -> Path:
        place = self._folder / f"{kind.name}-{uuid.uuid4()}"
        self._making.add(place)
        try:
            (self._folder / RUNS).mkdir(mode=0o711, parents=True, exist_ok=True)
            place.mkdir(mode=0o711)
            await asyncio.to_thread(kind.make, place, self._size)
        except OSError as error:
            self._give_up(place)
            raise NoSharedDirectory(f"{kind.name}: {error}") from error
        except BaseException:
            self._give_up(place)
            raise
        return place

    def _give_up(self, place: Path) -> None:
        self._making.discard(place)
        self._discard(place)

    async def _choose(self) -> Kind:
        """The first kind that works here; that is found out once, by making a first spare."""
        async with self._choosing:
            if self._kind is not None:
                return self._kind
            obstacles = []
            for kind in self._kinds.values():
                try:
                    place = await self._make(kind)
                except NoRoom:  # that passes; a kind is for good
                    raise
                except ExecutorError as error:
                    obstacles.append(str(error))
                    continue
                self._making.discard(place)
                self._spares.append(place)
                self._kind, self._obstacles = kind, obstacles
                telemetry.log.info("shared directories", kind=kind.name, not_usable=obstacles)
                return kind
            raise NoSharedDirectory("no shared directory can be made: " + "; ".join(obstacles))

    def _assign(self, run_id: str, place: Path) -> None:
        """Make the place the run's, for good: a power cut must not make its contents nobody's."""
        unfinished = self._link(f"{UNFINISHED}{uuid.uuid4()}")
        unfinished.symlink_to(place.name)
        unfinished.replace(self._link(run_id))
        sync_folder(self._folder / RUNS)

    def _refill(self) -> None:
        if not self._closed and (self._refilling is None or self._refilling.done()):
            self._refilling = asyncio.create_task(self._make_spares())

    async def _make_spares(self) -> None:
        kind = await self._choose()
        try:
            while len(self._spares) < self._spares_max and not self._closed:
                place = await self._make(kind)
                self._making.discard(place)
                self._spares.append(place)
        except NoSharedDirectory as error:
            telemetry.log.warning("no shared directory can be made ahead", error=str(error))

    # ------------------------------------------------------------ removing

    def _discard(self, place: Path) -> None:
        if place not in self._removing:
            task = self._removing[place] = asyncio.create_task(self._remove(place))
            task.add_done_callback(lambda _: self._removing.pop(place, None))

    async def _remove(self, place: Path) -> None:
        """Remove the place, again and again while something uses it."""
        warned = False
        while True:
            try:
                async with self._removers:
                    await asyncio.to_thread(self._delete, place)
                return
            except (OSError, ExecutorError) as error:
                if not warned:
                    telemetry.log.warning(
                        "shared directory not removed yet", place=place.name, error=str(error)
                    )
                warned = True
            await asyncio.sleep(RETRY_S)

    def _delete(self, place: Path) -> None:
        if place.is_dir():
            self._kind_of(place).remove(place)
            place.rmdir()

    async def _let_go(self, place: Path) -> None:
        try:
            await asyncio.to_thread(self._kind_of(place).let_go, place)
        except (OSError, ExecutorError) as error:
            telemetry.log.warning("shared directory still mounted", place=place.name, error=str(error))

    # ------------------------------------------------------------ what is where

    def _link(self, run_id: str) -> Path:
        return self._folder / RUNS / run_id

    def _place_of(self, run_id: str) -> Path | None:
        """The place that is the run's, if it has one of a kind that we know."""
        try:
            name = os.readlink(self._link(run_id))
        except OSError:
            return None
        place = self._folder / name
        return place if self._is_place(place) else None

    async def _is_owned(self, run_id: str, is_alive: IsAlive) -> bool:
        if not RUN_ID.fullmatch(run_id):  # a link that was never finished, or is not yet
            return bool(self._opening)
        return await is_alive(run_id) or run_id in self._opening

    def _is_place(self, place: Path) -> bool:
        return place.parent == self._folder and place.name.partition("-")[0] in self._kinds

    def _in_hand(self) -> set[Path]:
        """Places that need no link: nobody's yet, or nobody's any more."""
        return {*self._spares, *self._making, *self._removing}

    def _kind_of(self, place: Path) -> Kind:
        return self._kinds[place.name.partition("-")[0]]


def sync_folder(folder: Path) -> None:
    """fsync(2): the names in this folder are on its disk afterwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
