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
    assert slots.turn(0) == "green"
    slots.looked_after("green")
    assert slots.turn(0) == "blue"
    slots.take("blue")
    assert slots.turn(0) is None, "all slots are taken, and those that wait run something"
    slots.queued("green")
    assert slots.turn(0) == "green"
    slots.take("green")
    slots.give_back("blue")
    assert slots.turn(0) is None, "the guest's place is taken, and no other one is free"
    slots.give_back("red")
    assert slots.turn(0) == "blue"


def test_a_turn_comes_when_a_job_is_due() -> None:
    """The earliest that was told of a workspace counts, until somebody has looked."""
    slots = Slots(1, unlimited)
    assert (slots.turn(9), slots.due(), slots.someone_waits) == (None, None, False)
    slots.queued("red", 20)
    slots.queued("red", 30)
    slots.queued("blue", 10)
    assert (slots.turn(9), slots.due()) == (None, 10)
    assert (slots.turn(10), slots.turn(20)) == ("blue", "blue")
    slots.looked_after("blue")
    assert (slots.turn(19), slots.turn(20), slots.due()) == (None, "red", 20)
    slots.take("red")
    assert (slots.turn(20), slots.due()) == (None, None), "only a free slot helps"
    slots.queued("green", 40)
    assert slots.due() == 40, "a guest need not wait for one"
    slots.looked_after("red")
    slots.looked_after("green")
    assert not slots.someone_waits


def test_nobody_is_over_its_share() -> None:
    slots = Slots(4, {"red": 1}.get)
    slots.queued("red")
    assert slots.has("red")
    slots.take("red")
    assert not slots.has("red")
    assert slots.turn(0) is None


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
        assert slots.has("somebody else") == (len(running) < count + GUESTS)
