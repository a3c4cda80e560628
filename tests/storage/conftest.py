"""A database of the tests' own, on each kind of server, with two workspaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, insert

from executor.storage.database import migrate
from executor.storage.engines import connect
from executor.storage.tables import workspaces


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = connect(url, writes=True)
    migrate(made)
    with made.begin() as connection:
        for name in ("main", "other"):
            connection.execute(insert(workspaces).values(id=name, name=name, policy="{}", created_at=0))
    yield made
    made.dispose()


@pytest.fixture
def db(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection
