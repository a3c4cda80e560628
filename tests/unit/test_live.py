"""A running job's output: told at once, stored a moment later, read as one text at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from executor.errors import Unavailable
from executor.jobs import live as live_module
from executor.jobs import store
from executor.jobs.desk import Desk, Output
from executor.jobs.live import LiveJob, Text, append
from executor.storage.database import Database, migrate
from executor.storage.tables import workspaces
from tests.storage.rows import new_job
from tests.waiting import until

JOB = "3f0f7f3e-0000-4000-8000-000000000000"
texts = st.text(st.characters(codec="utf-8"), max_size=5)


class Shaky(Database):
    """A database that refuses so many writes of output."""

    refusals = 0

    async def write(self, act: Any, *args: Any) -> Any:
        if self.refusals and act is append:
            self.refusals -= 1
            raise Unavailable("not now")
        return await super().write(act, *args)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Shaky]:
    made = Shaky(f"sqlite:///{tmp_path / 'x.db'}")
    migrate(made.engine)
    with made.engine.begin() as connection:
        connection.execute(insert(workspaces).values(id="main", name="", policy="{}", created_at=0))
        store.add(connection, new_job(id=JOB), "w", 1)
    yield made
    made.close()


@given(st.lists(texts), st.integers(0, 40), st.data())
def test_a_text_is_whole_wherever_it_is_cut(pieces: list[str], offset: int, data: st.DataObject) -> None:
    """What was stored at some moment, and what followed: together it is all from the offset on."""
    job = LiveJob(JOB, lambda: None)
    text = job.texts["log"]
    cut = data.draw(st.integers(0, len(pieces)))
    for number, piece in enumerate(pieces):
        if number == cut:
            text.taken(text.take())
        job.tell("log", piece)
    stored, whole = (
        "".join(pieces[:cut]) if cut < len(pieces) else "",
        "".join(pieces).replace("\0", "\ufffd"),
    )
    rest = job.after("log", len(stored), offset)
    assert rest is not None
    assert whole[: len(stored)][offset:] + rest == whole[offset:]
    assert text.length == len(whole)


def test_a_reader_that_looked_too_early_looks_again() -> None:
    """Between its look and now more was stored: what lies between is in neither part."""
    job = LiveJob(JOB, lambda: None)
    job.tell("log", "abc")
    job.texts["log"].taken("abc")
    assert job.after("log", 0, 0) is None
    assert job.after("log", 3, 0) == ""


def test_nul_is_replaced_without_moving_anything() -> None:
    """Not every database text can hold it."""
    text = Text()
    text.add("a\0b")
    assert (text.take(), text.length) == ("a\ufffdb", 3)


@pytest.mark.anyio
async def test_output_is_stored_soon_and_in_order(database: Shaky) -> None:
    """Many small pieces in few transactions; everyone who listens is told of each."""
    told = []
    job = LiveJob(JOB, lambda: told.append(1))
    keeping = asyncio.create_task(job.keep(database))
    for number in range(100):
        job.tell("log", f"{number},")
        job.tell("stream", "s")
        await asyncio.sleep(0.004)
    job.close()
    await keeping
    stored = [await database.read(store.output, JOB, kind) for kind in ("log", "stream")]
    waiting = {piece.kind: (piece.position, piece.text) for piece in job.waiting()}
    for kind, (text, length) in zip(("log", "stream"), stored, strict=True):
        assert length > 0, "some of it was stored while it went on"
        position, rest = waiting.get(kind, (length, ""))  # type: ignore[call-overload]
        assert position == length
        assert text + rest == ("".join(f"{n}," for n in range(100)) if kind == "log" else "s" * 100)
    assert len(told) == 200


@pytest.mark.anyio
async def test_output_survives_a_database_that_refuses(
    database: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost or doubled by trying again."""
    monkeypatch.setattr(live_module, "RETRY_S", 0.01)
    monkeypatch.setattr(live_module, "FLUSH_S", 0.01)
    database.refusals = 3
    job = LiveJob(JOB, lambda: None)
    keeping = asyncio.create_task(job.keep(database))
    for number in range(20):
        job.tell("log", f"{number},")
        await asyncio.sleep(0.01)
    await until(lambda: not job.waiting())
    job.close()
    await keeping
    whole = "".join(f"{n}," for n in range(20))
    assert await database.read(store.output, JOB, "log") == (whole, len(whole))


@pytest.mark.anyio
async def test_much_output_does_not_wait_for_the_next_flush(
    database: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by what comes while one write goes on."""
    monkeypatch.setattr(live_module, "FLUSH_S", 60)
    job = LiveJob(JOB, lambda: None)
    keeping = asyncio.create_task(job.keep(database))
    job.tell("log", "x" * live_module.FLUSH_CHARS)
    await until(lambda: not job.waiting())
    job.close()
    await keeping


@pytest.mark.anyio
async def test_a_second_run_that_has_not_looked_yet_hides_nothing(database: Shaky) -> None:
    """Its live part is empty and believes that nothing is stored; the reader knows better."""
    desk = Desk(database, 10)
    with database.engine.begin() as connection:
        store.append_output(connection, JOB, "log", 0, "abc")
    desk.live[JOB] = LiveJob(JOB, lambda: None)
    assert await desk.output(JOB, "log") == Output("abc", 3)
    assert await desk.output(JOB, "log", 3) == Output("", 3)
    assert await desk.output(JOB, "log", 9) == Output("", 9)
