"""Tests of durability run on each kind of database, as their `database_url` says to the services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import pytest

from tests.databases import fresh
from tests.mounted import nothing_stays_mounted

__all__ = ["nothing_stays_mounted"]

Fresh = Callable[[], AbstractContextManager[str | None]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)])
def fresh_database(request: pytest.FixtureRequest) -> Fresh:
    """Makes databases, each with a URL of its own; None: the SQLite file in a service's data directory."""
    if request.param == "sqlite":
        return nullcontext
    return partial(fresh, request.getfixturevalue("postgresql_server"))
