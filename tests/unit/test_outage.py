"""When jobs wait for an engine, and when that has lasted too long."""

from __future__ import annotations

import pytest

from executor.errors import EngineTransient, EngineUnreachable
from executor.jobs import outage
from executor.jobs.outage import Outage

AWAY = EngineUnreachable("away")


def test_an_outage_is_bearable_for_a_while_and_the_next_one_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    seen = Outage(patience_s=60)
    told = []
    for pause in (0, 21, 21, 21, 21, outage.GAP_S + 1, 59, 1):
        now += pause
        told.append(seen.is_bearable(AWAY))
    assert told == [True, True, True, False, False, True, True, False]


def test_only_an_engine_that_does_not_answer_is_away() -> None:
    """One that answers with an error may have done what it was asked for."""
    assert not Outage(60).is_bearable(EngineTransient("500"))
