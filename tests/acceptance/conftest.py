"""One real service for all acceptance tests that do not harm it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import RealService


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealService]:
    """A service that is shared by the tests of a module."""
    running = RealService(tmp_path_factory.mktemp("service") / "data")
    running.folder.mkdir()
    running.start()
    yield running
    running.stop()
    running.await_no_containers()
    running.close()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[RealService]:
    """A service for one test, not started yet; stopped at the end."""
    own = RealService(tmp_path / "data")
    own.folder.mkdir()
    yield own
    own.close()
