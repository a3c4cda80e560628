"""The library's rows: secrets and their key over restarts, versions under concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, inspect, select

from executor.errors import ConfigurationError, Conflict, Unavailable
from executor.settings import Settings
from executor.storage.database import Database
from executor.storage.tables import scripts, variables, workspaces
from executor.workspace.library import Library, NotStored
from executor.workspace.scripts import NewScript, hash_of
from executor.workspace.variables import Variable

pytestmark = pytest.mark.anyio
SECRET = Variable("main", "f/x/secret", "hunter2", True, "", "admin", 0)


@pytest.fixture
def settings(tmp_path: Path, url: str) -> Settings:
    return Settings(data_dir=tmp_path, database_url=url)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    made = Database(settings.resolved_database_url())
    await made.migrate()
    main = insert(workspaces).values(id="main", name="main", policy="{}", created_at=0)
    await made.write(lambda connection: connection.execute(main))
    yield made
    made.close()


def key_file(settings: Settings) -> Path:
    return settings.data_dir / "secrets.key"


async def test_the_key_is_made_once_and_for_its_owner_only(settings: Settings, database: Database) -> None:
    await Library.open(database, settings)
    made = key_file(settings)
    assert made.stat().st_mode & 0o777 == 0o600
    before = made.read_text()
    library = await Library.open(database, settings)
    await library.create_variable(SECRET)
    assert made.read_text() == before
    assert await (await Library.open(database, settings)).variable("main", "f/x/secret") == "hunter2"


async def test_a_lost_key_stops_the_start_and_no_other_is_made(
    settings: Settings, database: Database
) -> None:
    """As long as there are secrets: others under a new key would make the loss final."""
    await (await Library.open(database, settings)).create_variable(SECRET)
    kept = key_file(settings).read_text()
    key_file(settings).unlink()
    with pytest.raises(ConfigurationError, match=r"secrets\.key is missing.*restore it"):
        await Library.open(database, settings)
    assert not key_file(settings).exists()
    key_file(settings).write_text(kept)
    assert await (await Library.open(database, settings)).variable("main", "f/x/secret") == "hunter2"


async def test_another_key_stops_the_start(settings: Settings, database: Database, tmp_path: Path) -> None:
    await (await Library.open(database, settings)).create_variable(SECRET)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigurationError, match=r"other/secrets\.key is missing"):
        await Library.open(database, Settings(data_dir=other))
    key_file(settings).unlink()
    empty = Database(f"sqlite:///{other / 'x.db'}")
    await empty.migrate()
    await Library.open(empty, settings)
    empty.close()
    with pytest.raises(ConfigurationError, match=r"secrets\.key is not the key with which"):
        await Library.open(database, settings)


async def test_without_secrets_a_lost_key_is_made_anew(settings: Settings, database: Database) -> None:
    library = await Library.open(database, settings)
    await library.create_variable(Variable(**{**vars(SECRET), "is_secret": False}))
    key_file(settings).unlink()
    assert await (await Library.open(database, settings)).variable("main", "f/x/secret") == "hunter2"


async def test_a_secret_copied_to_another_row_stays_closed(settings: Settings, database: Database) -> None:
    """Whoever can write to the database can still not have a secret under a name that he may read."""
    library = await Library.open(database, settings)
    await library.create_variable(SECRET)
    sealed = await database.read(lambda connection: connection.scalar(select(variables.c.value)))
    assert sealed is not None
    assert "hunter2" not in sealed
    row = {**vars(SECRET), "path": "f/x/copy", "value": sealed}
    await database.write(lambda connection: connection.execute(insert(variables).values(**row)))
    copy = await library.stored_variable("main", "f/x/copy")
    assert copy is not None
    with pytest.raises(Unavailable, match=r"secrets\.key"):
        library.decrypted(copy)
    with pytest.raises(NotStored, match=r"secrets\.key"):
        await library.variable("main", "f/x/copy")


async def test_of_many_who_replace_a_version_one_does(settings: Settings, database: Database) -> None:
    """And the database itself would not have two current versions."""
    library = await Library.open(database, settings)
    first = await library.create_script("main", NewScript("f/x/s", "bash", "0"), "admin", 0)
    news = [NewScript("f/x/s", "bash", str(n), parent_hash=first) for n in range(1, 20)]
    ends = await asyncio.gather(
        *(library.create_script("main", new, "admin", 0) for new in news), return_exceptions=True
    )
    hashes = [end for end in ends if isinstance(end, str)]
    assert [type(end) for end in ends if not isinstance(end, str)] == [Conflict] * 18
    current = await library.script("main", "f/x/s", None)
    assert current is not None
    assert [current.hash] == hashes
    with database.engine.connect() as connection:
        indexes = {index["name"]: index for index in inspect(connection).get_indexes("scripts")}
        assert indexes["ix_scripts_current"]["unique"]
        assert len(connection.execute(select(scripts)).all()) == 2


def test_a_version_keeps_the_name_that_it_had() -> None:
    """What versions can say by now changes nothing for those that do not say it."""
    old = NewScript("f/a/b", "bash", "echo")
    assert hash_of(old) == "12cdda02ff6b5265"
    assert hash_of(replace(old, concurrent_limit=1)) != hash_of(old)
