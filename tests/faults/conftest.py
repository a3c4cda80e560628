"""Real services to be hurt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.mounted import nothing_stays_mounted

__all__ = ["nothing_stays_mounted"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RealService]:
    """A service for one test, not started yet; stopped at the end."""
    own = RealService(tmp_path / "data", EXECUTOR_CONCURRENCY="4")
    own.folder.mkdir()
    yield own
    own.close()
