"""Reading what scripts left: nothing outside is ever reached, nothing is waited for, nothing is unbounded."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import Unreadable
from executor.sandbox.reading import DEPTH_MAX, list_files, open_file, read_file, shown

MAX = 1000
SECRET = b"a secret of the host"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def _no_descriptor_is_lost() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture(autouse=True)
def _nothing_is_waited_for() -> Iterator[None]:
    def alarm(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(root: Path, path: str, bytes_max: int = MAX) -> str:
    with pytest.raises(Unreadable) as caught:
        read_file(root, path, bytes_max)
    return str(caught.value)


def listed(root: Path, path: str = "") -> dict[str, tuple[str, int]]:
    listing = list_files(root, path, entries_max=1000)
    assert listing.is_whole
    return {entry.path: (entry.kind, entry.size_bytes) for entry in listing.entries}


def test_a_file_is_read_whole_wherever_it_is(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_bytes(b"x" * MAX)
    (root / "empty").touch()
    assert read_file(root, "a/b/file", MAX) == read_file(root, "./a/./b//file", MAX) == b"x" * MAX
    assert read_file(root, "empty", MAX) == b""
    with open_file(root, "a/b/file") as descriptor:
        assert os.pread(descriptor, 3, MAX - 3) == b"xxx"


@pytest.mark.parametrize(
    "target", ["../secret", "{absolute}", "/etc/passwd", "/proc/self/environ", "/dev/zero"]
)
def test_a_link_leads_nowhere(root: Path, target: str) -> None:
    """Neither as the file, nor as a directory on the way; a listing only says that it is one."""
    (root / "link").symlink_to(target.format(absolute=root.parent / "secret"))
    (root / "up").symlink_to("..")
    (root / "deep").mkdir()
    (root / "deep" / "root").symlink_to("/")
    assert "not a regular file" in refused(root, "link")
    for path, link in [("up/secret", "up"), ("deep/root/etc/passwd", "deep/root"), ("up/root/link", "up")]:
        assert refused(root, path) == f"'{link}': Not a directory"
    assert {path: kind for path, (kind, _) in listed(root).items()} == {
        "link": "link",
        "up": "link",
        "deep": "directory",
        "deep/root": "link",
    }
    with pytest.raises(Unreadable):
        list_files(root, "up", entries_max=10)


@pytest.mark.parametrize(
    "path", ["../secret", "a/../../secret", "/etc/passwd", "a\0b", "", ".", "..", "x/" * 99]
)
def test_a_path_that_is_none_of_the_directory_s_is_refused(root: Path, path: str) -> None:
    """Before anything is looked at."""
    (root / "a").mkdir()
    assert refused(root, path)


def test_pipes_sockets_directories_and_devices_are_no_files(root: Path) -> None:
    """Nobody who waits at a pipe's other end notices that we looked."""
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fsencode(root / "socket"))
        for name in ("pipe", "socket", "folder"):
            assert refused(root, name) == f"'{name}': not a regular file"
        assert {kind for kind, _ in listed(root).values()} == {"other", "directory"}
    writer = threading.Thread(target=lambda: os.close(os.open(root / "pipe", os.O_WRONLY)))
    writer.start()
    time.sleep(0.1)
    assert "not a regular file" in refused(root, "pipe")
    assert writer.is_alive(), "our look let the writer go on"
    os.close(os.open(root / "pipe", os.O_RDONLY))
    writer.join()


def test_a_file_over_the_bound_is_refused_without_being_read(root: Path) -> None:
    """Also one that claims to be a terabyte."""
    (root / "one too many").write_bytes(b"x" * (MAX + 1))
    assert f"over {MAX} bytes" in refused(root, "one too many")
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert f"over {MAX} bytes" in refused(root, "sparse")


def test_a_file_that_grows_meanwhile_is_bounded(root: Path) -> None:
    """Its size is only a promise: files of proc say 0."""
    assert "over 10 bytes" in refused(Path(f"/proc/{os.getpid()}"), "status", 10)


