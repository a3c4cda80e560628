"""What a runtime is called from: a copy in memory that nobody can change, not even whoever it makes room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox.oci.spawn import Runtime, Sealed, Spawner
from tests.waiting import until

pytestmark = pytest.mark.anyio
PROGRAM = str(Path("/bin/sleep").resolve())


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner()
    yield made
    made.close()


async def running_from(spawner: Spawner) -> tuple[str, bytes]:
    """Which file a called runtime runs from, and how it was called."""
    called = await spawner.call(Runtime("sleep", PROGRAM), ["60"], (0, 1, 2))
    process = Path(f"/proc/{called._process.pid}")
    try:
        await until(lambda: (process / "cmdline").read_bytes() != b"")  # for a moment of execve it has none
        return os.readlink(process / "exe"), (process / "cmdline").read_bytes()
    finally:
        called.kill()
        assert await called.code() == -9


async def test_a_runtime_runs_from_memory(spawner: Spawner) -> None:
    for _ in range(2):
        file, words = await running_from(spawner)
        assert file == "/memfd:sleep (deleted)"
        assert words == f"{PROGRAM}\0".encode() + b"60\0"


def test_the_copy_cannot_be_changed() -> None:
    sealed = Sealed(PROGRAM)
    try:
        assert Path(sealed.path).read_bytes() == Path(PROGRAM).read_bytes()
        with pytest.raises(PermissionError), open(sealed.path, "r+b", buffering=0) as copy:
            copy.write(b"x")
        with pytest.raises(PermissionError):
            os.truncate(sealed.path, 0)
    finally:
        sealed.close()


async def test_where_memory_may_hold_no_program_the_file_is_used(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError("vm.memfd_noexec is 2")

    monkeypatch.setattr(os, "memfd_create", refused)
    assert (await running_from(spawner))[0] == PROGRAM


async def test_a_program_that_is_not_there(spawner: Spawner) -> None:
    with pytest.raises(FileNotFoundError):
        await spawner.call(Runtime("crun", "/nowhere/crun"), [], (0, 1, 2))
