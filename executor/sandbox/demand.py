"""How many containers of a class should wait: from what was asked for lately, within what there is. Pure.

Times are seconds of a clock that only goes forward.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

WINDOW_S = 10.0
"""Arrivals within about this time count as one burst: what a refill cannot keep up with."""
TRACE = 0.05
"""So little of an arrival long ago is none."""
BURST_HALVES_S = 120.0
"""A burst is remembered, half as big after each of these."""
EXPECTED_S = 60.0
"""How long an announced demand is believed."""
USED_DEPTH = 48
"""What an idle service puts by of a class that is in use: a flow of dozens of steps, a loop."""
UNUSED_DEPTH = 12
"""The same of a language that nobody has used yet."""
FEW_USES_DEPTH = 4
"""The same of something particular (other limits, an image, a workspace's network) after its first use."""
STALE_S = 300.0
"""A class that was not asked for so long shrinks, by half in each further time of this length."""


@dataclass
class Demand:
    """What was asked of one class; `keep` containers wait even if nothing ever is, `depth` at most for the mere idleness."""

    keep: int = 0
    depth: int = USED_DEPTH
    last: float = -math.inf
    uses: int = 0
    _level: float = 0.0
    _peak: float = 0.0
    _peak_at: float = 0.0
    _expected: deque[tuple[float, int]] = field(default_factory=deque)

    def arrive(self, now: float) -> None:
        """A job asks for a container."""
        self._level = self._level * math.exp(-(now - self.last) / WINDOW_S) + 1
        self.last, self.uses = now, self.uses + 1
        if self._level >= self._remembered(now):
            self._peak, self._peak_at = self._level, now
        self._come_true()

    def expect(self, now: float, count: int) -> None:
        """So many jobs will soon ask."""
        self._expected.append((now + EXPECTED_S, count))

    def _come_true(self) -> None:
        if self._expected:
            until, count = self._expected.popleft()
            if count > 1:
                self._expected.appendleft((until, count - 1))

    def _remembered(self, now: float) -> float:
        return self._peak * math.exp2((self._peak_at - now) / BURST_HALVES_S)

    def need(self, now: float) -> int:
        """How many should wait as soon as can be: as many as came at once lately, or are to come."""
        while self._expected and self._expected[0][0] < now:
            self._expected.popleft()
        expected = sum(count for _, count in self._expected)
        burst = math.ceil(self._remembered(now) - TRACE) if self._depth(now) else 0
        return max(self.keep, burst, expected)

    def wish(self, now: float) -> int:
        """How many should wait once nothing else needs the CPU."""
        return max(self.need(now), self._depth(now))

    def _depth(self, now: float) -> int:
        if self.last == -math.inf:
            return min(self.depth, UNUSED_DEPTH) if self.keep else 0
        stale = max(0.0, now - self.last - STALE_S) / STALE_S
        whole = self.depth if self.keep else min(self.depth, FEW_USES_DEPTH * self.uses**2)
        return int(whole * math.exp2(-stale))


@dataclass(frozen=True)
class Share:
    """What one class asks of the whole: see `Demand`; `footprint_bytes` is what one container takes."""

    need: int
    wish: int
    footprint_bytes: int


def targets(shares: Sequence[Share], count: int, memory_bytes: int) -> list[tuple[int, int]]:
    """How many of each class should wait at once, and how many in the end, within both bounds.

    What all need goes before what anybody wishes. All get the same until they have enough; the last
    of it goes to those that come first.
    """
    given = [0] * len(shares)

    def give(most: Sequence[int]) -> None:
        nonlocal count, memory_bytes
        going = True
        while going:
            going = False
            for index, share in enumerate(shares):
                if given[index] < most[index] and count > 0 and memory_bytes >= share.footprint_bytes:
                    given[index] += 1
                    count -= 1
                    memory_bytes -= share.footprint_bytes
                    going = True

    give([share.need for share in shares])
    soon = list(given)
    give([share.wish for share in shares])
    return list(zip(soon, given, strict=True))


@dataclass(frozen=True)
class Pace:
    """How many containers may be made at once: for what is urgent, for what is needed, for what is wished."""

    urgent: int
    need: int
    wish: int


def pace(running: int, cores: int, rest_s: float, waited_s: float) -> Pace:
    """How fast to refill while `running` jobs go on.

    The last job came or went `rest_s` seconds ago; for `waited_s` seconds no container was made.
    Urgent is what a class has less than half of its need.
    """
    rests = rest_s >= REST_S
    if running == 0 and rests:
        many = min(cores + 1, 4)
        return Pace(many, many, 1)
    if running < cores:
        return Pace(2, 1, 1) if rests else Pace(2, int(running == 0), 0)
    return Pace(1, 1, 0) if waited_s >= PATIENCE_S else Pace(0, 0, 0)


REST_S = 0.5
"""After so long without a job's beginning or end, the CPU has time to spare."""
PATIENCE_S = 2.0
"""How long jobs that need the CPU may hold up a refill: then one is made all the same."""
