"""What is around a holder on this host: the host's own addresses, its resolvers, what must stay closed.

Read anew for each holder, and when it changes (executor.sandbox.hostwatch), from /proc and /etc/resolv.conf, of the network namespace that this process is in.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from executor.reach import Reach
from executor.sandbox.engine import Bridge
from executor.sandbox.firewall import METADATA, Surroundings

ENGINE_PORTS = (2375, 2376)
"""Where Docker engines listen by custom; whoever reaches one owns the host."""

LOCAL_V4 = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
RESOLVERS_MAX = 3
"""More than these no resolver library asks."""


def look_around(
    bridge: Bridge,
    *,
    service_port: int | None,
    dns: tuple[str, ...] | None,
    proc: Path = Path("/proc"),
    resolv_conf: Path = Path("/etc/resolv.conf"),
    environment: Mapping[str, str] = os.environ,
) -> Surroundings:
    """What is around holders on this bridge; `dns` in place of the host's resolvers, if given."""
    # Link-local ones, of which each container brings the host another, are closed as a whole.
    routed = (a for a in own_addresses(proc) if not ipaddress.ip_address(a).is_link_local)
    host = tuple(dict.fromkeys([*routed, *bridge.gateways]))
    found, resolving = host_resolvers(_read(resolv_conf))
    closed = tuple(sorted({*ENGINE_PORTS, *([service_port] if service_port else [])}))
    return Surroundings(
        host=host,
        never=(*(Reach(address, closed) for address in host), *engine_endpoint(environment)),
        holders=bridge.subnets,
        resolvers=tuple(filter(is_usable_resolver, found if dns is None else dns))[:RESOLVERS_MAX],
        resolving=resolving,
    )


def own_addresses(proc: Path) -> list[str]:
    """Every address of the host's interfaces but loopback's, IPv4 and IPv6."""
    v4 = LOCAL_V4.findall(_read(proc / "net/fib_trie"))
    v6 = [
        str(ipaddress.IPv6Address(int(line.split()[0], 16)))
        for line in _read(proc / "net/if_inet6").splitlines()
    ]
    return [a for a in dict.fromkeys([*v4, *v6]) if not ipaddress.ip_address(a).is_loopback]


def host_resolvers(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The resolvers that a resolv.conf names, and its other lines."""
    servers, others = [], []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            servers.append(words[1])
        elif words and words[0] in ("search", "domain", "options"):
            others.append(" ".join(words))
    return tuple(servers), tuple(others)


def is_usable_resolver(address: str) -> bool:
    """Whether a holder may ask it: not on the host's loopback, and not where metadata are."""
    try:
        network = ipaddress.ip_network(address)
    except ValueError:  # with an interface, as fe80::1%eth0
        return False
    closed = (refused.network for refused in METADATA if not refused.ports)
    return not network.is_loopback and not any(
        network.version == refused.version and network.overlaps(refused) for refused in closed
    )


def engine_endpoint(environment: Mapping[str, str]) -> tuple[Reach, ...]:
    """Where DOCKER_HOST says that the engine listens, if that is a TCP port."""
    address = urlsplit(environment.get("DOCKER_HOST", ""))
    found: set[str] = set()
    if address.scheme in ("tcp", "http", "https") and address.hostname:
        with suppress(OSError):  # then we do not reach the engine either
            found = {str(i[4][0]) for i in socket.getaddrinfo(address.hostname, None)}
    port = address.port or ENGINE_PORTS[0]
    return tuple(Reach(a, (port,)) for a in sorted(found) if "%" not in a)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
