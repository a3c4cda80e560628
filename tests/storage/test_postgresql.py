"""What only a database on the other side of a network can do: go away, and come back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, make_url, select, text

from executor.errors import BadInput, ConfigurationError, Unavailable
from executor.storage import database as database_module
from executor.storage import engines
from executor.storage.database import Database
from executor.storage.tables import workspaces
from tests.databases import administrator, fresh
from tests.servers.database import DatabaseServer

pytestmark = [pytest.mark.anyio, pytest.mark.engine]


def put(connection: Connection, workspace_id: str) -> None:
    connection.execute(insert(workspaces).values(id=workspace_id, name="", policy="", created_at=0))


def ids(connection: Connection) -> list[str]:
    return list(connection.execute(select(workspaces.c.id).order_by(workspaces.c.id)).scalars())


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "STORE_RETRY_S", 0.05)
    monkeypatch.setattr(engines, "WRITER_LOCK_S", 0.5)


@pytest.fixture
def server_url(postgresql_server: DatabaseServer) -> Iterator[str]:
    with fresh(postgresql_server) as url:
        yield url


class Line:
    """A line to the server which can be cut: at once, or when a commit has been asked for, or answered."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = int(self._listening.getsockname()[1])
        self.cut_at_commit: str | None = None
        self._start(self._accept)

    def _start(self, act: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=act, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._ends += [client, server]
                committing = threading.Event()
                self._start(self._pass_on, client, server, True, committing)
                self._start(self._pass_on, server, client, False, committing)

    def _pass_on(
        self, source: socket.socket, target: socket.socket, asks: bool, committing: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if asks and b"COMMIT" in data and self.cut_at_commit is not None:
                    if self.cut_at_commit == "asked":
                        break
                    committing.set()
                elif not asks and committing.is_set():
                    break  # it has happened, and nobody is told
                target.sendall(data)
            else:
                return hang_up(source, target)
            self.cut_at_commit = None
        hang_up(source, target)

    def cut(self) -> None:
        """End every connection; new ones can be made."""
        hang_up(*self._ends)

    def close(self) -> None:
        """End every connection, and take no more."""
        hang_up(self._listening)
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listening, *self._ends):
            end.close()


def hang_up(*ends: socket.socket) -> None:
    """Neither side hears or says anything more."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(server_url: str) -> Iterator[Line]:
    parsed = make_url(server_url)
    assert parsed.host is not None
    assert parsed.port is not None
    made = Line(parsed.host, parsed.port)
    yield made
    made.close()


@pytest.fixture
async def database(server_url: str, line: Line) -> AsyncIterator[Database]:
    """Reached over the line, and not encrypted, so that the line sees what is said."""
    through = make_url(server_url).set(host="127.0.0.1", port=line.port, query={"sslmode": "disable"})
    made = Database(through.render_as_string(hide_password=False))
    await made.migrate()
    yield made
    made.close()


async def test_a_second_service_does_not_start(database: Database, server_url: str) -> None:
    """It would take the first one for dead; the password is not in the message."""
    second = Database(server_url)
    with pytest.raises(ConfigurationError, match=r"another service uses this database") as raised:
        await second.migrate()
    assert make_url(server_url).password not in (None, *str(raised.value).split(":"))
    second.close()


async def test_a_connection_that_was_lost_is_made_anew(database: Database, line: Line) -> None:
    """Nobody notices."""
    await database.write(put, "a")
    assert await database.read(ids) == ["a"]
    line.cut()
    await database.write(put, "b")
    assert await database.read(ids) == ["a", "b"]


@pytest.mark.parametrize("when", ["asked", "answered"])
async def test_a_commit_whose_answer_is_lost_happens_once(database: Database, line: Line, when: str) -> None:
    """If it was made, the write has succeeded; if not, it says so, and can be repeated."""
    await database.write(put, "before")
    line.cut_at_commit = when
    if when == "asked":
        with pytest.raises(Unavailable):
            await database.write(put, "a")
        assert await database.read(ids) == ["before"]
        await database.write(put, "a")
    else:
        await database.write(put, "a")
    assert line.cut_at_commit is None, "the line was cut"
    assert await database.read(ids) == ["a", "before"]


async def test_a_write_half_done_when_the_connection_goes_leaves_nothing(
    database: Database, line: Line
) -> None:
    """Unavailable, and the next one works."""

    def half(connection: Connection) -> None:
        put(connection, "half")
        line.cut()
        put(connection, "whole")

    with pytest.raises(Unavailable, match="does not work"):
        await database.write(half)
    assert await database.read(ids) == []


async def test_who_has_lost_the_database_to_another_writes_no_more(
    database: Database, line: Line, server_url: str
) -> None:
    """A service that was cut off for a while finds its successor at work."""
    await database.write(put, "first")
    line.cut()
    second = Database(server_url)
    await second.migrate()
    await second.write(put, "second")
    with pytest.raises(Unavailable, match="another service uses this database"):
        await database.write(put, "late")
    assert await database.read(ids) == ["first", "second"]
    second.close()
    await database.write(put, "late")


async def test_a_server_that_is_away_is_unavailable(
    database: Database, line: Line, server_url: str, postgresql_server: DatabaseServer
) -> None:
    """For reading and for writing, until it is back."""
    name = make_url(server_url).database
    with administrator(postgresql_server) as ask:
        ask.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        ask.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for act in (database.read(ids), database.write(put, "a")):
            with pytest.raises(Unavailable, match="does not work"):
                await act
        ask.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await database.write(put, "a")
    assert await database.read(ids) == ["a"]


async def test_the_line_can_be_encrypted_and_the_server_checked(
    server_url: str, postgresql_server: DatabaseServer, tmp_path: Path
) -> None:
    """As libpq's parameters in the URL say."""
    authority = tmp_path / "ca.pem"
    authority.write_text(postgresql_server.ca_pem)
    checked = make_url(server_url).set(query={"sslmode": "verify-full", "sslrootcert": str(authority)})
    is_encrypted = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    database = Database(checked.render_as_string(hide_password=False))
    assert await database.read(lambda connection: connection.scalar(is_encrypted)) is True
    database.close()
    unnamed = Database(checked.set(**postgresql_server.elsewhere).render_as_string(hide_password=False))
    with pytest.raises(ConfigurationError, match="certificate"):
        await unnamed.migrate()
    unnamed.close()


async def test_nothing_answers_there() -> None:
    """The process says so and does not start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nowhere = Database(f"postgresql://x:secret@127.0.0.1:{port}/x")
    with pytest.raises(ConfigurationError, match=r"EXECUTOR_DATABASE_URL.*refused") as raised:
        await nowhere.migrate()
    assert "secret" not in str(raised.value)
    nowhere.close()


async def test_a_text_with_a_nul_is_bad_input(database: Database) -> None:
    """The one character that PostgreSQL has no place for; the next write works."""
    with pytest.raises(BadInput, match="NUL"):
        await database.write(put, "a\0b")
    await asyncio.gather(*(database.write(put, name) for name in "ab"))
    assert await database.read(ids) == ["a", "b"]
