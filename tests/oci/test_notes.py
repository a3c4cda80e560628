"""Where the oci engine keeps what it must remember of containers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from executor.sandbox import kernel
from executor.sandbox.oci.engine import keep_in_memory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "containers"
    made.mkdir()
    return made


def test_notes_are_kept_in_memory_once(folder: Path) -> None:
    try:
        keep_in_memory(folder, disk=folder.parent)
        assert folder.is_mount()
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "note").write_text("kept")
        keep_in_memory(folder, disk=folder.parent)
        assert (folder / "note").read_text() == "kept"
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        assert sum(f" {folder} " in line for line in mounts) == 1
    finally:
        kernel.unmount(folder)
    assert not folder.is_mount()


def test_notes_of_another_service_are_not_hidden(folder: Path) -> None:
    (folder / "job").mkdir()
    (folder / "job" / "owner.json").write_text(json.dumps({}))
    keep_in_memory(folder, disk=folder.parent)
    assert not folder.is_mount()
    assert os.listdir(folder) == ["job"]


def test_where_run_is_in_memory_already_nothing_is_mounted(folder: Path) -> None:
    keep_in_memory(folder, disk=Path("/proc"))
    assert not folder.is_mount()
