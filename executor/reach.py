"""What jobs may reach over the network, and how much of it at once, as plain values.

Written `10.0.0.5`, `10.0.0.0/8:5432,5433` or `[fd00::/8]:5432` in settings and on the command line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

PORTS = range(1, 65536)
TEXT = re.compile(
    r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<plain>[^:\[\]]+|[^\[\]]*:[^\[\]]*:[^\[\]]*))(?P<ports>:[0-9]+(?:,[0-9]+)*)?"
)
EXAMPLE = "write for example 10.0.0.0/8, 10.0.0.5:5432,5433 or [fd00::/8]:5432"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Reach:
    """An address range in CIDR notation and the TCP ports on it; no ports means all of them.

    Raises ValueError for anything but a range whose host bits are zero, and ports from 1 to 65535.
    Equal ranges compare equal, however they were written.
    """

    cidr: str
    ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if "%" in self.cidr:  # ipaddress takes any text after it
            raise ValueError(f"{self.cidr!r} names an interface; {EXAMPLE}")
        if wrong := [port for port in self.ports if port not in PORTS]:
            raise ValueError(f"{wrong[0]} is not a port; use 1 to 65535")
        object.__setattr__(self, "cidr", str(ipaddress.ip_network(self.cidr)))
        object.__setattr__(self, "ports", tuple(sorted(set(self.ports))))

    @property
    def network(self) -> Network:
        """The range as a value."""
        return ipaddress.ip_network(self.cidr)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        if not self.ports:
            return self.cidr
        shown = f"[{self.cidr}]" if ":" in self.cidr else self.cidr
        return f"{shown}:{','.join(map(str, self.ports))}"


@dataclass(frozen=True)
class EgressLimits:
    """How much the jobs of one workspace together may ask of the network; all of them 1 or more.

    `connections` at once, and new ones a second; `lookups_per_s` are questions to resolvers. Of what is
    counted by the second, a second's worth may come at once.
    """

    connections: int = 256
    connections_per_s: int = 100
    lookups_per_s: int = 100

    def lowered(self, asked: Mapping[str, int | None]) -> EgressLimits:
        """The same with what is asked where that is lower."""
        return replace(
            self,
            **{name: min(value, getattr(self, name)) for name, value in asked.items() if value is not None},
        )


USUAL_LIMITS = EgressLimits()
"""Where nobody says otherwise."""


def parse(text: str) -> Reach:
    """Read one range with its ports; raises ValueError saying what to write."""
    match = TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address range; {EXAMPLE}")
    ports = (match["ports"] or "").removeprefix(":")
    try:
        return Reach(match["v6"] or match["plain"], tuple(int(port) for port in ports.split(",") if port))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; {EXAMPLE}") from error


def parse_all(text: str) -> tuple[Reach, ...]:
    """Read ranges that are separated by white space; raises ValueError for the first wrong one."""
    return tuple(parse(word) for word in text.split())
