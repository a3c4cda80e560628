"""Which writes share a transaction."""

from __future__ import annotations

from executor.storage.turns import GROUP_MAX, ROWS_MAX, Turns


def test_what_is_nobody_s_comes_first_and_in_order() -> None:
    turns: Turns[str] = Turns()
    turns.add("red", "red")
    for number in range(GROUP_MAX + 1):
        turns.add(str(number))
    assert turns.take() == [*map(str, range(GROUP_MAX)), "red"]
    assert turns.take() == [str(GROUP_MAX)]
    assert turns.take() == []


def test_workspaces_take_turns_and_each_keeps_its_order() -> None:
    turns: Turns[str] = Turns()
    for number in range(100):
        turns.add(f"red {number}", "red", rows=ROWS_MAX // 2)
    turns.add("blue 0", "blue", rows=10)
    turns.add("blue 1", "blue", rows=10)
    assert turns.take() == ["red 0", "blue 0", "red 1"], "and then it is full"
    assert turns.take() == ["blue 1", "red 2", "red 3"]
    assert turns.take() == ["red 4", "red 5"]


def test_a_big_one_goes_alone_but_goes() -> None:
    turns: Turns[str] = Turns()
    turns.add("big", "red", rows=50 * ROWS_MAX)
    turns.add("small", "red")
    assert turns.take() == ["big"]
    assert turns.take() == ["small"]


def test_many_small_ones_share_a_transaction() -> None:
    turns: Turns[int] = Turns()
    for number in range(3 * GROUP_MAX):
        turns.add(number, f"workspace {number}")
    assert turns.take() == list(range(2 * GROUP_MAX))
