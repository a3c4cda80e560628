"""What a network refused to a job, told in the job's log: once for each target, and few of them.

Jobs of a workspace share their network. With one of them there, what was refused was refused to
that one; with several nobody knows to which, so each is told that it was a job of the workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from executor.reach import EgressLimits
from executor.sandbox.firewall import DNS_PORT, Why

TARGETS_MAX = 5
"""More are only counted."""
KNOWN_MAX = 1000
"""More are not even that."""


@dataclass(frozen=True)
class Refusal:
    """One target and why it was refused; `text` is that reason for people."""

    why: Why
    protocol: str
    address: str
    port: int | None

    @classmethod
    def read(cls, words: list[str]) -> Refusal:
        """From a holder's line `packet WHY PROTOCOL ADDRESS PORT`, without its first word; raises ValueError."""
        why, protocol, address, port = words
        return cls(Why(why), protocol, address, None if port == "-" else int(port))

    @property
    def target(self) -> str:
        """For example `tcp 10.0.0.5:5432`."""
        address = f"[{self.address}]" if ":" in self.address and self.port is not None else self.address
        return f"{self.protocol} {address}" + ("" if self.port is None else f":{self.port}")

    @property
    def is_limit(self) -> bool:
        """Whether it was refused for how much there was, not for where it went."""
        return self.why is not Why.POLICY

    def text(self, limits: EgressLimits, is_never: bool) -> str:
        """Why, for people; `is_never` where no policy opens the target."""
        match self.why:
            case Why.CONNECTIONS:
                return f"the workspace has {limits.connections} connections open already"
            case Why.RATE:
                return f"more than {limits.connections_per_s} new connections of the workspace in a second"
            case Why.LOOKUPS:
                return f"more than {limits.lookups_per_s} questions of the workspace to resolvers in a second"
            case Why.POLICY if is_never:
                return "no policy opens it"
            case Why.POLICY if self.protocol == "udp" and self.port == DNS_PORT:
                return "names are asked of the configured resolvers only"
            case Why.POLICY if self.protocol != "tcp":
                return "a policy opens TCP only"
            case Why.POLICY:
                return "the workspace's policy does not allow it"


class Refusals:
    """One job's: whoever writes to its log does so through `log`, and lines come between those of the script."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._at_line_start = True
        self._known: set[str] = set()
        self._waiting: list[str] = []
        self.has_failed = False
        """Whether the job did; then what was refused may be the reason."""

    @property
    def are_worth_a_wait(self) -> bool:
        """Whether an end waits for what is still to be told: others would wait a millisecond for nothing."""
        return self.has_failed or bool(self._known)

    def log(self, text: str) -> None:
        """Write what the script has said; after a whole line, what waits too."""
        if text:
            self._log(text)
            self._at_line_start = text.endswith("\n")
        if self._at_line_start:
            self._write()

    def take(self, refusal: Refusal, reason: str, *, is_alone: bool) -> None:
        """Note a refusal; told is each target once, and each limit once."""
        key = refusal.why.value if refusal.is_limit else refusal.target
        if key in self._known or len(self._known) >= KNOWN_MAX:
            return
        self._known.add(key)
        if len(self._known) <= TARGETS_MAX:
            who = "refused" if is_alone else "a job of this workspace was refused"
            self._waiting.append(f"[executor] {who}: {refusal.target} ({reason})\n")
        if self._at_line_start:
            self._write()

    def close(self) -> None:
        """The job has ended: write what waits, and how many more there were."""
        if (more := len(self._known) - TARGETS_MAX) > 0:
            least = "at least " if len(self._known) >= KNOWN_MAX else ""
            self._waiting.append(f"[executor] refused: {least}{more} more\n")
        if self._waiting and not self._at_line_start:
            self._log("\n")
        self._write()

    def _write(self) -> None:
        for line in self._waiting:
            self._log(line)
        self._waiting.clear()
