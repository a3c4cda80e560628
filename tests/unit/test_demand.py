"""How many containers should wait: pure rules."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from executor.sandbox.demand import (
    BURST_HALVES_S,
    EXPECTED_S,
    PATIENCE_S,
    REST_S,
    UNUSED_DEPTH,
    USED_DEPTH,
    Demand,
    Pace,
    Share,
    pace,
    targets,
)

SHARES = st.lists(
    st.builds(
        lambda need, more, size: Share(need, need + more, size),
        st.integers(0, 30),
        st.integers(0, 30),
        st.integers(1, 100),
    ),
    max_size=6,
)


def after(*arrivals: float, keep: int = 0) -> Demand:
    demand = Demand(keep)
    for when in arrivals:
        demand.arrive(when)
    return demand


def test_what_nobody_asked_for_is_not_needed() -> None:
    assert (Demand().need(0), Demand().wish(0)) == (0, 0)
    assert (Demand(keep=1).need(0), Demand(keep=1).wish(0)) == (1, UNUSED_DEPTH)


def test_a_burst_is_needed_again_and_is_forgotten_by_halves() -> None:
    demand = after(*[0.0] * 30)
    assert demand.need(0) == 30
    assert demand.need(BURST_HALVES_S) == 15
    assert demand.need(7 * 24 * 3600) == 0


def test_what_comes_slowly_is_one_at_a_time() -> None:
    """A refill keeps up with it."""
    assert after(*(100.0 * number for number in range(50))).need(4900) == 1


def test_a_steady_stream_needs_about_what_comes_in_ten_seconds() -> None:
    assert 45 <= after(*(0.2 * number for number in range(500))).need(100) <= 52


def test_a_smaller_burst_does_not_hide_a_bigger_one() -> None:
    assert after(*[0.0] * 20, 60.0).need(60) == math.ceil(20 * 2**-0.5)


def test_what_is_in_use_is_put_by_in_dozens_what_is_particular_by_degrees() -> None:
    assert after(0, keep=1).wish(1) == USED_DEPTH
    assert [after(*[0.0] * uses).wish(1) for uses in (1, 2, 4)] == [4, 16, USED_DEPTH]


def test_expected_jobs_are_needed_until_they_come_or_do_not() -> None:
    demand = Demand()
    demand.expect(0, 3)
    demand.expect(0, 2)
    assert demand.need(1) == 5
    demand.arrive(1)
    assert demand.need(1) == 4
    assert demand.need(EXPECTED_S + 1) == 1


@given(SHARES, st.integers(0, 100), st.integers(0, 5000))
def test_targets_keep_both_bounds_and_nobody_gets_more_than_it_wishes(
    shares: list[Share], count: int, memory: int
) -> None:
    given_out = targets(shares, count, memory)
    assert sum(late for _, late in given_out) <= count
    assert (
        sum(late * share.footprint_bytes for (_, late), share in zip(given_out, shares, strict=True))
        <= memory
    )
    for (soon, late), share in zip(given_out, shares, strict=True):
        assert soon <= share.need
        assert soon <= late <= share.wish


@given(SHARES)
def test_with_room_for_all_all_get_all(shares: list[Share]) -> None:
    assert targets(shares, 10**6, 10**9) == [(share.need, share.wish) for share in shares]


def test_need_goes_before_wishes_and_room_is_shared() -> None:
    assert targets([Share(0, 50, 1), Share(4, 4, 1)], 6, 100) == [(0, 2), (4, 4)]
    assert targets([Share(9, 9, 1), Share(9, 9, 1)], 6, 100) == [(3, 3), (3, 3)]


def test_the_pace_leaves_the_cpu_to_jobs_but_never_stops_for_good() -> None:
    assert pace(0, 2, REST_S, 0) == Pace(3, 3, 1)
    assert pace(1, 2, 0, 0) == Pace(2, 0, 0)
    assert pace(1, 2, REST_S, 0) == Pace(2, 1, 1), "a job that merely lasts holds up nothing"
    assert pace(2, 2, REST_S, 0) == Pace(0, 0, 0)
    assert pace(9, 2, 0, PATIENCE_S) == Pace(1, 1, 0)
