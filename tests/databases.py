"""The databases that tests of durability run on: SQLite, and PostgreSQL in a real server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import Connection, create_engine

from executor.storage.database import migrate
from executor.storage.engines import connect
from tests.servers.database import DatabaseServer

TEMPLATE = "migrated"


@contextmanager
def fresh(server: DatabaseServer) -> Iterator[str]:
    """The URL of a PostgreSQL database of its own, with our tables in it; it is dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    with administrator(server) as ask:
        if not ask.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchall():
            ask.execute(f"CREATE DATABASE {TEMPLATE}")
            engine = connect(url_of(server, TEMPLATE), writes=True)
            migrate(engine)
            engine.dispose()
        ask.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        yield url_of(server, name)
    finally:
        with administrator(server) as ask:
            ask.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def empty(server: DatabaseServer) -> Iterator[str]:
    """The URL of a PostgreSQL database with nothing in it; it is dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    with administrator(server) as ask:
        ask.execute(f"CREATE DATABASE {name}")
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
    """The URL of one of the server's databases."""
    return f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/{name}"


@contextmanager
def seen_from_outside(folder: Path, url: str | None) -> Iterator[Connection]:
    """A service's database as another program sees it, each statement on its own.

    `url` is None for the SQLite file in the service's data directory.
    """
    if url is None:
        engine = create_engine(f"sqlite:///{folder / 'executor.db'}", isolation_level="AUTOCOMMIT")
    else:
        engine = create_engine(
            url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
