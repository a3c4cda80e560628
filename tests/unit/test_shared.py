"""Which run has which directory, and when it goes; on plain folders, without mounting anything."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from executor.errors import NoRoom, NoSharedDirectory
from executor.sandbox import shared as shared_module
from executor.sandbox.shared import SharedDirectories, Size
from executor.sandbox.shareddisk import image_bytes
from executor.sandbox.spec import Bind
from tests.waiting import until

pytestmark = pytest.mark.anyio

SIZE = Size.of(16, 100)


class Folders:
    """`executor.sandbox.shared.Kind` without bounds: a folder in the place; it fails as it is told."""

    about = "folders"

    def __init__(self, name: str = "folder", *obstacles: Exception) -> None:
        self.name = name
        self.obstacles = list(obstacles)
        self.busy = 0
        self.made: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def make(self, place: Path, size: Size) -> None:
        assert self.gate.wait(10)
        (place / "files").mkdir()
        self.made.append(place.name)
        if self.obstacles:
            raise self.obstacles.pop(0)

    def find(self, place: Path) -> bool:
        return (place / "files").is_dir()

    def let_go(self, place: Path) -> None:
        raise OSError("let go? never")

    def held(self, place: Path, size: Size) -> int:
        return size.bytes

    def remove(self, place: Path) -> None:
        assert self.gate.wait(10)
        if self.busy:
            self.busy -= 1
            raise OSError("busy")
        shutil.rmtree(place / "files", ignore_errors=True)

    def mount(self, place: Path) -> Bind:
        return Bind(place / "files", "/shared", writable=True)

    def files(self, place: Path) -> Path:
        return place / "files"

    def sync(self, place: Path) -> None:
        (place / "files" / "synced").touch()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "RETRY_S", 0.01)


@asynccontextmanager
async def on(folder: Path, *kinds: Folders, spares: int = 0) -> AsyncIterator[SharedDirectories]:
    made = SharedDirectories(folder, SIZE, kinds, spares)
    yield made
    await made.settle(5)


def places(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.name != "runs")


async def nobody(_: str) -> bool:
    return False


async def test_a_run_is_given_what_its_containers_need(tmp_path: Path) -> None:
    async with on(tmp_path, kind := Folders()) as shared:
        run = await shared.open("run")
        assert run.mount == Bind(tmp_path / kind.made[0] / "files", "/shared", writable=True)
        assert (run.run_id, run.size_bytes, run.kind, run.is_new) == ("run", SIZE.bytes, "folder", True)
        await run.sync()
        assert run.files is not None
        assert (run.files / "synced").exists()


async def test_the_first_kind_that_works_is_used_and_the_others_obstacles_are_told(tmp_path: Path) -> None:
    """What a failed try left behind is removed; the choice holds from then on."""
    first = Folders("first", NoSharedDirectory("first: no devices"))
    second, third = Folders("second", OSError("no tool")), Folders("third")
    async with on(tmp_path, first, second, third) as shared:
        assert (await shared.open("run")).kind == "third"
        assert (await shared.open("other")).kind == "third"
        chosen = await shared.chosen()
        assert (chosen.kind, chosen.obstacles) == ("third", ("first: no devices", "second: no tool"))
        await until(lambda: len(places(tmp_path)) == 2)
    assert (len(first.made), len(second.made), len(third.made)) == (1, 1, 2)


async def test_without_any_kind_the_message_names_each_and_another_try_may_work(tmp_path: Path) -> None:
    async with on(tmp_path, Folders("first", OSError("a")), Folders("second", OSError("b"))) as shared:
        with pytest.raises(NoSharedDirectory, match="first: a; second: b"):
            await shared.open("run")
        assert (await shared.open("run")).kind == "first"


async def test_a_full_disk_is_no_reason_for_another_kind(tmp_path: Path) -> None:
    async with on(tmp_path, Folders("first", NoRoom("full")), Folders("second")) as shared:
        with pytest.raises(NoRoom):
            await shared.open("run")
        assert (await shared.open("run")).kind == "first"


async def test_who_waits_for_a_directory_may_give_up(tmp_path: Path) -> None:
    """The others who wait for the same one still get it."""
    async with on(tmp_path, kind := Folders()) as shared:
        kind.gate.clear()
        first, second = asyncio.create_task(shared.open("run")), asyncio.create_task(shared.open("run"))
        await asyncio.sleep(0.05)
        first.cancel()
        kind.gate.set()
        assert (await second).run_id == "run"
        assert len(kind.made) == 1


async def test_closing_does_not_wait_and_is_repeated_while_busy(tmp_path: Path) -> None:
    """Until it is gone the run may have a new directory already."""
    async with on(tmp_path, kind := Folders()) as shared:
        first = await shared.open("run")
        kind.busy = 3
        shared.close("run")
        second = await shared.open("run")
        assert second.is_new
        assert second.files != first.files
        await until(lambda: len(places(tmp_path)) == 1)
        assert kind.busy == 0


async def test_stopping_waits_for_removals_only_so_long(tmp_path: Path) -> None:
    """The next start's sweep goes on with them."""
    shared = SharedDirectories(tmp_path, SIZE, (kind := Folders(),), 0)
    await shared.open("run")
    kind.busy = 1_000_000
    shared.close("run")
    await asyncio.wait_for(shared.settle(0.1), 5)
    assert len(places(tmp_path)) == 1
    kind.busy = 0
    async with on(tmp_path, kind) as again:
        assert await again.sweep(nobody) == 1
        await until(lambda: places(tmp_path) == [])


