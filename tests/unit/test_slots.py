"""Whose turn it is: nobody over a share, nobody beyond the slots but a guest, who runs least first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executor.jobs.slots import GUESTS, Slots

NAMES = ("red", "green", "blue")


def unlimited(_: str) -> None:
    return None


def test_one_workspace_has_all_slots_and_not_the_guest_s() -> None:
    slots = Slots(2, unlimited)
    for _ in range(2):
        assert slots.has("red")
        slots.take("red")
    assert not slots.has("red")
    assert slots.has("blue"), "who runs nothing does not wait for others' jobs"
    slots.take("blue")
    assert not slots.has("green")
    slots.give_back("red")
    assert not slots.has("red")
    slots.give_back("blue")
    assert slots.has("red")


def test_who_runs_least_has_the_next_turn() -> None:
    slots = Slots(4, unlimited)
    for name in ("red", "red", "blue"):
        slots.take(name)
    for name in NAMES:
        slots.queued(name)
    assert list(slots.turns()) == ["green", "blue", "red"]
    slots.none_queued("green")
    slots.take("blue")
    assert list(slots.turns()) == [], "all slots are taken, and those that wait run something"
    slots.queued("green")
    assert list(slots.turns()) == ["green"]


def test_nobody_is_over_its_share() -> None:
    slots = Slots(4, {"red": 1}.get)
    slots.queued("red")
    assert slots.has("red")
    slots.take("red")
    assert not slots.has("red")
    assert slots.at_share() == ["red"]
    assert list(slots.turns()) == []


@given(
    count=st.integers(1, 4),
    shares=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)),
    acts=st.lists(st.tuples(st.booleans(), st.sampled_from(NAMES)), max_size=40),
)
def test_bounds_hold_whatever_happens(
    count: int, shares: dict[str, int], acts: list[tuple[bool, str]]
) -> None:
    slots, running = Slots(count, shares.get), list[str]()
    for starts, name in acts:
        if starts and slots.has(name):
            slots.take(name)
            running.append(name)
        elif not starts and name in running:
            slots.give_back(name)
            running.remove(name)
        assert len(running) <= count + GUESTS
        assert all(running.count(each) <= shares.get(each, count) for each in NAMES)
        assert slots.are_free == (len(running) < count)
