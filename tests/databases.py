"""The databases that tests of durability run on: SQLite, and PostgreSQL in a real server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, create_engine

from executor.storage.database import migrate
from executor.storage.engines import connect
from tests.servers.database import DatabaseServer

TEMPLATE = "migrated"
MAKING_TEMPLATE = threading.Lock()
LOCK = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN", "LOCK TABLE workspaces, jobs IN EXCLUSIVE MODE"),
}
"""Statements by which another program keeps ours from writing, until its COMMIT."""


@contextmanager
def fresh(server: DatabaseServer) -> Iterator[str]:
    """The URL of a PostgreSQL database of its own, with our tables in it; it is dropped at the end."""
    with MAKING_TEMPLATE, administrator(server) as ask:
        if not ask.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchall():
            ask.execute(f"CREATE DATABASE {TEMPLATE}")
            engine = connect(url_of(server, TEMPLATE), writes=True)
            migrate(engine)
            engine.dispose()
    with empty(server, TEMPLATE) as url:
        yield url


@contextmanager
def empty(server: DatabaseServer, template: str = "template1") -> Iterator[str]:
    """The URL of a PostgreSQL database as `template` is, by default without tables; it is dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    with administrator(server) as ask:
        ask.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield url_of(server, name)
    finally:
        with administrator(server) as ask:
            ask.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def administrator(server: DatabaseServer) -> Iterator[psycopg.Connection]:
    """A connection that may make and drop databases, each statement on its own."""
    with psycopg.connect(**server.connection(), autocommit=True) as connection:
        yield connection


def url_of(server: DatabaseServer, name: str) -> str:
    """The URL of one of the server's databases; encryption would be most of a short life's work."""
    where = f"{server.user}:{server.password}@{server.host}:{server.port}/{name}"
    return f"postgresql://{where}?sslmode=disable"


@contextmanager
def another_program(url: str) -> Iterator[Connection]:
    """A connection that is not ours, each statement on its own."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'executor.db'}"
    else:
        with empty(request.getfixturevalue("postgresql_server")) as made:
            yield made


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.engine)])
def database_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str | None]:
    """The setting of that name, for services in this process and those it starts: each kind of database.

    None: the SQLite file in the data directory.
    """
    if request.param == "sqlite":
        monkeypatch.delenv("EXECUTOR_DATABASE_URL", raising=False)
        yield None
    else:
        with fresh(request.getfixturevalue("postgresql_server")) as made:
            monkeypatch.setenv("EXECUTOR_DATABASE_URL", made)
            yield made