async def test_a_sweep_takes_what_no_living_run_has(tmp_path: Path) -> None:
    """Asked while others are made, opened and closed, it takes none of theirs."""
    first = SharedDirectories(tmp_path, SIZE, (Folders(),), 0)
    for run_id in ("kept", "lost"):
        await first.open(run_id)
    (tmp_path / "folder-that-no-link-names").mkdir()
    kind = Folders()
    async with on(tmp_path, kind, spares=2) as shared:

        async def asked(run_id: str) -> bool:
            if run_id == "kept":
                await shared.open("meanwhile")
                await asyncio.sleep(0.05)  # spares are made as well
            return run_id in ("kept", "of-this-start", "meanwhile")

        await shared.open("of-this-start")
        await until(lambda: len(kind.made) == 3)
        (tmp_path / "runs" / ".unfinished-x").symlink_to("folder-that-no-link-names")
        assert await shared.sweep(asked) == 2
        await until(lambda: len(places(tmp_path)) == 5)
        for run_id, is_new in (("kept", False), ("meanwhile", False), ("lost", True)):
            assert (await shared.open(run_id)).is_new is is_new


async def test_spares_that_cannot_be_made_are_no_trouble_of_a_run_s(tmp_path: Path) -> None:
    kind = Folders()
    async with on(tmp_path, kind, spares=2) as shared:
        await shared.chosen()
        kind.obstacles = [OSError("full")]
        assert (await shared.open("run")).is_new
        await until(lambda: len(kind.made) == 2)
        assert (await shared.open("other")).is_new
        await until(lambda: len(kind.made) >= 4)


async def test_contents_that_are_lost_are_told(tmp_path: Path) -> None:
    async with on(tmp_path, Folders()) as shared:
        run = await shared.open("run")
        assert run.files is not None
        run.files.rmdir()
        assert (await shared.open("run")).is_new


async def test_a_link_that_leads_elsewhere_is_no_run_s_place(tmp_path: Path) -> None:
    """Not even one that could be a place by its name."""
    outside = tmp_path / "folder-outside"
    outside.mkdir()
    folder = tmp_path / "shared"
    async with on(folder, Folders()) as shared:
        await shared.open("run")
        for target in (str(outside), "../folder-outside", ".", "runs", "folder-x/../.."):
            link = folder / "runs" / "run"
            link.unlink()
            os.symlink(target, link)
            assert (await shared.open("run")).is_new, target
        assert outside.is_dir()


async def test_what_cannot_be_written_down_is_given_up(tmp_path: Path) -> None:
    """A directory that no restart would find is none."""
    async with on(tmp_path, Folders()) as shared:
        await shared.open("run")
        (tmp_path / "runs" / "other").mkdir()
        with pytest.raises(NoSharedDirectory, match="other"):
            await shared.open("other")
        await until(lambda: len(places(tmp_path)) == 1)
        (tmp_path / "runs" / "other").rmdir()


@pytest.mark.parametrize(("mb", "files", "most"), [(512, 100_000, 100_000), (16, 100_000, 4096), (16, 1, 1)])
def test_files_are_bounded_by_what_the_size_can_count(mb: int, files: int, most: int) -> None:
    size = Size.of(mb, files)
    assert (size.bytes, size.files) == (mb << 20, most)
    assert size.bytes < image_bytes(size) < size.bytes * 1.15 + (8 << 20)
