"""The data directory: one service at a time, its identity, its token."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from executor import datadir
from executor.errors import ConfigurationError
from executor.settings import Settings


def settings(folder: Path, token: str | None = None) -> Settings:
    return Settings(data_dir=folder, token=token)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_its_owner_s(tmp_path: Path) -> None:
    """Arguments, results and the token are in it; it is made with its parents."""
    folder = tmp_path / "a" / "b"
    datadir.prepare(settings(folder))
    assert mode(folder) == 0o700
    assert datadir.containers(settings(folder)).is_dir()
    datadir.prepare(settings(folder))


def test_a_place_that_cannot_be_a_directory_is_refused_by_name(tmp_path: Path) -> None:
    """With the operating system's reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"EXECUTOR_DATA_DIR.*file"):
        datadir.prepare(settings(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="EXECUTOR_DATA_DIR"):
        datadir.prepare(settings(tmp_path / "file" / "below"))


def test_a_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """Long enough not to be guessed, the same at every start, shown as new only the first time."""
    token, is_new = datadir.admin_token(settings(tmp_path))
    assert is_new
    assert len(token) >= 32
    assert mode(tmp_path / "token") == 0o600
    assert datadir.admin_token(settings(tmp_path)) == (token, False)
    other = tmp_path / "other"
    other.mkdir()
    assert datadir.admin_token(settings(other))[0] != token


def test_a_token_that_was_set_is_used_and_not_written(tmp_path: Path) -> None:
    """It has its place already."""
    assert datadir.admin_token(settings(tmp_path, " secret ")) == ("secret", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_refused(tmp_path: Path, token: str) -> None:
    """Else everybody would know it."""
    with pytest.raises(ConfigurationError, match="EXECUTOR_TOKEN is empty"):
        datadir.admin_token(settings(tmp_path, token))


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_token_file_is_refused_with_its_remedy(tmp_path: Path, content: str) -> None:
    """A crash may leave one; it is never taken for a token."""
    (tmp_path / "token").write_text(content)
    with pytest.raises(ConfigurationError, match=r"token is empty; delete it"):
        datadir.admin_token(settings(tmp_path))


def test_a_token_of_the_operator_s_own_is_read_without_its_newline(tmp_path: Path) -> None:
    """As editors write files."""
    (tmp_path / "token").write_text("my-token\n")
    assert datadir.admin_token(settings(tmp_path)) == ("my-token", False)


def test_the_instance_keeps_its_name(tmp_path: Path) -> None:
    """Its containers of an earlier start are found by it."""
    assert datadir.instance(settings(tmp_path)) == datadir.instance(settings(tmp_path))


def test_a_second_service_on_one_directory_is_refused(tmp_path: Path) -> None:
    """And may start when the first has ended."""
    with (
        datadir.exclusive(settings(tmp_path)),
        pytest.raises(ConfigurationError, match="in use by another service"),
    ):
        datadir.exclusive(settings(tmp_path)).__enter__()
    with datadir.exclusive(settings(tmp_path)):
        pass
