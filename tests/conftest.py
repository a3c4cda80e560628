"""What all tests share."""

from __future__ import annotations

import pytest

from executor import telemetry
from tests.databases import database_url, url
from tests.servers.fixtures import mariadb_server, postgresql_server

__all__ = ["anyio_backend", "database_url", "mariadb_server", "postgresql_server", "url"]

telemetry.configure("warning")


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"
