"""Approvals as rows: how many there are, and how much of them there may be."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert

from executor.errors import Conflict, TooLarge
from executor.jobs import events
from executor.storage.tables import jobs
from tests.storage.rows import job_row


def sent(db: Connection, job_id: str, resume_id: int, payload: bytes = b"null") -> None:
    events.add(db, job_id, resume_id, True, None, payload, 1)


@pytest.fixture
def gates(db: Connection) -> list[str]:
    names = [f"gate {n}" for n in range(3 * events.IDS_AT_ONCE)]
    db.execute(insert(jobs), [job_row(name) for name in names])
    return names


def test_events_are_counted_of_any_number_of_gates(db: Connection, gates: list[str]) -> None:
    for name in gates[::2]:
        sent(db, name, 0)
    sent(db, gates[-2], 1)
    expected = dict.fromkeys(gates[::2], 1) | {gates[-2]: 2}
    assert events.counts(db, gates) == expected
    assert events.counts(db, []) == {}


def test_one_gate_s_payloads_are_bounded_together(
    db: Connection, gates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request that looks at a gate reads all of them, and anybody with its URLs may send one more."""
    monkeypatch.setattr(events, "BYTES_MAX", 10)
    sent(db, gates[0], 0, b'"45678"')
    with pytest.raises(TooLarge, match="payload"):
        sent(db, gates[0], 1, b'"45"')
    sent(db, gates[0], 1, b'"4"')
    with pytest.raises(TooLarge):
        sent(db, gates[0], 2, b"1")
    with pytest.raises(Conflict):
        sent(db, gates[0], 1, b"1")
    sent(db, gates[1], 0, b'"45678"')
    assert events.counts(db, gates) == {gates[0]: 2, gates[1]: 1}
