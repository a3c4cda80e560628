"""What a script really can do in its container; tests/security/test_hardening.py runs this file in some.

It prints one JSON object. Nothing here needs more than the standard library.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

PIECE = 256 * 1024
MOST_PIECES, MOST_FILES = 400, 70_000
"""Far above every bound, so that a place without one is found out and not filled for ever."""
NUMBERS = 470
UNSAFE = {15, 34, 56, 57, 58, 60, 62, 130, 162, 200, 219, 231, 234, 335, 336, 435}
"""Calls of x86-64 that end, stop or copy the caller, signal somebody or sync the host, whatever they are given."""
NEWUSER = 0x10000000
CALLS: dict[str, tuple[int, ...]] = {
    "mount": (165, 0, 0, 0, 0, 0), "umount2": (166, 0, 0), "pivot_root": (155, 0, 0), "chroot": (161, 0),
    "unshare": (272, NEWUSER), "clone": (56, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0), "setns": (308, -1, 0),
    "bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "keyctl": (250, 0, -3, 0),
    "add_key": (248, 0, 0, 0, 0, -3), "userfaultfd": (323, 1), "io_uring_setup": (425, 1, 0),
    "io_uring_enter": (426, -1, 0, 0, 0), "ptrace": (101, 0, 0, 0, 0), "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "open_by_handle_at": (304, -1, 0, 0), "name_to_handle_at": (303, -100, 0, 0, 0, 0), "init_module": (175, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0), "personality": (135, 0x0040000), "move_mount": (429, -1, 0, -1, 0, 0),
    "fsopen": (430, 0, 0), "syslog": (103, 3, 0, 0), "clone3": (435, 0, 0), "pidfd_getfd": (438, -1, -1, 0),
    "vsock": (41, 40, 1, 0), "alg": (41, 38, 5, 0), "packet": (41, 17, 3, 0), "raw": (41, 2, 3, 1),
    "vsock in the upper half": (41, 40 | 1 << 32, 1, 0), "can": (41, 29, 3, 1), "rds": (41, 21, 5, 0),
    "ax25": (41, 3, 5, 0), "tipc pair": (53, 30, 1, 0, 0), "sctp": (41, 2, 1, 132), "mptcp": (41, 10, 1, 262),
    "dccp": (41, 2, 6, 0), "netlink": (41, 16, 3, 0), "usersock": (41, 16, 3, 2), "ping": (41, 2, 2, 1), "ping 6": (41, 10, 2, 58),
    "fault of init": (129, 1, 11, 0), "its thread's": (297, 1, 1, 11, 0),
    "in the upper half": (129, 1 | 1 << 32, 11, 0), "by descriptor": (424, -1, 11, 1, 0), "its signal": (72, 0, 10, 11),
    "dnotify": (72, 0, 1026, 1), "inotify": (294, 0), "old inotify": (253,), "aio": (206, 1, 0),
    "huge pages": (9, 0, 1 << 21, 3, 0x40022, -1, 0), "huge file": (319, 0, 4), "huge segment": (29, 0, 1 << 21, 0o5600),
}  # fmt: skip


def failed(act: Callable[[], Any]) -> str:
    """The name of the error with which it fails; empty if it does not."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def status() -> dict[str, str]:
    """What the kernel says of this process."""
    pairs = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: " ".join(value.split()) for name, _, value in pairs}


def _make(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))


def filled(place: str) -> dict[str, Any]:
    """How many bytes and files fit into a place, and what then refuses more."""
    folder = Path(place) / "filled"
    folder.mkdir()
    room = os.statvfs(place)
    files, why_no_file = 0, ""
    while files < MOST_FILES and not why_no_file:
        why_no_file = failed(partial(_make, folder / str(files)))
        files += not why_no_file
    for number in range(files):
        (folder / str(number)).unlink()
    size, why_no_byte = 0, ""
    while size < MOST_PIECES * PIECE and not why_no_byte:
        with (folder / str(size)).open("wb", buffering=0) as file:
            why_no_byte = failed(lambda: file.write(bytes(PIECE)))
        size += 0 if why_no_byte else PIECE
    for path in folder.iterdir():
        path.unlink()
    return {
        "files": files, "why_no_file": why_no_file, "bytes": size, "why_no_byte": why_no_byte,
        "bound": room.f_blocks * room.f_frsize,
    }  # fmt: skip


