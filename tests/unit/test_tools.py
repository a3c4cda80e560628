"""Our files for foreign images: complete or not there, ours alone, and not kept for ever."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from executor.errors import EngineError
from executor.runtimes import scan
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.fake import FakeEngine
from executor.sandbox.hardening import harden
from executor.sandbox.spec import ContainerSpec
from executor.sandbox.tools import UNUSED_S, Tools, labels
from executor.script import resolve_limits
from executor.settings import LimitBounds

pytestmark = pytest.mark.anyio

HARD = harden(scan().by_name["bash"], resolve_limits({}, LimitBounds()))


class Odd(FakeEngine):
    """An engine in whose images these files lie."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    async def files(self, spec: ContainerSpec, path: str) -> bytes:
        """A tar of them."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for name in self.names:
                entry = tarfile.TarInfo(name)
                entry.size = 1
                tar.addfile(entry, io.BytesIO(b"x"))
        return content.getvalue()


def tools(engine: FakeEngine, folder: Path) -> Tools:
    cleanup = Cleanup(engine, folder / "in", "test", "worker")
    return Tools(engine, cleanup, folder / "tools", labels("test", "worker"))


async def test_files_can_be_read_by_all_and_written_by_nobody(tmp_path: Path) -> None:
    engine = FakeEngine()
    place = await tools(engine, tmp_path).of("image-of-bash", HARD)
    modes = {
        path.name: oct(path.stat().st_mode & 0o777) for path in place.rglob("*") if path.name != "digest"
    }
    assert modes == {"jobinit": "0o555", "runtime": "0o755", "runner.x": "0o444"}
    assert await tools(engine, tmp_path).of("image-of-bash", HARD) == place
    assert len(engine.read) == 1, "another process finds them there"
    await tools(engine, tmp_path).of("image-of-deno", HARD)
    assert len(engine.read) == 2, "another image has others"


async def test_only_ours_is_written_and_only_there(tmp_path: Path) -> None:
    engine = Odd(
        "executor/jobinit",
        "executor/in/x",
        "executor/runtime/../../../up",
        "../up",
        "/up",
        "executor/runtime/a",
    )
    place = await tools(engine, tmp_path).of("image-of-bash", HARD)
    found = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    assert found == ["digest", "jobinit", "runtime/a"]
    assert not list(tmp_path.rglob("up"))


async def test_an_image_without_jobinit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has no /executor/jobinit"):
        await tools(Odd("executor/runtime/a"), tmp_path).of("image-of-bash", HARD)
    assert list((tmp_path / "tools").iterdir()) == []
    engine = FakeEngine()
    engine.missing_images.add("image-of-bash")
    with pytest.raises(EngineError, match="executor images build"):
        await tools(engine, tmp_path).of("image-of-bash", HARD)


async def test_what_was_long_not_used_goes_and_what_a_crash_left(tmp_path: Path) -> None:
    engine = FakeEngine()
    kept, old = [await tools(engine, tmp_path).of(f"image-of-{name}", HARD) for name in ("bash", "deno")]
    (tmp_path / "tools" / ".unfinished-1").mkdir()
    long_ago = time.time() - UNUSED_S - 1
    for place in (kept, old):
        os.utime(place, (long_ago, long_ago))
    await tools(engine, tmp_path).of("image-of-bash", HARD)
    tools(engine, tmp_path).sweep()
    assert list((tmp_path / "tools").iterdir()) == [kept]
