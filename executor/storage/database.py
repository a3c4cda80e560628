"""The database: one engine, its settings, transactions off the event loop.

SQLite is the embedded default: WAL, every commit flushed to disk, one writer at a time. All writes
go through one thread, which SQLite would enforce anyway by making writers wait.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from executor.errors import ConfigurationError, Unavailable

T = TypeVar("T")

READERS = 4
BUSY_TIMEOUT_MS = 30_000
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Runs functions of a connection, each in a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")

    async def write(self, act: Callable[..., T], *args: Any) -> T:
        """`act(connection, *args)` in a transaction, committed when this returns."""
        return await self._run(self._writer, act, args)

    async def read(self, act: Callable[..., T], *args: Any) -> T:
        """`act(connection, *args)` on a consistent view; it must not write."""
        return await self._run(self._readers, act, args)

    async def _run(self, threads: ThreadPoolExecutor, act: Callable[..., T], args: tuple[Any, ...]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, self._transact, act, args)

    def _transact(self, act: Callable[..., T], args: tuple[Any, ...]) -> T:
        try:
            with self.engine.begin() as connection:
                return act(connection, *args)
        except DBAPIError as error:
            if error.connection_invalidated or "locked" in str(error.orig):
                raise Unavailable(f"the database does not answer: {error.orig}") from error
            raise

    def close(self) -> None:
        """Finish what is under way and close the connections."""
        self._writer.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


def connect(url: str) -> Engine:
    """An engine for `url` with this package's settings; nothing is read or created yet."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            raise ConfigurationError(
                f"EXECUTOR_DATABASE_URL: {parsed.get_backend_name()} is not supported; use sqlite:///PATH"
            )
        engine = create_engine(parsed)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"EXECUTOR_DATABASE_URL: {error}") from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN; the driver must not
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def migrate(engine: Engine) -> None:
    """Bring the database's tables up to this version of the package; safe to repeat."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
