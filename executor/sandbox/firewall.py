"""The rules of a holder: what its jobs may reach, as an nftables file.

A pure function of the policy and of what is around the holder. The file is loaded as one
transaction, so that a changed policy takes the place of the old one between two packets.
tests/unit/test_firewall.py states what holds for every policy.

Every packet is judged by where it goes, not by the connection it belongs to: a policy that becomes
narrower ends connections that it no longer allows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from executor.reach import EgressLimits, Network, Reach

TABLE = "executor"
LIMITS_TABLE = "executor_limits"
LOG_GROUP = 1
TOLD_PER_S = 500
"""So many refused packets a second are told; of a flood the rest is only refused."""
DNS_PORT = 53
NAMES_PORTS = (DNS_PORT, 853)
"""Where resolvers listen: a range without ports does not open these, or anybody might be asked for names."""
METADATA = (
    Reach("169.254.0.0/16"),  # link-local: nearly every cloud's metadata at 169.254.169.254
    Reach("fe80::/10"),
    Reach("fd00:ec2::254/128"),
    Reach("fd20:ce::254/128"),
    Reach("100.100.100.200/32"),
    Reach("168.63.129.16/32", (80, 32526)),  # Azure's host; it is a resolver too, which stays reachable
    Reach("64:ff9b::a9fe:0/112"),  # 169.254.0.0/16 through a NAT64 gateway
)
"""Where clouds hand out credentials to whoever asks from the right machine."""

ENGINE_RESOLVER = "127.0.0.11"
"""Where Docker answers names inside a container, by whatever resolver the host uses: not by ours."""

NEIGHBOURS = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert"
REFUSE = "goto refuse"


class Why(StrEnum):
    """Why a packet was refused, as the kernel's log says it: for where it goes, or for how many there are."""

    POLICY = "policy"
    CONNECTIONS = "connections"
    RATE = "rate"
    LOOKUPS = "lookups"


@dataclass(frozen=True)
class Surroundings:
    """What is around a holder: the host's own addresses, what no policy opens, whom to ask for names.

    `holders` are the ranges that holders themselves live in, `resolvers` the addresses that may be
    asked for names, and `resolving` the other lines of /etc/resolv.conf.
    """

    host: tuple[str, ...] = ()
    never: tuple[Reach, ...] = ()
    holders: tuple[str, ...] = ()
    resolvers: tuple[str, ...] = ()
    resolving: tuple[str, ...] = ()

    def resolv_conf(self, reach: tuple[Reach, ...]) -> str:
        """The /etc/resolv.conf of jobs; without a reach nobody may be asked, and that fails at once."""
        servers = [f"nameserver {address}" for address in self.resolvers] if reach else []
        return "".join(f"{line}\n" for line in (*servers, *self.resolving))

    def is_never_reached(self, address: str, port: int | None) -> bool:
        """Whether no policy opens this target."""
        host = ipaddress.ip_address(address)
        return address == ENGINE_RESOLVER or any(
            host in refused.network and (not refused.ports or port in refused.ports)
            for refused in (*METADATA, *self.never)
        )


def rules(reach: tuple[Reach, ...], around: Surroundings, *, telling: bool = True) -> str:
    """The nftables file by which jobs reach what `reach` says, less what is never reached.

    The host's own addresses are reached only where the policy names one by itself, with its ports.
    Refusals are told to the holder, unless `telling` is false.
    """
    body = "".join(f"    {rule}\n" for rule in output_rules(reach, around))
    return (
        f"table inet {TABLE}\n"
        f"delete table inet {TABLE}\n"
        f"table inet {TABLE} {{\n"
        f"{_refusing('refuse', Why.POLICY, telling)}"
        "  chain input {\n"
        "    type filter hook input priority filter; policy drop;\n"
        '    iif "lo" accept\n'
        "    ct state established,related accept\n"
        f"    icmpv6 type {{ {NEIGHBOURS} }} accept\n"
        "  }\n"
        "  chain forward {\n"
        "    type filter hook forward priority filter; policy drop;\n"
        "  }\n"
        "  chain output {\n"
        "    type filter hook output priority filter; policy drop;\n"
        f"{body}"
        "  }\n"
        "}\n"
    )


