"""Shared directories for containers that wait: each has an empty slot at /shared, which is filled when its job comes.

A container's mounts are fixed when it is made, but for those that follow the host's: what is mounted on its
slot here appears there, and goes with it (mount_namespaces(7), shared and slave mounts). An empty slot is a
directory that nobody can write to.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from executor.sandbox import kernel
from executor.sandbox.hardening import SHARED
from executor.sandbox.spec import Bind


class Slots:
    """The slots below `folder`, which is one service's alone. Every method blocks for a moment, some milliseconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def sweep(self) -> None:
        """Take away what a crash has left; to be called before anything else. Raises OSError."""
        for slot in self._folder.glob("*"):
            self.empty(slot.name)
        with suppress(OSError):
            kernel.unmount(self._folder)

    def open(self) -> None:
        """Let what is mounted on slots be seen in containers; raises OSError where we may not mount."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        kernel.mount(str(self._folder), self._folder, None, kernel.MS_BIND)
        kernel.mount("none", self._folder, None, kernel.MS_SHARED)

    def close(self) -> None:
        """Take all slots away; whatever is mounted there stays what it is elsewhere."""
        with suppress(OSError):
            self.sweep()

    def made(self, name: str) -> Bind:
        """A container's slot, empty, as a mount of it. Raises OSError."""
        slot = self._folder / name
        slot.mkdir(mode=0o555)
        return Bind(slot, SHARED, writable=True, follows=True)

    def fill(self, name: str, files: Path) -> None:
        """Show the files in the container, which may be running. Raises OSError."""
        kernel.mount(str(files), self._folder / name, None, kernel.MS_BIND)

    def empty(self, name: str) -> None:
        """Take a slot away, and with it what it shows; without one, nothing happens. Files are not touched."""
        slot = self._folder / name
        with suppress(OSError):
            kernel.unmount(slot)
        with suppress(OSError):  # not empty: a mount is left after all, which the next start takes away
            slot.rmdir()
