"""Reads what scripts left in a shared directory, while other scripts may still be changing it.

Nothing in such a directory can be trusted: names, links, pipes, sizes, and all of it may change
between two looks. So every path is walked from the directory's own descriptor, one name at a time,
and no link is ever followed: whatever is renamed meanwhile, a walk can only end inside. Only regular
files are opened, without waiting for anybody; what is read or listed has a bound that the caller sets.

Names are text as `os.fsdecode` gives it: bytes that are no UTF-8 become lone surrogates. The
functions block, and raise Unreadable.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from executor.errors import Unreadable

DEPTH_MAX = 64
"""How many directories deep a path may lead; a listing holds two descriptors for each."""
NAME_SHOWN = 100
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

EntryKind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True)
class Entry:
    """What a directory holds under one name, at the moment of the look."""

    path: str
    """From the shared directory on, without `./`."""
    kind: EntryKind
    size_bytes: int


@dataclass(frozen=True)
class Listing:
    """What was found, in no particular order; `is_whole` unless a bound cut it short."""

    entries: tuple[Entry, ...]
    is_whole: bool


def read_file(root: Path, path: str, bytes_max: int) -> bytes:
    """The contents of the regular file at `path`, relative to the shared directory `root`.

    Raises Unreadable if it is anything else, not there, or over `bytes_max`.
    """
    with _opened(root, path) as descriptor:
        if os.fstat(descriptor).st_size > bytes_max:
            raise Unreadable(f"{shown(path)}: over {bytes_max} bytes")
        chunks, left = [], bytes_max + 1  # it may grow while we read
        while left and (chunk := os.read(descriptor, min(left, 1024 * 1024))):
            chunks.append(chunk)
            left -= len(chunk)
    if not left:
        raise Unreadable(f"{shown(path)}: over {bytes_max} bytes")
    return b"".join(chunks)


@contextmanager
def open_file(root: Path, path: str) -> Iterator[int]:
    """A descriptor of the regular file at `path`, for a caller who bounds what is read; closed afterwards."""
    with _opened(root, path) as descriptor:
        yield descriptor


def list_files(root: Path, path: str = "", *, entries_max: int) -> Listing:
    """Everything below the directory at `path`, at most so many entries and DEPTH_MAX deep.

    Directories that vanish meanwhile are left out. Raises Unreadable if `path` is no directory.
    """
    found: list[Entry] = []
    names = _names(path)
    descriptor = _walk(root, names)
    with closing(_below(descriptor, "/".join(names), DEPTH_MAX - len(names))) as entries:
        for entry in entries:
            if entry is None or len(found) == entries_max:
                return Listing(tuple(found), False)
            found.append(entry)
    return Listing(tuple(found), True)


def shown(path: str) -> str:
    """A path as messages have it: short, and nothing in it a terminal or a log would act on."""
    text = ascii(path) if not path.isprintable() else repr(path)
    return text if len(text) <= NAME_SHOWN else f"{text[:NAME_SHOWN]}…"


@contextmanager
def _opened(root: Path, path: str) -> Iterator[int]:
    names = _names(path)
    if not names:
        raise Unreadable(f"{shown(path)}: names no file")
    folder = _walk(root, names[:-1])
    try:
        descriptor = _open_regular(folder, names[-1], path)
    finally:
        os.close(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_regular(folder: int, name: str, path: str) -> int:
    """Look before opening, so that nobody at a pipe's other end notices us; then look at what we have."""
    with _told(path):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Unreadable(f"{shown(path)}: not a regular file")
        descriptor = os.open(name, FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unreadable(f"{shown(path)}: not a regular file")
    return descriptor


def _walk(root: Path, names: list[str]) -> int:
    """A descriptor of the directory that the names lead to."""
    with _told(str(root)):
        descriptor = os.open(root, DIRECTORY)
    for depth, name in enumerate(names):
        try:
            with _told("/".join(names[: depth + 1])):
                below = os.open(name, DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _below(descriptor: int, prefix: str, depth: int) -> Generator[Entry | None, None, None]:
    """The entries below an open directory, which is closed at the end; None where the depth cuts it short."""
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                try:
                    seen = entry.stat(follow_symlinks=False)
                except OSError:  # gone by now
                    continue
                yield Entry(path, kind_of(seen.st_mode), seen.st_size)
                if not stat.S_ISDIR(seen.st_mode):
                    continue
                if not depth:
                    yield None
                    return
                try:
                    inner = os.open(entry.name, DIRECTORY, dir_fd=descriptor)
                except OSError:  # gone, or something else by now
                    continue
                yield from _below(inner, path, depth - 1)
    finally:
        os.close(descriptor)


def kind_of(mode: int) -> EntryKind:
    """What a file's mode says it is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def _names(path: str) -> list[str]:
    """The names on the way; raises Unreadable for a path that is absolute, leads up, or is too deep."""
    if "\0" in path or path.startswith("/"):
        raise Unreadable(f"{shown(path)}: not a path in the shared directory; write it relative to it")
    names = [name for name in PurePosixPath(path).parts if name != "."]
    if ".." in names:
        raise Unreadable(f"{shown(path)}: leads out of the shared directory; write it without `..`")
    if len(names) > DEPTH_MAX:
        raise Unreadable(f"{shown(path)}: more than {DEPTH_MAX} directories deep")
    return names


@contextmanager
def _told(path: str) -> Iterator[None]:
    """The kernel's refusals in our words."""
    try:
        yield
    except FileNotFoundError as error:
        raise Unreadable(f"{shown(path)}: not there") from error
    except BlockingIOError as error:  # a lease: its holder would have to let go first
        raise Unreadable(f"{shown(path)}: in use") from error
    except OSError as error:  # a link or no directory on the way, a name too long, …
        raise Unreadable(f"{shown(path)}: {error.strerror}") from error
    except ValueError as error:
        raise Unreadable(f"{shown(path)}: {error}") from error
