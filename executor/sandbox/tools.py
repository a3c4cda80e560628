"""What a foreign image needs of ours, as files on the host: jobinit, and the language's runner.

They are taken once out of our own image of each version, and kept under the image's id. A folder is
complete or not there, and its content is held to the hash noted when it was made.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from executor import telemetry
from executor.errors import EngineError
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Engine
from executor.sandbox.spec import ContainerSpec, Hardening

IN_IMAGE = "/executor"
KEPT = ("jobinit", "runtime")
DIGEST = "digest"
UNFINISHED = ".unfinished-"
UNUSED_S = 7 * 24 * 3600.0


class Tools:
    """The tools in `folder`; their images' containers carry the instance's labels while they exist."""

    def __init__(self, engine: Engine, cleanup: Cleanup, folder: Path, labels: Mapping[str, str]) -> None:
        self._engine = engine
        self._cleanup = cleanup
        self._folder = folder
        self._labels = {**labels, LABEL_ROLE: "tools"}
        self._checked: set[Path] = set()
        self._taking = asyncio.Lock()

    async def of(self, tag: str, hardening: Hardening) -> Path:
        """The folder with `jobinit`, and `runtime/` if the image of ours has one; raises EngineError."""
        image = await self._engine.image(tag)
        if image is None:
            raise EngineError(f"the image {tag} is missing; run `executor images build`")
        place = self._folder / image.id.removeprefix("sha256:")
        async with self._taking:
            if place not in self._checked:
                if not await asyncio.to_thread(_is_whole, place):
                    archive = await self._archive(image.id, hardening)
                    await asyncio.to_thread(_unpack, archive, place)
                os.utime(place)
                self._checked.add(place)
        return place.resolve()

    async def _archive(self, image_id: str, hardening: Hardening) -> bytes:
        name = f"executor-tools-{uuid.uuid4()}"
        self._cleanup.owns(name)
        try:
            spec = ContainerSpec(name, image_id, hardening, self._labels)
            return await self._engine.files(spec, IN_IMAGE)
        finally:
            self._cleanup.discard(name)

    def sweep(self) -> None:
        """Delete what was long not used, or left half made by a crash; to be called before any run."""
        for path in self._folder.glob("*"):
            is_old = path.stat().st_mtime < time.time() - UNUSED_S
            if is_old or path.name.startswith(UNFINISHED):
                shutil.rmtree(path, ignore_errors=True)


def labels(instance: str, worker: str) -> dict[str, str]:
    """Whose a container is."""
    return {LABEL: instance, LABEL_WORKER: worker}


def _unpack(archive: bytes, place: Path) -> None:
    """Write the tools into their place; raises EngineError if they cannot be."""
    unfinished = place.with_name(f"{UNFINISHED}{uuid.uuid4()}")
    try:
        unfinished.mkdir(mode=0o755, parents=True)
        for path, content, mode in _members(archive):
            target = unfinished / path
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode)
        if not (unfinished / "jobinit").is_file():
            raise EngineError(
                "an image of ours has no /executor/jobinit; run `executor images build --fresh`"
            )
        (unfinished / DIGEST).write_text(_digest(unfinished), "utf-8")
        shutil.rmtree(place, ignore_errors=True)
        unfinished.replace(place)
    except (OSError, tarfile.TarError) as error:
        raise EngineError(f"jobinit cannot be put into the data directory: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _members(archive: bytes) -> Iterator[tuple[PurePosixPath, bytes, int]]:
    """Path, content and mode of each file that is kept."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            file = tar.extractfile(member) if member.isfile() else None
            if file is None or not path.parts or path.parts[0] not in KEPT or ".." in path.parts:
                continue
            yield path, file.read(), 0o555 if member.mode & 0o100 else 0o444


def _is_whole(place: Path) -> bool:
    try:
        noted = (place / DIGEST).read_text("utf-8")
        whole = noted == _digest(place)
    except OSError:
        return False
    if not whole:
        telemetry.log.warning("files for foreign images were changed; they are made anew", folder=str(place))
    return whole


def _digest(place: Path) -> str:
    """Hash of every file's path, executable bit and content."""
    whole = hashlib.sha256()
    for path in sorted(path for path in place.rglob("*") if path.is_file() and path != place / DIGEST):
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(place)} {executable} {content}\n".encode())
    return whole.hexdigest()
