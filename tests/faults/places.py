"""Small disks that can be filled."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system of its own of so many MiB, mounted at `folder`/disk; taken away at the end."""
    image, place = folder / "disk.img", folder / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(mib << 20)
    run("mkfs.ext4", "-q", "-m", "0", "-F", str(image))
    run("mount", "-o", "loop", str(image), str(place))  # the loop device goes with the mount
    try:
        yield place
    finally:
        run("umount", "--lazy", str(place))
        image.unlink()


def run(*command: str) -> None:
    """A command that must work; an AssertionError with what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Not a byte more can be written there meanwhile, by root either."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
        os.fsync(file.fileno())
    try:
        yield
    finally:
        filler.unlink()


def is_full(disk: Path) -> bool:
    """Whether writing there fails for want of room."""
    try:
        (disk / "probe").write_bytes(bytes(8192))
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        (disk / "probe").unlink(missing_ok=True)
    return False