def writable() -> list[str]:
    """Every directory in which a file can be made, whatever its mode says."""
    found = []
    for folder, inner, _ in os.walk("/"):
        if folder == "/proc":  # the kernel's own; files cannot be made there at all
            inner[:] = []
            continue
        path = Path(folder) / ".probe"
        with suppress(OSError):
            path.touch()
            found.append(folder)
            path.unlink()
    return sorted(found)


def content(path: str) -> int | None:
    """How much is to be seen at a path; None if there is no such path."""
    try:
        return len(os.listdir(path)) if os.path.isdir(path) else len(Path(path).read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return 0


def call(number: int, *arguments: int) -> str:
    """What a system call fails with; a child that it makes ends at once."""
    ctypes.set_errno(0)
    done = LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if done == 0 and number == CALLS["clone"][0]:
        os._exit(0)
    return "" if done >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def core() -> bool:
    """Whether a crash leaves a core dump."""
    if (child := os.fork()) == 0:
        os.chdir("/tmp")
        os.abort()
    return os.WCOREDUMP(os.waitpid(child, 0)[1])


def setuid() -> str:
    """Who one is in a program that belongs to root and has the setuid bit."""
    return subprocess.run(
        ["/executor/in/id", "-u"], capture_output=True, text=True, check=False
    ).stdout.strip()


def queue() -> str:
    """Why no POSIX message queue can be made."""
    made = ctypes.CDLL(None, use_errno=True).mq_open(b"/q", os.O_CREAT | os.O_RDWR, 0o600, None)
    return "" if made >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def terminals() -> int:
    """How many pseudo-terminals can be had."""
    made: list[int] = []
    with suppress(OSError):
        while len(made) < 100:
            made.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    for descriptor in made:
        os.close(descriptor)
    return len(made)


def buffers() -> int:
    """How many bytes connections to oneself hold that nobody reads, as far as a few hundred MB."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server, ExitStack() as stack:
        held = 0
        for _ in range(64):
            sender = stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
            sender.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    held += sender.send(bytes(PIECE))
        return held


def promised() -> dict[str, int]:
    """What a socket has that has asked for a long queue, a queue of errors and time stamps, and was refused nothing."""
    asked = {
        "queue": (1, 8, 64 << 20),
        "errors": (0, 11, 1),
        "stamps": (1, 37, 1 << 8),
        "new stamps": (1, 65, 1 << 8),
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for level, option, value in asked.values():
            asking.setsockopt(level, option, value)
        return {name: asking.getsockopt(level, option) for name, (level, option, _) in asked.items()}


def long_file(size: int) -> str:
    """Why no file can be longer than that."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("/tmp/long", "wb") as file:
        return failed(lambda: file.truncate(size))


def refused() -> list[int]:
    """The calls that nobody here may make, or does not know."""
    found = (number for number in range(NUMBERS) if number not in UNSAFE)
    return [number for number in found if call(number, *[-1] * 6) in ("EPERM", "ENOSYS")]


def everything(asked: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    return {
        "status": status(),
        "limits": {n: resource.getrlimit(getattr(resource, f"RLIMIT_{n}")) for n in ("CORE", "FSIZE", "NOFILE", "MEMLOCK", "SIGPENDING")},
        "queue": queue(),
        "terminals": terminals(),
        "core": core(),
        "buffers": buffers(),
        "promised": promised(),
        "setuid": setuid(),
        "long_file": long_file(asked["file_bytes"] + 1),
        "writable": writable(),
        "filled": {place: filled(place) for place in asked["places"]},
        "masked": {path: content(path) for path in asked["masked"]},
        "read_only": {path: bool(os.statvfs(path).f_flag & os.ST_RDONLY) for path in asked["read_only"] if os.path.exists(path)},
        "uid_map": [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()],
        "others": [p.name for p in Path("/proc").iterdir() if p.name.isdecimal()],
        "interfaces": os.listdir("/sys/class/net"),
        "calls": {name: call(*arguments) for name, arguments in CALLS.items()} if X86 else {},
        "refused": refused() if X86 else [],
    }  # fmt: skip


LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(
        json.dumps(everything(request) if "places" in request else {"refused": refused(), "setuid": setuid()})
    )
