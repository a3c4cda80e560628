"""Shared directories that the host's kernel mounts: an ext4 image on a loop device, or a tmpfs.

The containers get the directory `files` of the mounted file system, not its root. It exists in the
file system only: an engine that does not see our mounts finds no such path and refuses the
container, where otherwise scripts would write, without bound, on the host's own disk.

An image is only ever written through the kernel, by containers that cannot reach the device. So its
metadata can be trusted when it is mounted again. It has a journal: after a power cut the kernel
brings it in order by itself.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from executor.errors import NoRoom, NoSharedDirectory
from executor.sandbox.hardening import JOB_UID, MIB, SHARED
from executor.sandbox.shared import Size, sync_folder
from executor.sandbox.spec import Bind

IMAGE, MOUNT, FILES = "image", "mount", "files"
TOOL_S = 60
TOOL_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
BLOCK = 4096
INODE = 256
SECTOR = 512
"""The unit of st_blocks (stat(2))."""
JOURNAL_MB = 4
INODES_OF_OURS = 16
"""What ext4 counts that is no file of a script's: its own ten, the root, lost+found, `files`."""
LOOPS = Path("/sys/block")
LOOP_CONTROL = Path("/dev/loop-control")

Sees = Callable[[Path], bool]
"""Whether the engine finds a path of ours; it may live in another mount namespace."""


class Mounted:
    """What kinds have in common that are a mount of this host's, with the files below its root."""

    def mount(self, place: Path) -> Bind:
        """A bind of the files; it keeps the mount's nodev and nosuid."""
        return Bind(place / MOUNT / FILES, SHARED, writable=True)

    def files(self, place: Path) -> Path:
        """The files, to be read with `executor.sandbox.reading`."""
        return place / MOUNT / FILES


class Ext4(Mounted):
    """An ext4 file system in a sparse file, on a loop device; it outlives everything but its deletion."""

    name = "ext4"
    about = "an ext4 image each; contents outlive the service and the host's restart"

    def __init__(self, sees: Sees = lambda _: True) -> None:
        self._sees = sees

    def make(self, place: Path, size: Size) -> None:
        """Format, mount, sync."""
        needs_root(self.name)
        if not LOOP_CONTROL.exists():
            raise NoSharedDirectory(f"{self.name}: this host has no loop devices ({LOOP_CONTROL})")
        _needs_room(place, size)
        image = place / IMAGE
        with image.open("wb") as file:
            file.truncate(image_bytes(size))
            tool(
                "mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-I", str(INODE), "-m", "0",
                "-N", str(size.files + INODES_OF_OURS), "-J", f"size={JOURNAL_MB}", "-O", "^resize_inode",
                # the file is all zeros already; writing them again would take its sparseness away
                "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", image,
            )  # fmt: skip
            os.fsync(file.fileno())
        for folder in (place, place.parent):
            sync_folder(folder)
        self._mount(place)
        make_files(place)
        self.sync(place)
        must_see(self, place, self._sees)

    def find(self, place: Path) -> bool:
        """Mount it again if need be; only a missing image is lost."""
        if not (place / IMAGE).is_file():
            return False
        if not (place / MOUNT).is_mount():
            self._mount(place)
        return (place / MOUNT / FILES).is_dir()

    def let_go(self, place: Path) -> None:
        """Unmount; the image stays."""
        unmount(place)

    def held(self, place: Path, size: Size) -> int:
        """What of the sparse image was ever written."""
        try:
            return (place / IMAGE).stat().st_blocks * SECTOR
        except OSError:  # it is being removed
            return 0

    def remove(self, place: Path) -> None:
        """Unmount, free the loop device, delete the image."""
        unmount(place)
        for device in loops_of(place / IMAGE):
            tool("losetup", "--detach", device)
        (place / IMAGE).unlink(missing_ok=True)
        _forget_mount(place)

    def sync(self, place: Path) -> None:
        """Write the file system to the image, and the image to the disk."""
        sync_file_system(place / MOUNT)

    def _mount(self, place: Path) -> None:
        (place / MOUNT).mkdir(mode=0o711, exist_ok=True)
        # The kernel frees the loop device itself when the last mount of it is gone.
        tool(
            "mount",
            "-t",
            "ext4",
            "-o",
            "loop,nodev,nosuid,noatime,noinit_itable",
            place / IMAGE,
            place / MOUNT,
        )


