"""Kept programs: whole or not there, each workspace's apart, the least recently used go first."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox.programs import UNFINISHED, Programs

KEYS = [digit * 64 for digit in "abcdef"]


def programs(folder: Path, bytes_max: int = 1000) -> Programs:
    return Programs(folder / "programs", bytes_max)


def kept(folder: Path) -> set[str]:
    """What is in the folder, by workspace and the first letter of the key."""
    root = folder / "programs"
    return {f"{path.parent.name}/{path.name[0]}" for path in root.glob("*/*")}


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Path]:
    """Places to put programs."""

    def place() -> Iterator[Path]:
        for number in range(100):
            yield tmp_path / f"target{number}"

    return place()


def test_a_program_is_taken_as_it_was_put(tmp_path: Path, targets: Iterator[Path]) -> None:
    made = programs(tmp_path)
    assert not made.take("main", KEYS[0], next(targets))
    made.put("main", KEYS[0], b"program")
    target = next(targets)
    assert made.take("main", KEYS[0], target)
    assert target.read_bytes() == b"program"
    assert stat.S_IMODE(target.stat().st_mode) == 0o555


def test_no_workspace_takes_another_one_s_program(tmp_path: Path, targets: Iterator[Path]) -> None:
    made = programs(tmp_path)
    made.put("main", KEYS[0], b"program")
    assert not made.take("team-a", KEYS[0], next(targets))


@pytest.mark.parametrize(
    ("workspace", "key"), [("..", KEYS[0]), ("a/b", KEYS[0]), ("", KEYS[0]), ("a", "../x")]
)
def test_nothing_is_kept_elsewhere(tmp_path: Path, workspace: str, key: str) -> None:
    with pytest.raises(AssertionError, match="BUG"):
        programs(tmp_path).put(workspace, key, b"")


def test_the_least_recently_used_go_first(tmp_path: Path, targets: Iterator[Path]) -> None:
    made = programs(tmp_path, bytes_max=30)
    for place, key in enumerate(KEYS[:3]):
        made.put("main", key, b"0123456789")
        os.utime(tmp_path / "programs" / "main" / key, (place, place))
    made.take("main", KEYS[0], next(targets))
    made.put("team-a", KEYS[3], b"0123456789")
    assert kept(tmp_path) == {"main/a", "main/c", "team-a/d"}


def test_one_in_use_stays_where_it_was_put(tmp_path: Path, targets: Iterator[Path]) -> None:
    made = programs(tmp_path, bytes_max=10)
    made.put("main", KEYS[0], b"0123456789")
    target = next(targets)
    made.take("main", KEYS[0], target)
    made.put("main", KEYS[1], b"0123456789")
    assert kept(tmp_path) == {"main/b"}
    assert target.read_bytes() == b"0123456789"


def test_one_that_is_too_big_is_not_kept(tmp_path: Path) -> None:
    made = programs(tmp_path, bytes_max=10)
    made.put("main", KEYS[0], b"0123456789a")
    assert kept(tmp_path) == set()


def test_a_bound_that_was_lowered_holds_from_the_start(tmp_path: Path) -> None:
    programs(tmp_path).put("main", KEYS[0], b"0123456789")
    programs(tmp_path, bytes_max=5).sweep()
    assert kept(tmp_path) == set()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    made = programs(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="full"):
            made.put("main", KEYS[0], b"program")
    assert kept(tmp_path) == set()


def test_what_a_crash_left_half_written_goes_at_the_start(tmp_path: Path, targets: Iterator[Path]) -> None:
    made = programs(tmp_path)
    made.put("main", KEYS[0], b"program")
    (tmp_path / "programs" / "main" / f"{UNFINISHED}1").write_bytes(b"pro")
    made.sweep()
    assert kept(tmp_path) == {"main/a"}
    assert made.take("main", KEYS[0], next(targets))


def test_where_no_link_can_be_made_a_copy_is(
    tmp_path: Path, targets: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    made = programs(tmp_path)
    made.put("main", KEYS[0], b"program")
    target = next(targets)
    assert made.take("main", KEYS[0], target)
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"program", 0o555)
