"""The databases that jobs can be kept in: SQLite, and PostgreSQL 13 or newer.

On both one connection writes at a time, so that a statement never meets a row that changes under it:
on SQLite by its write lock, on PostgreSQL because the one connection that writes holds an advisory
lock for as long as it lives. So a second service on the same database does not start, and one whose
connection was lost writes no more once another has taken over.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

from executor.errors import ConfigurationError

BUSY_TIMEOUT_MS = 30_000
READERS = 4
CHECKPOINT_BYTES = 4 * 1024 * 1024
"""A write-ahead log over this size is brought into the database's file, beside the writes."""
CHECKPOINT_PAGES_MAX = 32_768
"""A log of so many pages, which no checkpoint could end because writes never paused, is by the writer itself."""
WRITER_LOCK = 0x6578_6563_7574_6F72  # "executor"
WRITER_LOCK_S = 10.0
"""A service that was just killed may still hold the lock: the server learns of its end in a moment."""
CONNECT_S = 10
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""TCP keepalive, in seconds: a server or a service whose machine is gone is noticed within half a minute."""


class InUse(psycopg.OperationalError):
    """Another service writes into this database."""


def connect(url: str, *, writes: bool = False) -> Engine:
    """An engine for `url` with this package's settings; nothing is read or created yet.

    With `writes` it is the one connection that may change anything. Raises ConfigurationError.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        if kind == "sqlite":
            return _sqlite(parsed, writes)
        if kind in ("postgresql", "postgres"):
            return _postgresql(parsed, writes)
    except Exception as error:
        raise ConfigurationError(f"EXECUTOR_DATABASE_URL: {error}") from error
    raise ConfigurationError(
        f"EXECUTOR_DATABASE_URL: {kind} is not supported; use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    )


# ------------------------------------------------------------ SQLite


def _sqlite(url: URL, writes: bool) -> Engine:
    """With `writes` a transaction takes the write lock when it begins.

    One that reads first and writes then would fail when somebody else has written in between.
    """
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare_sqlite)
    if writes:
        event.listen(engine, "connect", _let_log_grow)
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


def _let_log_grow(connection: sqlite3.Connection, _: Any) -> None:
    """SQLite would bring the log into the file within a commit, and let whoever waits for it wait twice as long.

    Once that is done, the log begins anew, and is cut to its usual size.
    """
    for pragma in (f"wal_autocheckpoint={CHECKPOINT_PAGES_MAX}", f"journal_size_limit={CHECKPOINT_BYTES}"):
        connection.execute(f"PRAGMA {pragma}")


def log_of(engine: Engine) -> Path | None:
    """The write-ahead log's file; None if this database has none of its own."""
    database = engine.url.database if engine.dialect.name == "sqlite" else None
    return Path(f"{database}-wal") if database else None


def checkpoint(engine: Engine) -> None:
    """Bring what the log has into the database's file, without keeping anybody from reading or writing."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # in a transaction it would be refused


# ------------------------------------------------------------ PostgreSQL


def _postgresql(url: URL, writes: bool) -> Engine:
    """Readers see one moment of the database for as long as they read, as on SQLite."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=1 if writes else READERS,
        max_overflow=0,
        pool_pre_ping=True,  # a server that was restarted costs a new connection, not a failed request
        connect_args={
            "connect_timeout": CONNECT_S,
            "application_name": "executor",
            "options": _server_settings(),
            **ALIVE,
        },
        execution_options={}
        if writes
        else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    )
    if writes:
        event.listen(engine, "connect", _take_writer_lock)
    return engine


def _server_settings() -> str:
    """What the server does for our connections: nobody waits for ever, and nobody's lock outlives them.

    Our statements take milliseconds; compiling one that looks dear to the server takes longer than any of them.
    """
    settings = {
        "lock_timeout": BUSY_TIMEOUT_MS,
        "jit": "off",
        **{f"tcp_{name}": value for name, value in ALIVE.items()},
    }
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _take_writer_lock(connection: Any, _: Any) -> None:
    """Hold the lock for as long as the connection lives. Raises InUse."""
    deadline = time.monotonic() + WRITER_LOCK_S
    while True:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_try_advisory_lock({WRITER_LOCK})")
            (is_ours,) = cursor.fetchone()
        connection.commit()
        if is_ours:
            return
        if time.monotonic() > deadline:
            connection.close()
            raise InUse("another service uses this database; stop it, or use another one")
        time.sleep(0.1)


def transaction_id(connection: Connection) -> str | None:
    """What a PostgreSQL transaction can be asked after by, once its connection is lost; None on SQLite."""
    if connection.dialect.name != "postgresql":
        return None
    return str(connection.exec_driver_sql("SELECT pg_current_xact_id()").scalar_one())


def has_committed(connection: Connection, transaction: str) -> bool | None:
    """Whether a transaction was committed; None while it is still under way."""
    status = connection.exec_driver_sql("SELECT pg_xact_status(%s::xid8)", (transaction,)).scalar_one()
    return None if status == "in progress" else status == "committed"
