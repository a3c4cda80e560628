"""What a killed service or a failing test leaves mounted must not stay on this machine, nor fail the next tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox.shareddisk import tool
from tests.shared.bench import mounts_below


@pytest.fixture(autouse=True)
def nothing_stays_mounted(tmp_path: Path) -> Iterator[None]:
    yield
    for path in reversed(mounts_below(tmp_path)):
        tool("umount", "--lazy", path)
