"""What all tests share."""

from __future__ import annotations

import pytest

from executor import telemetry
from tests.servers.fixtures import mariadb_server, postgresql_server

__all__ = ["anyio_backend", "mariadb_server", "postgresql_server"]

telemetry.configure("warning")


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"
