"""What a failing test leaves mounted must not fail the next ones, whose old folders pytest deletes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox.shareddisk import tool
from tests.shared.bench import mounts_below


@pytest.fixture(autouse=True)
def _nothing_stays_mounted(tmp_path: Path) -> Iterator[None]:
    yield
    for path in reversed(mounts_below(tmp_path)):
        tool("umount", "--lazy", path)