class HostTmpfs(Mounted):
    """A tmpfs, where there are no loop devices: it outlives the service, but not the host's next start.

    What is in it counts as memory of the job that wrote it.
    """

    name = "tmpfs"
    about = "in memory, which counts for the job that writes; contents outlive the service, not the host's restart"

    def __init__(self, sees: Sees = lambda _: True) -> None:
        self._sees = sees

    def make(self, place: Path, size: Size) -> None:
        """Mount."""
        needs_root(self.name)
        (place / MOUNT).mkdir(mode=0o711, exist_ok=True)
        bounds = f"size={size.bytes},nr_inodes={size.files + 2}"  # its root, and `files`
        tool(
            "mount", "-t", "tmpfs", "-o", f"nodev,nosuid,mode=0755,{bounds}", "executor-shared", place / MOUNT
        )
        make_files(place)
        must_see(self, place, self._sees)

    def find(self, place: Path) -> bool:
        """It is there as long as it is mounted."""
        return (place / MOUNT).is_mount() and (place / MOUNT / FILES).is_dir()

    def let_go(self, place: Path) -> None:
        """Stay mounted: the contents are nowhere else."""

    def held(self, place: Path, size: Size) -> int:
        """All of it: memory is promised for as long as the run lives."""
        return size.bytes

    def remove(self, place: Path) -> None:
        """Unmount, which frees the memory."""
        unmount(place)
        _forget_mount(place)

    def sync(self, place: Path) -> None:
        """There is nothing that a power cut would leave."""


def image_bytes(size: Size) -> int:
    """The image's size: what scripts may use, and what ext4 needs for itself besides."""
    whole = size.bytes + (size.files + INODES_OF_OURS) * INODE + (JOURNAL_MB + 1) * MIB + size.bytes // 32
    return -(-whole // MIB) * MIB


def needs_root(kind: str) -> None:
    """Raise NoSharedDirectory unless this process may mount, as far as its user tells."""
    if os.geteuid() != 0:
        raise NoSharedDirectory(f"{kind}: only root can mount, and this service runs as user {os.geteuid()}")


def must_see(kind: Ext4 | HostTmpfs, place: Path, sees: Sees) -> None:
    """Raise NoSharedDirectory if the engine does not find the files."""
    if not sees(kind.files(place)):
        raise NoSharedDirectory(f"{kind.name}: the engine does not see what this service mounts")


def make_files(place: Path) -> None:
    """The directory that containers get: the jobs' user's, and nobody else's."""
    files = place / MOUNT / FILES
    files.mkdir()
    files.chmod(0o700)
    os.chown(files, JOB_UID, JOB_UID)


def unmount(place: Path) -> None:
    """Unmount what is mounted at the place; OSError while this host uses it.

    Containers do not keep it from that: they hold the file system by mounts of their own.
    """
    mount = place / MOUNT
    while mount.is_mount():
        tool("umount", mount)


def _forget_mount(place: Path) -> None:
    if (place / MOUNT).is_dir():
        (place / MOUNT).rmdir()


def loops_of(image: Path) -> list[str]:
    """The loop devices attached to this file, deleted or not."""
    found = []
    for said in LOOPS.glob("loop*/loop/backing_file"):
        try:
            backing = said.read_text("utf-8", "surrogateescape").rstrip("\n")
        except OSError:  # detached meanwhile
            continue
        if backing.removesuffix(" (deleted)") == str(image):
            found.append(f"/dev/{said.parent.parent.name}")
    return found


def sync_file_system(path: Path) -> None:
    """syncfs(2): everything written to the file system of `path` is on its disk afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def tool(name: str, *arguments: str | Path) -> None:
    """Run a tool of the system; OSError with what it said if it fails or is not there."""
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{TOOL_PATH}")
    if program is None:
        raise OSError(f"{name} is not installed")
    argv = [program, *map(str, arguments)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{name} did not end within {TOOL_S} s") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise OSError(f"{name}: {said}")


def _needs_room(place: Path, size: Size) -> None:
    """An image is sparse; where the disk could not hold a full one, scripts would lose what they wrote."""
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if free < image_bytes(size):
        raise NoRoom(
            f"ext4: the data directory's disk has {free // MIB} MiB free, "
            f"a shared directory may take {image_bytes(size) // MIB}; free some, or lower EXECUTOR_SHARED_MB"
        )
