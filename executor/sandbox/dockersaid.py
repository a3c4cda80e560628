"""What the Docker engine says, in our words; pure. The calls themselves are in docker.py."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from typing import Any

from executor.sandbox.engine import Bridge


def private_ipv6_subnet() -> str:
    """A range of its own among the private ones (RFC 4193); older engines do not choose one themselves."""
    return str(ipaddress.IPv6Network((bytes([0xFD]) + secrets.token_bytes(7) + bytes(8), 64)))


def bridge_of(network: dict[str, Any]) -> Bridge:
    """What the engine tells of a network, without the length that some give with a gateway."""
    pools = network["IPAM"]["Config"]
    return Bridge(
        tuple(pool["Subnet"] for pool in pools),
        tuple(pool["Gateway"].partition("/")[0] for pool in pools if pool.get("Gateway")),
    )


def storage(info: Mapping[str, Any]) -> str:
    """How the engine keeps containers' files, for people."""
    beneath = dict(info.get("DriverStatus") or ()).get("Backing Filesystem")
    return f"{info.get('Driver', 'unknown')}{f' on {beneath}' if beneath else ''}"


def bounds_root(info: Mapping[str, Any]) -> bool:
    """Whether the engine may bound a root's size; of xfs only the mount's quota, hidden here, decides."""
    return info.get("Driver") in ("btrfs", "zfs") or storage(info) == "overlay2 on xfs"
