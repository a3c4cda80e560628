"""The service sweeps when it starts and leaves nothing mounted when it stops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.flows.running import Flows, script
from tests.service import local_service
from tests.shared.bench import everything_in, gone, loops_below, mounts_below

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]


async def test_a_service_has_shared_directories_of_the_settings_size(tmp_path: Path) -> None:
    """Nothing is mounted before the first is asked for, nor after an orderly stop."""
    async with local_service(tmp_path, shared_mb=20, shared_files=300) as local:
        assert mounts_below(tmp_path) == []
        assert local.service.shared is not None
        run = await local.service.shared.open("run")
        assert run.size_bytes == 20 << 20
        assert run.files is not None
        (run.files / "note").write_text("x")
    assert mounts_below(tmp_path) == []
    await gone(loops_below, tmp_path)
    async with local_service(tmp_path):
        await gone(lambda: [path for path in everything_in(tmp_path / "shared") if path.name == "image"])
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["runs"], (
        "no run outlives a service yet"
    )


async def test_a_run_s_directory_goes_with_the_run(tmp_path: Path) -> None:
    """However it ends: well, with a failure, cancelled, by force."""
    async with local_service(tmp_path) as service:
        shared, flows = service.service.shared, Flows(service)
        assert shared is not None
        for end in ("cancel", "force_cancel", None):
            run = await flows.start(script("a", {"sleep": 60 if end else 0.5}, {"exit": 1}), same_worker=True)
            await shared.open(run)
            assert (tmp_path / "shared" / "runs" / run).is_symlink()
            if end:
                await service.http.post(f"/api/w/main/jobs_u/queue/{end}/{run}")
            await service.ended(run)
            await gone(lambda run=run: [run] if (tmp_path / "shared" / "runs" / run).is_symlink() else [])
