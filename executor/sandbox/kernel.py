"""The few system calls that the standard library does not have: mounts, and mount namespaces."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE, MS_SHARED = (
    1,
    2,
    4,
    0x1000,
    0x4000,
    0x80000,
    0x100000,
)
MNT_DETACH = 2
CLONE_FS, CLONE_NEWNS = 0x200, 0x20000
OPTIONS_BYTES_MAX = 4095
"""What the kernel copies of a mount's options: a page."""

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2). Not the program: newer ones split options at 256 bytes, which layers exceed."""
    data = options.encode()
    if len(data) > OPTIONS_BYTES_MAX:
        raise OSError(f"the options of a mount on {target} have {len(data)} bytes; the kernel takes 4095")
    done = _libc.mount(
        source.encode(), bytes(target), None if kind is None else kind.encode(), ctypes.c_ulong(flags), data
    )
    _check(done, f"mount {source} on {target}")


def unmount(target: Path) -> None:
    """Take the mount away from everybody's sight; who uses it keeps it."""
    _check(_libc.umount2(bytes(target), MNT_DETACH), f"umount {target}")


def leave_mounts() -> None:
    """Give the calling thread alone a copy of the mounts, which still follows what is mounted outside."""
    _check(_libc.unshare(CLONE_NEWNS | CLONE_FS), "unshare")
    mount("none", Path("/"), None, MS_SLAVE | MS_REC)


def enter_mounts(namespace: int) -> None:
    """Put the calling thread into the mount namespace behind a descriptor; its directory becomes `/`."""
    _check(_libc.setns(namespace, CLONE_NEWNS), "setns")


def _check(done: int, what: str) -> None:
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
