"""The database: one engine, its settings, transactions off the event loop.

SQLite is the embedded default: WAL, every commit flushed to disk, one writer at a time. All writes
go through one thread, which SQLite would enforce anyway by making writers wait.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError

from executor import telemetry
from executor.errors import ConfigurationError, Unavailable

T = TypeVar("T")

STORE_RETRY_S = 1.0
READERS = 4
BUSY_TIMEOUT_MS = 30_000
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Runs functions of a connection, each in a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)
        self._writing = connect(url, writes=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")

    async def write(self, act: Callable[..., T], *args: Any) -> T:
        """`act(connection, *args)` in a transaction, committed when this returns."""
        return await self._run(self._writer, self._writing, act, args)

    async def read(self, act: Callable[..., T], *args: Any) -> T:
        """`act(connection, *args)` on a consistent view; it must not write."""
        return await self._run(self._readers, self.engine, act, args)

    async def _run(
        self, threads: ThreadPoolExecutor, engine: Engine, act: Callable[..., T], args: tuple[Any, ...]
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, self._transact, engine, act, args)

    def _transact(self, engine: Engine, act: Callable[..., T], args: tuple[Any, ...]) -> T:
        try:
            with engine.begin() as connection:
                return act(connection, *args)
        except OperationalError as error:  # locked, away, read-only, disk full: it may pass
            raise Unavailable(f"the database does not work: {error.orig}") from error

    def close(self) -> None:
        """Finish what is under way and close the connections."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._writing.dispose()
        self.engine.dispose()


def connect(url: str, *, writes: bool = False) -> Engine:
    """An engine for `url` with this package's settings; nothing is read or created yet.

    With `writes` a transaction takes SQLite's write lock when it begins: one that reads first and
    writes then would fail when somebody else has written in between.
    """
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
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN; the driver must not
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine, version: str = "head") -> None:
    """Bring the database's tables up to this version of the package; safe to repeat.

    SQLite changes a table by copying it and dropping the old one, which a foreign key to it would
    forbid. So the keys are not enforced meanwhile, and checked before the commit.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys=OFF")  # means something outside a transaction only
        try:
            with connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, version)
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                if broken:
                    raise AssertionError(f"BUG: a migration broke foreign keys: {broken[:5]}")
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


async def insist(act: Callable[[], Awaitable[T]]) -> T:
    """Do it, again and again while the database does not answer: the end of a job must not be lost."""
    while True:
        try:
            return await act()
        except Unavailable as error:
            telemetry.log.error("the database does not answer", error=str(error))
            await asyncio.sleep(STORE_RETRY_S)
