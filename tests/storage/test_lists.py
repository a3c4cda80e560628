"""Pages of jobs: the order, each job once, and what is read for one: nothing of the thousands it does not show."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, update

from executor.jobs import filters, lists
from executor.storage.tables import job_args, jobs
from tests.storage.rows import job_row
from tests.storage.steps import steps

STATES = ["queued", "running", "completed", "queued", "completed", "running", "completed"]
MAIN = jobs.c.workspace_id == "main"


def stored(db: Connection, number: int, state: str, workspace: str = "main") -> None:
    row = {**job_row(f"{workspace} {number}"), "workspace_id": workspace, "created_at": number}
    more = {
        "queued": {},
        "running": {"worker_id": "w", "started_at": 5},
        "completed": {"status": "success", "started_at": 5, "completed_at": 9},
    }
    db.execute(insert(jobs).values(**row | {"state": state} | more[state]))


def ids(db: Connection, completed: bool | None, newest_first: bool, offset: int, limit: int) -> list[str]:
    found = lists.listed(
        db, [MAIN], completed=completed, newest_first=newest_first, offset=offset, limit=limit
    )
    return [job.id.removeprefix("main ") for job in found]


ORDERS = {
    (None, True): "5164320",
    (None, False): "1502346",
    (False, True): "5130",
    (False, False): "1503",
    (True, True): "642",
    (True, False): "246",
}


@pytest.mark.parametrize(("completed", "newest_first"), ORDERS)
def test_running_ones_come_first_then_by_age_page_by_page(
    db: Connection, completed: bool | None, newest_first: bool
) -> None:
    """Wherever a page begins and ends."""
    for number, state in enumerate(STATES):
        stored(db, number, state)
        stored(db, number, state, "other")
    whole = list(ORDERS[completed, newest_first])
    for offset in range(len(whole) + 2):
        for limit in range(1, len(whole) + 2):
            page = ids(db, completed, newest_first, offset, limit)
            assert page == whole[offset : offset + limit], (offset, limit)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("completed", [None, True, False])
def test_a_page_is_found_as_fast_among_thousands(db: Connection, completed: bool | None) -> None:
    for number, state in enumerate(STATES):
        stored(db, number, state)

    def page() -> None:
        lists.listed(db, [MAIN], completed=completed, newest_first=True, offset=0, limit=3)

    few = steps(db, page)
    for number in range(10, 2010):
        stored(db, number, "completed")
    assert steps(db, page) <= few + 5


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["running", "suspended"])
def test_the_few_that_have_not_ended_are_found_as_fast_among_thousands(db: Connection, name: str) -> None:
    where = filters.conditions("main", {name: True})

    def page() -> None:
        lists.listed(db, where, completed=False, newest_first=True, offset=0, limit=3)

    stored(db, 1, "running")
    few = steps(db, page)
    for number in range(10, 2010):
        stored(db, number, "completed")
    assert steps(db, page) <= few + 5


@pytest.mark.parametrize("completed", [None, True, False])
def test_a_list_reads_nothing_that_may_have_megabytes(db: Connection, completed: bool | None) -> None:
    """A page has a thousand jobs, and each a script of its own, or the state of a hundred thousand branches."""
    for number, state in enumerate(STATES):
        stored(db, number, state)
    db.execute(update(jobs).values(content="c", lock="l", flow_status="{}"))
    found = lists.listed(db, [MAIN], completed=completed, newest_first=True, offset=0, limit=9)
    assert {(job.content, job.lock, job.flow_status) for job in found} == {("", None, None)}
    assert found[0].language == "bash"


def test_contents_are_read_as_many_as_may_be_held(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that goes over the bound is the last; what is not asked for is not read."""
    monkeypatch.setattr(lists, "BODIES_BYTES", 10)
    for number in range(4):
        stored(db, number, "completed")
        db.execute(insert(job_args).values(job_id=f"main {number}", body=b'"345"'))
    names = [f"main {number}" for number in range(4)]
    assert lists.bodies(db, names, args=True, result=True) == [(b'"345"', None)] * 3
    assert lists.bodies(db, names[3:], args=True, result=False) == [(b'"345"', None)]
    assert lists.bodies(db, names, args=False, result=False) == [(None, None)] * 4
