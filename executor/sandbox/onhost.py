"""Whether a name leads to this host: what a script names for the engine to reach is reached by the engine, beside every rule."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

from executor.sandbox.hostnet import own_addresses

PROC = Path("/proc")


def is_on_host(registry: str) -> bool:
    """Whether `HOST` or `HOST:PORT` is this host, or a place that only its neighbours know (link-local, metadata).

    Names are resolved, which may take a while; one that nobody knows leads nowhere.
    """
    host, _, port = registry.partition(":")
    try:
        found = socket.getaddrinfo(host, int(port or 443), type=socket.SOCK_STREAM)
    except (OSError, ValueError, OverflowError):
        return False
    addresses = {str(address[4][0]).partition("%")[0] for address in found}
    return bool(addresses & set(own_addresses(PROC))) or any(map(_is_near, addresses))


def _is_near(address: str) -> bool:
    known = ip_address(address)
    known = getattr(known, "ipv4_mapped", None) or known
    return known.is_loopback or known.is_link_local or known.is_unspecified