def test_a_lease_holds_nobody_up(root: Path) -> None:
    """A file that somebody leased would else be opened after 45 seconds only."""
    (root / "leased").touch()
    holder = (
        "import fcntl, signal, sys, time\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", holder, str(root / "leased")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "in use" in refused(root, "leased")
        process.kill()
    with (root / "leased").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_file(root, "leased", MAX) == b"", "locks are advice"


ODD = [
    b"\n",
    b"a\nb",
    b"\xff\xfe",
    b"\x1b[31mred",
    b"-rf",
    b" ",
    b"x" * 255,
    "…".encode() * 85,
    b"'\"`$(id)",
    b"~",
]


def test_odd_names_are_names(root: Path) -> None:
    """A name is read back by what the listing says it is."""
    for name in ODD:
        (root / os.fsdecode(name)).write_bytes(name)
    found = listed(root)
    assert {os.fsencode(path) for path in found} == set(ODD)
    for path in found:
        assert read_file(root, path, MAX) == os.fsencode(path)
    assert "strerror" not in refused(root, "x" * 256), "a name that cannot be"


def test_a_tree_deeper_than_a_path_can_name_is_listed_as_far_as_the_bound(root: Path) -> None:
    """Its names together are longer than the kernel takes at once."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH_MAX + 20):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    listing = list_files(root, entries_max=1000)
    assert (len(listing.entries), listing.is_whole) == (DEPTH_MAX + 1, False)
    subprocess.run(["rm", "-rf", root], check=True)


def test_a_listing_has_as_many_entries_as_asked_at_most(root: Path) -> None:
    """And says whether that was all."""
    for n in range(30):
        (root / f"d{n % 3}").mkdir(exist_ok=True)
        (root / f"d{n % 3}" / str(n)).touch()
    cut = list_files(root, entries_max=32)
    assert (len(cut.entries), cut.is_whole) == (32, False)
    assert list_files(root, entries_max=33).is_whole
    assert set(listed(root, "d1")) == {f"d1/{n}" for n in range(1, 30, 3)}


def test_what_changes_meanwhile_never_leads_outside(root: Path) -> None:
    """A directory that is a link at every other moment; reading gives the inner file or a refusal."""
    (root / "real").mkdir()
    (root / "real" / "secret").write_bytes(b"inner")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "real").rename(root / "way")
            (root / "way").rename(root / "real")
            (root / "way").symlink_to("..")
            (root / "way").unlink()

    def read(path: str) -> bytes:
        try:
            return read_file(root, path, MAX)
        except Unreadable:
            return b"refused"

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        seen = {read("way/secret") for _ in range(5000)}
        for _ in range(300):
            found = list_files(root, entries_max=100).entries
            assert {entry.path.split("/")[-1] for entry in found} <= {"real", "way", "secret"}
    finally:
        stop.set()
        swapping.join()
    assert seen <= {b"inner", b"refused"}
    assert b"refused" in seen


def test_a_file_that_becomes_a_link_between_our_looks_is_not_followed(root: Path) -> None:
    (root / "link").symlink_to("../secret")
    (root / "regular").write_bytes(b"inner")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for source in ("link", "regular"):
                os.link(root / source, root / "next", follow_symlinks=False)
                (root / "next").rename(root / "file")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for _ in range(20_000):
            try:
                seen.add(read_file(root, "file", MAX))
            except Unreadable as error:
                seen.add(str(error).encode())
    finally:
        stop.set()
        swapping.join()
    assert SECRET not in seen
    assert b"inner" in seen
    assert any(b"regular" in said for said in seen)


def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    assert "not there" in refused(tmp_path / "missing", "x")


def test_what_is_not_there_is_said(root: Path) -> None:
    assert refused(root, "no") == "'no': not there"
    with pytest.raises(Unreadable, match="'no': not there"):
        list_files(root, "no", entries_max=1)


@given(st.text())
def test_any_text_may_be_asked_for(text: str) -> None:
    """What is shown of it is one short printable line."""
    with tempfile.TemporaryDirectory() as empty, pytest.raises(Unreadable) as caught:
        read_file(Path(empty), text, MAX)
    assert str(caught.value).isprintable()
    assert len(shown(text)) <= 101
