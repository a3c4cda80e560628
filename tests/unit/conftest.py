"""What the unit tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pools import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.sandbox.close(5)
    assert made.engine.living == {}, "whatever waited is removed at the end"
    assert [path.name for path in tmp_path.iterdir() if path.name != "tools"] == []