def limit_rules(limits: EgressLimits, *, telling: bool = True) -> str:
    """The nftables file by which jobs get so much of the network and no more.

    In a table of its own, behind the other one, as a table that is replaced forgets what it has
    counted. New connections alone are judged: an open one goes on, however many there are.
    """
    per_s, lookups = limits.connections_per_s, limits.lookups_per_s
    chains = "".join(_refusing(why.value, why, telling) for why in (Why.CONNECTIONS, Why.RATE, Why.LOOKUPS))
    return (
        f"table inet {LIMITS_TABLE}\n"
        f"delete table inet {LIMITS_TABLE}\n"
        f"table inet {LIMITS_TABLE} {{\n"
        f"{chains}"
        "  chain output {\n"
        "    type filter hook output priority filter + 1; policy accept;\n"
        '    oif "lo" accept\n'
        # The only UDP that comes here is for resolvers.
        f"    meta l4proto udp limit rate over {lookups}/second burst {lookups} packets goto {Why.LOOKUPS}\n"
        f"    meta l4proto tcp ct state new limit rate over {per_s}/second burst {per_s} packets goto {Why.RATE}\n"
        f"    meta l4proto tcp ct state new ct count over {limits.connections} goto {Why.CONNECTIONS}\n"
        "  }\n"
        "}\n"
    )


def _refusing(chain: str, why: Why, telling: bool) -> str:
    """A chain that refuses whatever comes; told is what a living process sends, not what outlived its sender."""
    told = (
        f"    meta skuid >= 0 limit rate {TOLD_PER_S}/second burst {TOLD_PER_S} packets"
        f' log prefix "{why}" group {LOG_GROUP} queue-threshold 1 snaplen 64\n'
    )
    return (
        f"  chain {chain} {{\n"
        f"{told if telling else ''}"
        # An ICMP error, which would tell more, comes before connect() listens: it then takes a second.
        "    meta l4proto tcp reject with tcp reset\n"
        "    reject with icmpx type admin-prohibited\n"
        "  }\n"
    )


def output_rules(reach: tuple[Reach, ...], around: Surroundings) -> Iterator[str]:
    """The rules for packets that leave, of which the first that fits decides."""
    host = [ipaddress.ip_network(address) for address in around.host]
    yield f"ip daddr {ENGINE_RESOLVER} {REFUSE}"
    yield 'oif "lo" accept'  # the jobs of one holder share it
    yield f"icmpv6 type {{ {NEIGHBOURS} }} accept"
    for refused in (*METADATA, *around.never):
        yield f"{_to([refused.network])}{_ports(refused.ports)} {REFUSE}"
    if reach:
        for address in around.resolvers:
            yield f"{_to([ipaddress.ip_network(address)])} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept"
    for named in reach:
        if named.ports and named.network in host:
            yield f"{_to([named.network])}{_ports(named.ports)} accept"
    for family in _by_family([*host, *map(ipaddress.ip_network, around.holders)]):
        yield f"{_to(family)} {REFUSE}"
    for allowed in reach:
        ports = _ports(allowed.ports) or f" tcp dport != {{ {', '.join(map(str, NAMES_PORTS))} }}"
        yield f"{_to([allowed.network])}{ports} accept"
    yield REFUSE


def _by_family(networks: Iterable[Network]) -> Iterator[list[Network]]:
    """IPv4's and IPv6's, each without overlaps, which a set of nftables may not hold."""
    found = list(networks)
    v4 = ipaddress.collapse_addresses(n for n in found if isinstance(n, ipaddress.IPv4Network))
    v6 = ipaddress.collapse_addresses(n for n in found if isinstance(n, ipaddress.IPv6Network))
    for family in (list[Network](v4), list[Network](v6)):
        if family:
            yield family


def _to(networks: list[Network]) -> str:
    word = "ip" if networks[0].version == 4 else "ip6"
    return f"{word} daddr {{ {', '.join(map(str, networks))} }}"


def _ports(ports: tuple[int, ...]) -> str:
    return f" tcp dport {{ {', '.join(map(str, ports))} }}" if ports else ""
