"""The images' root file systems on the host: one read-only tree per image, for all its containers.

Where Docker keeps layers as overlay2 directories that we can reach, a tree is an overlay mount of our own
over them; that takes a millisecond and no room. Elsewhere it is unpacked once into the data
directory. Mounts are below /run and belong to the host, not to a service: whoever comes next uses
what is there. A created container of Docker's, never started, keeps it from deleting the layers.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from executor import telemetry
from executor.errors import EngineError, ImageMissing
from executor.sandbox import kernel
from executor.sandbox.spec import ImageSeen

FRESH_S = 10.0
"""How long it is believed that a name still means the same image."""
UNUSED_S = 7 * 24 * 3600.0
PIN = "executor-root-"
UNFINISHED = ".unfinished-"
USED = ".used"
SKELETON = "skeleton"
HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class Store(Protocol):
    """Where images come from; the docker engine is one."""

    async def image(self, reference: str) -> ImageSeen | None:
        """The image of this name or id, if there is one."""

    async def pin(self, image_id: str, name: str) -> None:
        """Keep the image's layers, under this name, until `remove(name)`."""

    async def remove(self, name: str) -> None:
        """Let the layers go."""

    async def unpack(self, image_id: str, folder: Path) -> None:
        """Write the image's whole tree into an empty folder; raises EngineError."""


@dataclass(frozen=True)
class Root:
    """An image's tree, and what the image says of itself."""

    path: Path
    image: ImageSeen


@dataclass
class _Known:
    root: Root
    since: float


class Roots:
    """The trees below `mounts`, and in `unpacked` where layers cannot be mounted."""

    def __init__(self, store: Store, mounts: Path, unpacked: Path) -> None:
        self._store = store
        self._mounts = mounts
        self._unpacked = unpacked
        self._known: dict[str, _Known] = {}
        self._looking: dict[str, asyncio.Task[Root]] = {}

    async def of(self, reference: str) -> Root:
        """The tree of the image with this name; raises ImageMissing, EngineError.

        An image that was built anew under its name counts some seconds later, without anybody waiting.
        """
        known = self._known.get(reference)
        if known is None:
            return await asyncio.shield(self._look(reference))
        if known.since + FRESH_S < time.monotonic():
            known.since = time.monotonic()
            self._look(reference)
        return known.root

    def _look(self, reference: str) -> asyncio.Task[Root]:
        if reference not in self._looking:
            task = self._looking[reference] = asyncio.create_task(self._find(reference))
            task.add_done_callback(lambda _: self._looking.pop(reference, None))
            task.add_done_callback(_note_failure)
        return self._looking[reference]

    async def _find(self, reference: str) -> Root:
        image = await self._store.image(reference)
        if image is None:
            self._known.pop(reference, None)
            raise ImageMissing(f"no such image: {reference}")
        known = self._known.get(reference)
        if known is not None and known.root.image == image and has_layers(image):
            known.since = time.monotonic()
            return known.root
        root = Root(await self._provide(image), image)
        self._known[reference] = _Known(root, time.monotonic())
        return root

    async def _provide(self, image: ImageSeen) -> Path:
        if self._can_mount(image):
            place = self._mounts / _mount_name(image)
            await self._store.pin(image.id, PIN + place.name)
            try:
                await asyncio.to_thread(self._mount, image, place)
                return place
            except OSError as error:
                telemetry.log.info("an image's layers cannot be mounted; it is unpacked", error=str(error))
        place = self._unpacked / image.id.removeprefix("sha256:")
        if not place.is_dir():
            await self._unpack(image, place)
        os.utime(place)
        return place.resolve()

    def _can_mount(self, image: ImageSeen) -> bool:
        return bool(image.layers) and os.geteuid() == 0 and has_layers(image)

    def _mount(self, image: ImageSeen, place: Path) -> None:
        with self._alone():
            place.with_suffix(USED).touch()
            if place.is_mount():
                return
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            skeleton = self._mounts / SKELETON
            _dress(skeleton)
            layers = ":".join([str(skeleton), *image.layers])
            flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
            kernel.mount("executor-root", place, "overlay", flags, f"lowerdir={layers}")

    async def _unpack(self, image: ImageSeen, place: Path) -> None:
        unfinished = place.with_name(f"{UNFINISHED}{uuid.uuid4()}")
        try:
            unfinished.mkdir(mode=0o755, parents=True)
            await self._store.unpack(image.id, unfinished)
            await asyncio.to_thread(_dress, unfinished)
            unfinished.replace(place)
        except OSError as error:
            raise EngineError(f"the image {image.id} cannot be unpacked to {place}: {error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    async def sweep(self) -> None:
        """Let go of what was not used for a week, and of what a crash left half made."""
        for name in await asyncio.to_thread(self._sweep):
            with suppress(EngineError):
                await self._store.remove(PIN + name)

    def _sweep(self) -> list[str]:
        gone = []
        with self._alone():
            for used in filter(_is_old, self._mounts.glob(f"*{USED}")):
                place = used.with_suffix("")
                if place.is_mount():
                    kernel.unmount(place)
                place.rmdir()
                used.unlink()
                gone.append(place.name)
        for place in self._unpacked.glob("*"):
            if place.name.startswith(UNFINISHED) or _is_old(place):
                shutil.rmtree(place, ignore_errors=True)
        return gone

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process of the host at a time makes mounts, or takes them away."""
        self._mounts.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(self._mounts, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def has_layers(image: ImageSeen) -> bool:
    """Whether the image's layers are where we can reach them, and still there."""
    return all(Path(layer).is_dir() for layer in image.layers)


def _mount_name(image: ImageSeen) -> str:
    """An image that was removed and came back has the same id, and its layers elsewhere."""
    layers = hashlib.sha256("\n".join(image.layers).encode()).hexdigest()
    return f"{image.id.removeprefix('sha256:')[:16]}-{layers[:16]}"


def _dress(root: Path) -> None:
    """What Docker adds to every container: places to mount on, and the files of the network."""
    for name in ("proc", "sys", "dev", "etc"):
        (root / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, content in (("hosts", HOSTS), ("hostname", "job\n"), ("resolv.conf", "")):
        path = root / "etc" / name
        if path.is_symlink() or not path.exists() or path.stat().st_size == 0:
            path.unlink(missing_ok=True)
            path.write_text(content, "ascii")
    with suppress(FileExistsError):
        (root / "etc" / "mtab").symlink_to("/proc/mounts")


def _is_old(path: Path) -> bool:
    return path.stat().st_mtime < time.time() - UNUSED_S


def _note_failure(looking: asyncio.Task[Root]) -> None:
    """Nobody may be waiting: then the failure is told again by whoever asks next."""
    if not looking.cancelled() and (error := looking.exception()) is not None:
        telemetry.log.debug("an image's root is not to be had", error=str(error))
