"""How often somebody may ask: a bucket for each user, and for each address without a right token.

A bucket is one number: the time at which it is full again. Full buckets are forgotten.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from executor import telemetry
from executor.errors import TooManyRequests
from executor.settings import Settings
from executor.workspace.tokens import Token

WRONG_BURST_S = 4.0
KEYS_MAX = 20_000


@dataclass
class Buckets:
    """Buckets of the same size, by name: `rate` uses a second, `burst_s` seconds' worth of them at once."""

    rate: float
    burst_s: float = 1.0
    clock: Callable[[], float] = time.monotonic
    _full_at: dict[str, float] = field(default_factory=dict)

    def wait_s(self, name: str) -> float:
        """How long until one may use this bucket; 0 for now."""
        return max(0.0, self._full_at.get(name, 0.0) + 1 / self.rate - self.clock() - self._depth_s)

    def use(self, name: str) -> float:
        """Use a bucket once; gives 0, or how long one has to wait to be let in."""
        now = self.clock()
        full_at = max(self._full_at.get(name, 0.0), now) + 1 / self.rate
        if (over := full_at - now - self._depth_s) > 1e-9:
            return over
        self._full_at[name] = full_at
        if len(self._full_at) > KEYS_MAX:
            self._forget(now)
        return 0.0

    @property
    def _depth_s(self) -> float:
        return max(self.burst_s, 1 / self.rate)  # one use must always fit

    def _forget(self, now: float) -> None:
        """Forget those that are full; if all are in use, the half that is full soonest."""
        kept = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        if len(kept) > KEYS_MAX // 2:
            fullest = sorted(kept.items(), key=lambda item: item[1])
            kept = dict(fullest[-KEYS_MAX // 2 :])
        self._full_at = kept


class Rates:
    """Counts requests. Not for threads: the event loop's alone."""

    def __init__(self, settings: Settings) -> None:
        self._open_max = settings.requests_open
        self._rate = settings.requests_per_s
        self._users = Buckets(settings.requests_per_s)
        self._strangers = Buckets(settings.wrong_tokens_per_s, WRONG_BURST_S)
        self._open: dict[str, int] = {}
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def enter(self, token: Token, client: str) -> str:
        """Count a request of a right token; gives what `leave` wants to be told.

        Counted is the user, who may have many tokens; a job's is counted by itself. Raises
        TooManyRequests: for them, and for an address that had too many wrong tokens, unless this
        one came from there before.
        """
        self._admit(client, f"{token.prefix}{token.job_id or ''}")
        who = f"job {token.job_id}" if token.job_id else f"user {token.user}"
        if wait_s := self._users.use(who):
            raise self._too_many(
                "rate",
                f"{who}: over {self._rate:g} requests a second",
                wait_s,
                "send fewer, or raise EXECUTOR_REQUESTS_PER_S",
            )
        count = self._open.get(who, 0)
        if count >= self._open_max:
            raise self._too_many(
                "open",
                f"{who}: {count} requests are open",
                1.0,
                "let some end first, or raise EXECUTOR_REQUESTS_OPEN",
            )
        self._open[who] = count + 1
        return who

    def leave(self, who: str) -> None:
        """A request that was let in has ended."""
        if (count := self._open[who] - 1) > 0:
            self._open[who] = count
        else:
            del self._open[who]

    def wrong(self, client: str) -> None:
        """Count a wrong token or signature, or none; raises TooManyRequests."""
        if wait_s := self._strangers.use(address_of(client)):
            raise self._blocked(wait_s)

    def right(self, client: str, key: str) -> None:
        """A right signature, or token of somebody who approves; raises TooManyRequests as `enter` does."""
        self._admit(client, key)

    def _admit(self, client: str, key: str) -> None:
        # Looked at for right ones too: else a guess would be told from the others by its answer.
        address = address_of(client)
        known = (address, key)
        if known in self._known:
            self._known.move_to_end(known)
        elif wait_s := self._strangers.wait_s(address):
            raise self._blocked(wait_s)
        else:
            self._known[known] = None
            if len(self._known) > KEYS_MAX:
                self._known.popitem(last=False)

    def _blocked(self, wait_s: float) -> TooManyRequests:
        return self._too_many(
            "strangers",
            "too many requests from this address without a right token or signature",
            wait_s,
            "wait, or raise EXECUTOR_WRONG_TOKENS_PER_S; behind a proxy set EXECUTOR_PROXIES",
        )

    def _too_many(self, why: str, detail: str, wait_s: float, remedy: str) -> TooManyRequests:
        telemetry.requests_refused.labels(why).inc()
        return TooManyRequests(detail, wait_s, remedy=remedy)


def address_of(client: str) -> str:
    """Whose address it is: of IPv6 the network, as everybody there has as many as they like."""
    if ":" not in client:
        return client
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    return address.exploded[:19]
