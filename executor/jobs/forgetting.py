"""What `delete_after_use` leaves of a run's steps when the run has ended (docs/openflow.md section 1.9).

The walk has marked the steps in the journal, when it came to them. So whoever ends the run knows them:
those of inner flows and of copied failure modules too, and no other step of the same id.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, bindparam, delete, select

from executor.jobs import store
from executor.storage.tables import jobs, journal
from executor.storage.texts import ends_with

MARK = "/forget"
VALUES = ("/args", "/result", "/kept", "/iterator")
"""Entries of the journal that hold values of a step."""
_OF_STEP = re.compile(r"(.*?)(?:#\d+)?(?:\[\d+\]|\.branch\[(?:\d+|default)\])?(?:/none)?")
"""A job's place in the run: its step's, and which attempt, iteration or branch of it."""


def forget(connection: Connection, run_id: str) -> None:
    """Scrub the jobs of marked steps, and what the journal has of their values."""
    marked = connection.execute(
        select(journal.c.path, journal.c.value).where(
            journal.c.run_id == run_id, ends_with(journal.c.path, MARK)
        )
    ).all()
    if not marked:
        return
    places = {row.path.removesuffix(MARK) for row in marked}
    ids = {bytes(row.value).decode() for row in marked}
    copies = select(jobs.c.id, jobs.c.run_path).where(jobs.c.run_id == run_id, jobs.c.step_id.in_(ids))
    for row in connection.execute(copies).all():
        if _step_of(row.run_path) in places:
            store.scrub(connection, row.id)
    _forget_notes(connection, run_id, places)


def _forget_notes(connection: Connection, run_id: str, places: set[str]) -> None:
    paths = connection.execute(select(journal.c.path).where(journal.c.run_id == run_id)).scalars().all()
    spoken = [path for path in paths if path.endswith(VALUES) and _step_of(path.rpartition("/")[0]) in places]
    if spoken:
        here = (journal.c.run_id == run_id) & (journal.c.path == bindparam("place"))
        connection.execute(delete(journal).where(here), [{"place": path} for path in spoken])


def _step_of(place: str) -> str:
    found = _OF_STEP.fullmatch(place)
    return place if found is None else found[1]
