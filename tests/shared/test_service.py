"""The service sweeps when it starts and leaves nothing mounted when it stops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
    assert mounts_below(tmp_path) == loops_below(tmp_path) == []
    async with local_service(tmp_path):
        await gone(lambda: [path for path in everything_in(tmp_path / "shared") if path.name == "image"])
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["runs"], (
        "no run outlives a service yet"
    )
