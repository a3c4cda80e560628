"""The servers as fixtures; tests/conftest.py offers them to all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.database import DatabaseServer, running


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[DatabaseServer]:
    """A PostgreSQL server with TLS, for the whole session."""
    with running("postgresql") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[DatabaseServer]:
    """A MariaDB server with TLS, for the whole session."""
    with running("mariadb") as server:
        yield server
