"""The database: transactions off the event loop, and its migrations.

All writes go through one thread and one connection; see `executor.storage.engines` for why. What comes
while a commit is under way shares the next one: a commit waits for the disk, whatever is in it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Error as SQLError
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, InterfaceError, InternalError, OperationalError

from executor import telemetry
from executor.errors import BadInput, ConfigurationError, Unavailable
from executor.storage.engines import (
    CHECKPOINT_BYTES,
    READERS,
    checkpoint,
    connect,
    has_committed,
    log_of,
    transaction_id,
)
from executor.storage.turns import Turns

T = TypeVar("T")

STORE_RETRY_S = 1.0
MIGRATIONS = Path(__file__).parent / "migrations"
AWAY = (OperationalError, InterfaceError)
"""Locked, away, read-only, disk full: it may pass."""
READ_ONLY = "25006"
"""What PostgreSQL says of a write while it is a standby, or was told to be read-only; that passes too."""
PROVEN_S = 1.0
"""A write that worked so lately proves that the next one would."""


@dataclass(frozen=True)
class Write:
    """A function of the writing connection, and who waits for what it gives."""

    act: Callable[..., Any]
    args: tuple[Any, ...]
    told: asyncio.Future[Any]

    def tell(self, outcome: Any) -> None:
        """Give the waiting one a value, or raise an exception there."""
        if self.told.done():  # nobody waits any more
            return
        if isinstance(outcome, Exception):
            self.told.set_exception(outcome)
        else:
            self.told.set_result(outcome)


class Database:
    """Runs functions of a connection, each in a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)
        self._writing = connect(url, writes=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._waiting: Turns[Write] = Turns()
        self._checkpointer = ThreadPoolExecutor(1, thread_name_prefix="db-checkpoint")
        self._checkpoint: Future[None] | None = None
        self._log = log_of(self.engine)
        self._closing = threading.Event()
        self._written_at = 0.0

    async def migrate(self) -> None:
        """Bring the tables up to this version.

        Raises ConfigurationError if the database does not answer or another service uses it.
        """
        await asyncio.get_running_loop().run_in_executor(self._writer, migrate, self._writing)

    async def write(self, act: Callable[..., T], *args: Any) -> T:
        """`act(connection, *args)` in a transaction, committed when this returns.

        Writes of one moment share a transaction; `act` may be called again if that fails for another
        one's sake. Raises Unavailable, and then nothing of it is stored.
        """
        return await self.write_in_turn("", act, *args)

    async def write_in_turn(self, whose: str, act: Callable[..., T], *args: Any, rows: int = 1) -> T:
        """As `write`, of a workspace whose clients decide how much there is of it: it takes turns with others."""
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.add(Write(act, args, told), whose, rows)
        self._writer.submit(self._write_waiting)
        try:
            return await told
        finally:
            self._tidy_log()

    async def read(self, act: Callable[..., T], *args: Any) -> T:
        """`act(connection, *args)` on a consistent view; it must not write. Raises Unavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, act, args)

    async def prove(self) -> None:
        """Return if writes and reads work now; raises Unavailable."""
        if time.monotonic() - self._written_at > PROVEN_S:
            await self.write(_write_nothing)
        await self.read(lambda connection: connection.execute(text("SELECT 1")).scalar_one())

    def _read(self, act: Callable[..., T], args: tuple[Any, ...]) -> T:
        try:
            with self.engine.begin() as connection:
                return act(connection, *args)
        except AWAY as error:
            raise away(error) from error
        except DataError as error:
            raise no_text(error) from error

    def _write_waiting(self) -> None:
        """Write what waits, which an earlier call may have done already."""
        if group := [write for write in self._waiting.take() if not write.told.cancelled()]:
            outcomes = self._outcomes(group)
            group[0].told.get_loop().call_soon_threadsafe(_tell, group, outcomes)

    def _outcomes(self, group: Sequence[Write]) -> list[Any]:
        """What each gives, or the exception that each raises; one's trouble is nobody else's."""
        try:
            return self._transaction(group)
        except Unavailable as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            if len(group) == 1:
                return [error]
            return [outcome for write in group for outcome in self._outcomes([write])]

    def _transaction(self, group: Sequence[Write]) -> list[Any]:
        """Do them all in one transaction; raises what any of them does, and then nothing is stored."""
        done: list[Any] = []
        transaction: str | None = None
        try:
            with self._writing.begin() as connection:
                transaction = transaction_id(connection)
                done.extend(write.act(connection, *write.args) for write in group)
        except AWAY as error:
            was_committing = len(done) == len(group) and transaction is not None
            if not (was_committing and self._has_committed(str(transaction))):
                raise away(error) from error
        except InternalError as error:
            if getattr(error.orig, "sqlstate", None) != READ_ONLY:
                raise
            raise away(error) from error
        except DataError as error:
            raise no_text(error) from error
        self._written_at = time.monotonic()
        return done

    def _tidy_log(self) -> None:
        """Have a long write-ahead log brought into the file, in a thread of its own."""
        if self._log is None or (self._checkpoint is not None and not self._checkpoint.done()):
            return
        with suppress(OSError, RuntimeError):  # it is not there yet; we are closing
            if self._log.stat().st_size > CHECKPOINT_BYTES:
                self._checkpoint = self._checkpointer.submit(self._bring_in)

    def _bring_in(self) -> None:
        try:
            checkpoint(self.engine)
        except (*AWAY, SQLError) as error:
            telemetry.log.warning("the database's log was not brought in; it grows", error=str(error))

    def _has_committed(self, transaction: str) -> bool:
        """Whether a commit happened whose answer was lost; asked until the server answers, or we close.

        Taken for a failure it would be repeated, and what is stored then stored twice.
        """
        while not self._closing.wait(STORE_RETRY_S):
            try:
                with self.engine.begin() as connection:
                    found = has_committed(connection, transaction)
            except AWAY as error:
                telemetry.log.error("the database does not answer", error=str(error.orig))
            else:
                if found is not None:
                    return found
        return False

    def close(self) -> None:
        """Finish what is under way and close the connections."""
        self._closing.set()
        self._writer.shutdown()
        self._readers.shutdown()
        self._checkpointer.shutdown()
        self._writing.dispose()
        self.engine.dispose()


def _tell(group: Sequence[Write], outcomes: Sequence[Any]) -> None:
    for write, outcome in zip(group, outcomes, strict=True):
        write.tell(outcome)


def _write_nothing(connection: Connection) -> None:
    """Change a row and change it back: SQLite writes no page that was never different."""
    for name in ("name || '.'", "substr(name, 1, length(name) - 1)"):
        connection.execute(text(f"UPDATE workspaces SET name = {name} WHERE id = 'main'"))


def away(error: OperationalError | InterfaceError | InternalError) -> Unavailable:
    """What the driver says, in our words."""
    return Unavailable(f"the database does not work: {str(error.orig).strip()}")


def no_text(error: DataError) -> BadInput | DataError:
    """PostgreSQL holds every text but one with a NUL character; any other such error is a bug of ours."""
    if "NUL" not in str(error.orig):
        return error
    return BadInput(
        "a text of the request has a NUL character, which the database cannot hold", remedy="leave it out"
    )


def migrate(engine: Engine, version: str = "head") -> None:
    """Bring the database's tables up to this version of the package; safe to repeat.

    Raises ConfigurationError if the database does not answer or another service uses it.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, version)

    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                _without_foreign_keys(connection, upgrade)
            else:
                with connection.begin():
                    upgrade(connection)
    except AWAY as error:
        where = engine.url.render_as_string(hide_password=True)
        raise ConfigurationError(f"EXECUTOR_DATABASE_URL: {where}: {str(error.orig).strip()}") from error


def _without_foreign_keys(connection: Connection, upgrade: Callable[[Connection], None]) -> None:
    """SQLite changes a table by copying it and dropping the old one, which a foreign key would forbid.

    So the keys are not enforced meanwhile, and checked before the commit.
    """
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF")  # means something outside a transaction only
    try:
        with connection.begin():
            upgrade(connection)
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
