"""The service's clock goes forward with the machine's, and never back."""

from __future__ import annotations

from executor.jobs.clock import Clock

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


class Hands:
    """The machine's two clocks, turned by hand."""

    wall, steady = 100 * HOUR, 0

    def pass_by(self, ns: int) -> None:
        """Time goes on."""
        self.wall += ns
        self.steady += ns


def test_set_forward_it_follows_at_once() -> None:
    hands = Hands()
    clock = Clock(lambda: hands.wall, lambda: hands.steady)
    hands.wall += 24 * HOUR
    assert clock.now_us() == hands.wall // 1000


def test_set_back_it_goes_on_at_half_speed_until_the_machine_has_caught_up() -> None:
    """So a wait of a second then lasts two, not an hour."""
    hands = Hands()
    clock = Clock(lambda: hands.wall, lambda: hands.steady)
    before = clock.now_us()
    hands.wall -= HOUR
    assert clock.now_us() == before
    hands.pass_by(2 * SECOND)
    assert clock.now_us() == before + 1_000_000
    for _ in range(130):
        hands.pass_by(60 * SECOND)
        clock.now_us()
    assert clock.now_us() == hands.wall // 1000, "two hours later both say the same"
