"""Compiled programs kept on the host: each workspace's apart, bounded, the least recently used go first.

A file is complete or not there: it is written under another name and synced before it gets its own,
so that neither a crash nor a power cut leaves half a program behind. Nothing in a container can
write here.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import uuid
from pathlib import Path

WORKSPACE = re.compile(r"[a-z0-9][a-z0-9_-]*")
KEY = re.compile(r"[0-9a-f]{64}")
UNFINISHED = ".unfinished-"
MODE = 0o555


class Programs:
    """The programs in `folder`, of `bytes_max` together at most; safe to use from several threads."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._evicting = threading.Lock()

    def take(self, workspace: str, key: str, target: Path) -> bool:
        """Put a program at `target`, where it stays even if it is not kept any longer; False without one."""
        kept = self._path(workspace, key)
        try:
            os.utime(kept)
            _link_or_copy(kept, target)
        except OSError:  # not there, or of no use
            target.unlink(missing_ok=True)
            return False
        return True

    def put(self, workspace: str, key: str, program: bytes) -> None:
        """Keep a program; others may go for it."""
        kept = self._path(workspace, key)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = kept.with_name(f"{UNFINISHED}{uuid.uuid4()}")
        try:
            write_program(unfinished, program)
            unfinished.replace(kept)
        finally:
            unfinished.unlink(missing_ok=True)
        self._evict()

    def sweep(self) -> None:
        """Delete what a crash left half written; to be called before any other use."""
        for path in self._folder.glob(f"*/{UNFINISHED}*"):
            path.unlink(missing_ok=True)
        self._evict()

    def _evict(self) -> None:
        with self._evicting:
            kept = sorted(self._kept(), reverse=True)
            room = self._bytes_max
            for _, size, path in kept:
                room -= size
                if room < 0:
                    path.unlink(missing_ok=True)

    def _kept(self) -> list[tuple[int, int, Path]]:
        """When each program was last used, its size, its path."""
        found = []
        for path in self._folder.glob("*/*"):
            try:
                seen = path.stat()
            except FileNotFoundError:
                continue
            if KEY.fullmatch(path.name):
                found.append((seen.st_mtime_ns, seen.st_size, path))
        return found

    def _path(self, workspace: str, key: str) -> Path:
        if not WORKSPACE.fullmatch(workspace) or not KEY.fullmatch(key):
            raise AssertionError(f"BUG: {workspace!r}/{key!r} cannot be a program's place")
        return self._folder / workspace / key


def _link_or_copy(kept: Path, target: Path) -> None:
    try:
        os.link(kept, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(kept, target)
        target.chmod(MODE)


def write_program(path: Path, program: bytes) -> None:
    """Write a file that everybody can execute and nobody can change; it is on the disk afterwards."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(program)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), MODE)
