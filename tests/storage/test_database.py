"""The database: its schema, its settings, its transactions."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from executor.errors import ConfigurationError, Unavailable
from executor.storage import engines
from executor.storage.database import Database, migrate
from executor.storage.engines import connect
from executor.storage.tables import job_output, jobs, metadata, workspaces
from tests.databases import LOCK, another_program
from tests.storage.rows import job_row
from tests.waiting import until


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = connect(url, writes=True)
    migrate(made)
    yield made
    made.dispose()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    made = Database(url)
    await made.migrate()
    yield made
    made.close()


def checks(engine: Engine, table: str) -> dict[str | None, str]:
    found = inspect(engine).get_check_constraints(table)
    return {check["name"]: str(check["sqltext"]) for check in found}


def test_migrations_from_empty_lead_to_the_tables(engine: Engine) -> None:
    """Every table, column, index, key and default; nothing is left to add or drop."""
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_policies_of_before_networks_counted_get_the_instance_s(url: str) -> None:
    """An empty list was what every policy had; from now on it means that nothing is reached."""
    engine = connect(url, writes=True)
    migrate(engine, "0001")
    stored = {"a": '{"networks": [], "concurrency": 2}', "b": '{"networks": [{"cidr": "::/0", "ports": []}]}'}
    with engine.begin() as connection:
        for name, policy in stored.items():
            row = {"id": name, "policy": policy}
            connection.execute(  # as that version had the table
                text("INSERT INTO workspaces (id, name, policy, created_at) VALUES (:id, :id, :policy, 0)"),
                row,
            )
    migrate(engine)
    with engine.connect() as connection:
        found = {row.id: json.loads(row.policy) for row in connection.execute(select(workspaces))}
    engine.dispose()
    assert found == {"a": {"concurrency": 2}, "b": json.loads(stored["b"])}


def test_migrations_lead_to_the_same_constraints(engine: Engine) -> None:
    """Checks are what alembic does not compare."""
    migrated = {table: checks(engine, table) for table in metadata.tables}
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert migrated == {table: checks(engine, table) for table in metadata.tables}
    assert len(migrated["jobs"]) == 5


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    """Every start does it."""
    with engine.begin() as connection:
        connection.execute(insert(workspaces).values(id="w", name="w", policy="{}", created_at=0))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(select(workspaces.c.id)).scalars().all() == ["w"]


def test_migrating_keeps_what_is_stored(url: str) -> None:
    """Tables that others refer to are copied with their rows; each workspace gets a key of its own."""
    made = connect(url, writes=True)
    migrate(made, "0001")
    with made.begin() as connection:
        connection.execute(
            text("INSERT INTO workspaces (id, name, policy, created_at) VALUES ('a', 'a', '{}', 0)")
        )
        connection.execute(
            text("INSERT INTO workspaces (id, name, policy, created_at) VALUES ('b', 'b', '{}', 0)")
        )
        columns = "id, state, kind, language, content, tag, limits, request_hash, created_by"
        connection.execute(
            text(
                f"INSERT INTO jobs (workspace_id, created_at, scheduled_for, {columns})"
                " VALUES ('a', 0, 0, 'j', 'queued', 'preview', 'bash', '', 'bash', '{}', 'h', 'admin')"
            )
        )
        connection.execute(text("INSERT INTO job_args (job_id, body) VALUES ('j', :body)"), {"body": b"{}"})
    migrate(made)
    with made.connect() as connection:
        keys = connection.execute(select(workspaces.c.key)).scalars().all()
        assert [len(key) for key in keys] == [32, 32]
        assert keys[0] != keys[1]
        assert connection.execute(select(jobs.c.id, jobs.c.role)).all() == [("j", "script")]
        if connection.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    made.dispose()


BROKEN: list[dict[str, Any]] = [
    {"state": "paused"},
    {"state": "completed"},
    {"state": "completed", "status": "success"},
    {"state": "completed", "completed_at": 1},
    {"state": "queued", "status": "success"},
    {"state": "queued", "completed_at": 1},
    {"state": "running"},
    {"state": "queued", "worker_id": "w"},
    {"state": "completed", "status": "success", "completed_at": 1, "worker_id": "w"},
    {"workspace_id": "nowhere"},
    {"content": None},
]


@pytest.mark.parametrize("broken", BROKEN, ids=[str(row) for row in BROKEN])
def test_the_database_refuses_a_job_that_cannot_be(engine: Engine, broken: dict[str, Any]) -> None:
    """States, ends and leases that contradict each other, and jobs of no workspace."""
    with engine.begin() as connection:
        connection.execute(insert(workspaces).values(id="main", name="main", policy="{}", created_at=0))
        connection.execute(insert(jobs).values(job_row("good")))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(jobs).values({**job_row("bad"), **broken}))


def test_output_is_of_a_known_kind_and_job(engine: Engine) -> None:
    """Nothing is written where nobody reads it."""
    for values in ({"job_id": "j", "kind": "noise"}, {"job_id": "nobody", "kind": "log"}):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(insert(job_output).values(position=0, text="", **values))


@pytest.mark.parametrize("writes", [False, True])
def test_durability_is_really_in_force_on_sqlite(tmp_path: Path, writes: bool) -> None:
    """WAL, every commit flushed, foreign keys, patience with other writers: on every connection."""
    own = connect(f"sqlite:///{tmp_path / 'x.db'}", writes=writes)
    with own.connect() as connection:

        def pragma(name: str) -> Any:
            return connection.execute(text(f"PRAGMA {name}")).scalar_one()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2, "FULL"
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == 30_000
    own.dispose()


@pytest.mark.parametrize(
    "wrong", ["nonsense", "", "mysql://localhost/x", "mysql+nosuch://x", "sqlite+nosuch:///x"]
)
def test_another_database_is_refused_by_the_setting_s_name(wrong: str) -> None:
    """Rather now than at the first job."""
    with pytest.raises(ConfigurationError, match="EXECUTOR_DATABASE_URL"):
        connect(wrong)


def put(connection: Connection, workspace_id: str) -> None:
    connection.execute(insert(workspaces).values(id=workspace_id, name="", policy="", created_at=0))


def ids(connection: Connection) -> list[str]:
    return list(connection.execute(select(workspaces.c.id).order_by(workspaces.c.id)).scalars())


@pytest.mark.anyio
async def test_what_was_written_is_read_at_once_by_everyone(database: Database) -> None:
    """A write that returned is committed, whoever asks."""
    for number in range(20):
        await database.write(put, f"w{number:02}")
        seen = await asyncio.gather(*(database.read(ids) for _ in range(6)))
        assert all(len(found) == number + 1 for found in seen)


@pytest.mark.anyio
async def test_writes_at_once_all_happen(database: Database) -> None:
    """They queue up instead of failing, also those that read first."""

    def count_up(connection: Connection) -> None:
        known = len(ids(connection))
        put(connection, f"w{known:03}")

    await asyncio.gather(*(database.write(count_up) for _ in range(50)))
    assert await database.read(ids) == [f"w{number:03}" for number in range(50)]


@pytest.mark.anyio
async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    """All or nothing, and the next one works."""

    def half(connection: Connection) -> None:
        put(connection, "half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(half)
    await database.write(put, "whole")
    assert await database.read(ids) == ["whole"]


@pytest.mark.anyio
async def test_writes_of_one_moment_share_a_commit(database: Database) -> None:
    """They happen in their order; one that raises leaves nothing, and takes nobody with it."""
    main = {"id": "main", "name": "main", "policy": "{}", "created_at": 0}
    await database.write(lambda c: c.execute(insert(workspaces), main))
    commits = 0

    def count(_: Connection) -> None:
        nonlocal commits
        commits += 1

    event.listen(database._writing, "commit", count)

    def add(connection: Connection, number: int) -> int:
        connection.execute(insert(jobs), job_row(f"job{number:02}"))
        if number == 7:
            raise KeyError(number)
        return len(connection.execute(select(jobs.c.id)).all())

    found = await asyncio.gather(
        *(database.write(add, number) for number in range(20)), return_exceptions=True
    )
    assert isinstance(found[7], KeyError)
    assert found[:7] + found[8:] == list(range(1, 20))
    alone = commits
    await asyncio.gather(*(database.write(add, number) for number in range(20, 40)))
    assert commits - alone < 10, "each would be one"
    ids = await database.read(
        lambda connection: connection.scalars(select(jobs.c.id).order_by(jobs.c.id)).all()
    )
    assert ids == [f"job{number:02}" for number in range(40) if number != 7]


@pytest.mark.anyio
async def test_who_has_gone_away_writes_nothing(database: Database) -> None:
    """A write that nobody waits for any more is not begun."""
    holding = threading.Event()
    first = asyncio.create_task(database.write(lambda _: holding.wait(10)))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(database.write(lambda c: c.execute(insert(jobs), job_row("never"))))
    await asyncio.sleep(0.05)
    second.cancel()
    holding.set()
    await first
    assert await database.write(lambda c: c.execute(select(jobs.c.id)).all()) == []


@pytest.mark.anyio
async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    """They see what was committed before, consistently."""

    def slowly(connection: Connection) -> None:
        put(connection, "slow")
        has_put.set()
        assert may_end.wait(10)

    has_put, may_end = threading.Event(), threading.Event()
    writing = asyncio.create_task(database.write(slowly))
    assert await asyncio.to_thread(has_put.wait, 10)
    assert await database.read(ids) == []
    may_end.set()
    await writing
    assert await database.read(ids) == ["slow"]


@pytest.mark.anyio
async def test_a_lock_of_somebody_else_is_waited_for(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as the busy time-out allows; longer, and the answer is Unavailable, not a crash."""
    with another_program(url) as other:
        lock = LOCK[database.engine.dialect.name]
        for statement in lock:
            other.exec_driver_sql(statement)
        writing = asyncio.create_task(database.write(put, "patient"))
        await asyncio.sleep(0.2)
        assert not writing.done()
        other.exec_driver_sql("COMMIT")
        await writing
        database.close()

        monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 50)
        hasty = Database(url)
        for statement in lock:
            other.exec_driver_sql(statement)
        with pytest.raises(Unavailable, match="does not work"):
            await hasty.write(put, "hasty")
        other.exec_driver_sql("COMMIT")
        await hasty.write(put, "hasty")
        assert await hasty.read(ids) == ["hasty", "patient"]
        hasty.close()


@pytest.mark.anyio
async def test_a_long_log_is_brought_in_beside_the_writes_and_begins_anew(tmp_path: Path) -> None:
    """Else it would grow with every big value; all that was written stays."""
    path = tmp_path / "executor.db"
    log = tmp_path / "executor.db-wal"
    database = Database(f"sqlite:///{path}")
    try:
        await database.migrate()
        size = 4 * engines.CHECKPOINT_BYTES

        def put(connection: Connection, name: str, length: int) -> None:
            values = {"id": name, "name": "x" * length, "policy": "{}", "created_at": 1}
            connection.execute(insert(workspaces).values(values))

        await database.write(put, "big", size)
        assert log.stat().st_size > size, "the write itself did not bring it in"
        await until(lambda: path.stat().st_size > size, 10)
        await until(lambda: database._checkpoint is not None and database._checkpoint.done(), 10)
        await database.write(put, "small", 1)
        assert log.stat().st_size <= engines.CHECKPOINT_BYTES
    finally:
        database.close()
    again = connect(f"sqlite:///{path}")
    with again.connect() as connection:
        lengths = connection.execute(select(func.length(workspaces.c.name)).order_by(workspaces.c.id))
        assert {size, 1} <= set(lengths.scalars())
    again.dispose()
