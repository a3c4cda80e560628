"""One service on the fake engine for all tests of walks: each run is its own world."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.flows.running import Flows
from tests.service import local_service


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """As everywhere, but for the whole package: its service lives on one event loop."""
    return "asyncio"


@pytest.fixture(scope="package")
async def shared(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Flows]:
    """The service."""
    async with local_service(tmp_path_factory.mktemp("flows"), concurrency=4) as service:
        yield Flows(service)


@pytest.fixture
def flows(shared: Flows) -> Flows:
    """The service, with no functions of an earlier test."""
    shared.functions.clear()
    return shared
