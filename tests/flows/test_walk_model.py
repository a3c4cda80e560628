"""Random flows give what the reference model says, also when the service dies on the way."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from executor.flows.expressions.pool import Expressions
from executor.storage.database import Database
from executor.storage.tables import jobs
from tests.flows.lives import Lives, new_run, template
from tests.flows.model import SCRIPTS, Model, document, plain
from tests.flows.strategies import INPUT, flows

pytestmark = pytest.mark.anyio
MANY = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


@pytest.fixture(scope="module")
async def expressions(anyio_backend: str) -> AsyncIterator[Expressions]:
    """One pool for all lives."""
    async with Expressions() as pool:
        yield pool


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database."""
    return template(tmp_path_factory.mktemp("template") / "db")


def counting(ran: Counter[str]) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """The model's scripts, which count their runs."""

    def counted(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def act(args: dict[str, Any]) -> Any:
            ran[args["k"]] += 1
            return function(args)

        return act

    return {name: counted(function) for name, function in SCRIPTS.items()}


def scripts_of(connection: Connection, run_id: str) -> Counter[str]:
    """How many script jobs each step of a run has had that were really run."""
    rows = connection.execute(
        select(jobs.c.step_id).where(jobs.c.run_id == run_id, jobs.c.role == "script", jobs.c.attempt > 0)
    )
    return Counter(row.step_id.partition("-")[0] for row in rows)


async def in_lives(empty: Path, pool: Expressions, flow: Any, deaths: list[int]) -> None:
    """Run a flow, dying at these writes, and compare with the model."""
    model = Model()
    status, result = model.run(flow, INPUT)
    ran: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        lives = Lives(Path(folder), empty, pool, counting(ran))
        new = new_run(document(flow), INPUT)
        done = None
        for dies_at in [*deaths, None]:
            done = done or await lives.live(new, dies_at)
        assert done is not None
        found = plain(json.loads(done.result))
        assert (done.job.status, found) == (status, plain(result)), json.dumps([deaths, document(flow)])
        database = Database(lives.url)
        made = await database.read(scripts_of, new.id)
        unfinished = await database.read(left_over)
        database.close()
    assert made == model.ran, "one job for each script that is to run"
    assert unfinished == 0
    assert all(ran[step] >= times for step, times in made.items())
    assert ran.total() - made.total() <= 3 * len(deaths), "three at once: so many are lost in a death"


def left_over(connection: Connection) -> int:
    """How many jobs have not ended."""
    return len(connection.execute(select(jobs.c.id).where(jobs.c.state != "completed")).all())


@settings(MANY, max_examples=60)
@given(flow=flows())
async def test_a_walk_does_what_the_model_says(empty: Path, expressions: Expressions, flow: Any) -> None:
    """Status, result, and which scripts ran how often."""
    await in_lives(empty, expressions, flow, [])


@settings(MANY, max_examples=40)
@given(flow=flows(), deaths=st.lists(st.integers(2, 30), min_size=1, max_size=4))
async def test_a_walk_that_dies_does_so_too(
    empty: Path, expressions: Expressions, flow: Any, deaths: list[int]
) -> None:
    """Whenever it dies and begins again; what had ended is not run a second time."""
    await in_lives(empty, expressions, flow, deaths)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(MANY, max_examples=1000, derandomize=False)
@given(flow=flows(), deaths=st.lists(st.integers(2, 60), max_size=6))
async def test_many_more(empty: Path, expressions: Expressions, flow: Any, deaths: list[int]) -> None:
    """Others each time."""
    await in_lives(empty, expressions, flow, deaths)
