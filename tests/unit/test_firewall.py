"""What holds for the rules of every policy; the kernel's own reading is in tests/security/test_egress.py."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from executor.reach import Address, EgressLimits, Reach
from executor.sandbox.firewall import Surroundings, Why, limit_rules, rules
from tests.unit.test_reach import reaches

RULE = re.compile(
    r"(?:(?P<family>ip6?) daddr (?:\{ (?P<set>[0-9a-f:./, ]+) \}|(?P<one>[0-9.]+)))?"
    r"(?: ?meta l4proto (?P<protocols>tcp|\{ tcp, udp \}))?"
    r"(?: (?:tcp|th) dport (?P<but>!= )?(?:\{ (?P<ports>[0-9, ]+) \}|(?P<port>[0-9]+)))?"
    r" ?(?P<verdict>accept|goto refuse)"
)
HOST = ("192.0.2.2", "172.30.0.1", "fd00::2", "fe80::1")
SERVICE = 8000
AROUND = Surroundings(
    host=HOST,
    never=(*(Reach(address, (SERVICE, 2375, 2376)) for address in HOST), Reach("10.1.2.3", (2376,))),
    holders=("172.30.0.0/16", "fd11::/64"),
    resolvers=("10.9.0.53", "192.0.2.2", "fd00::53"),
)


@dataclass(frozen=True)
class Packet:
    """A first packet to somewhere."""

    to: Address
    port: int
    protocol: str = "tcp"


def output_lines(text: str) -> list[str]:
    """The rules of the output chain, without those for our own interface and for neighbours."""
    lines = [line.strip() for line in text.partition("chain output {\n")[2].splitlines()]
    assert lines[0] == "type filter hook output priority filter; policy drop;"
    assert lines[-2:] == ["}", "}"]
    return [line for line in lines[1:-2] if not line.startswith(("oif", "icmpv6"))]


def is_let_through(text: str, packet: Packet) -> bool:
    """What the first rule that fits says; every rule must be one that this test understands."""
    for line in output_lines(text):
        match = RULE.fullmatch(line)
        assert match is not None, f"not understood: {line}"
        if fits(match, packet):
            return match["verdict"] == "accept"
    raise AssertionError("no rule fits, the last one should")


def fits(match: re.Match[str], packet: Packet) -> bool:
    if match["family"]:
        named = (match["set"] or match["one"]).split(", ")
        networks = [ipaddress.ip_network(name) for name in named]
        assert all(network.version == (4 if match["family"] == "ip" else 6) for network in networks)
        if not any(packet.to in network for network in networks):
            return False
    ports = match["ports"] or match["port"]
    protocols = (match["protocols"] or ("tcp" if ports else "")).strip("{ }").split(", ")
    if protocols != [""] and packet.protocol not in protocols:
        return False
    return ports is None or (packet.port in map(int, ports.split(", "))) != bool(match["but"])


def to(address: str, port: int, protocol: str = "tcp") -> Packet:
    return Packet(ipaddress.ip_address(address), port, protocol)


policies = st.lists(reaches, max_size=5).map(tuple)
ports = st.one_of(st.integers(1, 65535), st.sampled_from([53, 853]))
near_host = st.sampled_from([Reach(a, p) for a in HOST for p in [(), (22,), (SERVICE,), (2375,)]])
wide = st.lists(st.one_of(reaches, near_host), max_size=6).map(tuple)


@given(wide, ports, st.sampled_from(["169.254.169.254", "169.254.170.2", "fe80::a9fe:a9fe", "fd00:ec2::254",
                                     "100.100.100.200", "64:ff9b::a9fe:a9fe"]))  # fmt: skip
def test_metadata_are_never_reached(reach: tuple[Reach, ...], port: int, address: str) -> None:
    """Not on any port, by any protocol, whatever the policy says."""
    around = Surroundings(resolvers=(address,), host=("192.0.2.2",))  # even if somebody trusted it with names
    text = rules((*reach, Reach(address), Reach(address, (port,))), around)
    for protocol in ("tcp", "udp"):
        assert not is_let_through(text, to(address, port, protocol))


@given(wide, st.sampled_from(HOST), st.sampled_from([SERVICE, 2375, 2376]))
def test_the_service_and_the_engine_are_never_reached(
    reach: tuple[Reach, ...], address: str, port: int
) -> None:
    """Not even by a policy that names address and port."""
    text = rules((*reach, Reach(address, (port,)), Reach("10.1.2.3", (2376,))), AROUND)
    assert not is_let_through(text, to(address, port))
    assert not is_let_through(text, to("10.1.2.3", 2376))


@given(wide, st.sampled_from(HOST[:3]), ports)
def test_the_host_is_reached_only_by_address_and_port(
    reach: tuple[Reach, ...], address: str, port: int
) -> None:
    """A range around it does not open it, nor does its address without a port."""
    assume(port not in (53, SERVICE, 2375, 2376))
    named = any(r.network == ipaddress.ip_network(address) and port in r.ports for r in reach)
    text = rules((*reach, Reach("0.0.0.0/0"), Reach("::/0"), Reach(address)), AROUND)
    assert is_let_through(text, to(address, port)) == named
    assert is_let_through(rules((*reach, Reach(address, (port,))), AROUND), to(address, port))


@given(wide, ports, st.sampled_from(["172.30.0.2", "172.30.255.254", "fd11::2", "127.0.0.11"]))
def test_other_holders_and_the_engine_s_resolver_are_never_reached(
    reach: tuple[Reach, ...], port: int, address: str
) -> None:
    text = rules((*reach, Reach(address), Reach(address, (port,))), AROUND)
    assert not is_let_through(text, to(address, port))


elsewhere = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="2001:db8::/32")
)


@given(policies, elsewhere, ports)
def test_elsewhere_is_reached_as_the_policy_says(
    reach: tuple[Reach, ...], address: Address, port: int
) -> None:
    """By TCP; by UDP nothing is, and where resolvers listen nothing without its port."""
    assume(str(address) not in ("10.1.2.3", "10.9.0.53"))
    allowed = any(
        address in r.network and (port in r.ports if r.ports else port not in (53, 853)) for r in reach
    )
    text = rules(reach, AROUND)
    assert is_let_through(text, Packet(address, port)) == allowed
    assert not is_let_through(text, Packet(address, port, "udp"))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_resolvers_answer_those_who_may_reach_anything(protocol: str) -> None:
    """A resolver carries data too: without a policy there is none."""
    for resolver in AROUND.resolvers:
        packet = to(resolver, 53, protocol)
        assert is_let_through(rules((Reach("10.0.0.1"),), AROUND), packet)
        assert not is_let_through(rules((), AROUND), packet)
    assert not is_let_through(rules((Reach("10.0.0.1"),), AROUND), to("10.9.0.54", 53, protocol))


def test_resolv_conf_names_whom_the_rules_let_through() -> None:
    around = Surroundings(resolvers=("10.9.0.53",), resolving=("search example.org",))
    assert around.resolv_conf((Reach("10.0.0.1"),)) == "nameserver 10.9.0.53\nsearch example.org\n"
    assert around.resolv_conf(()) == "search example.org\n"


def test_nobody_gets_in_and_nothing_is_forwarded() -> None:
    text = rules((Reach("0.0.0.0/0"),), AROUND)
    assert "hook input priority filter; policy drop;" in text
    assert "hook forward priority filter; policy drop;" in text
    assert "hook output priority filter; policy drop;" in text
    assert "accept" not in text.partition("chain refuse {")[2].partition("}")[0]
    assert text.count("accept") == text.partition("chain input")[2].count("accept"), "none outside the chains"


def test_the_old_table_goes_in_the_same_transaction() -> None:
    """Made first, so that deleting it works the first time too."""
    assert rules((), AROUND).startswith("table inet executor\ndelete table inet executor\n")


@given(st.integers(1, 65535), st.integers(1, 10**6), st.integers(1, 10**6), st.booleans())
def test_each_limit_has_one_rule_with_a_refusal_of_its_own(
    connections: int, per_s: int, lookups: int, telling: bool
) -> None:
    """An open connection is never judged: all rules but that for lookups are for new ones."""
    text = limit_rules(EgressLimits(connections, per_s, lookups), telling=telling)
    lines = [line.strip() for line in text.partition("chain output {\n")[2].splitlines()]
    assert lines[1:] == [
        'oif "lo" accept',
        f"meta l4proto udp limit rate over {lookups}/second burst {lookups} packets goto lookups",
        f"meta l4proto tcp ct state new limit rate over {per_s}/second burst {per_s} packets goto rate",
        f"meta l4proto tcp ct state new ct count over {connections} goto connections",
        "}",
        "}",
    ]
    assert text.count("reject with tcp reset") == 3
    assert [f'log prefix "{why}"' in text for why in Why] == [False, telling, telling, telling]


def test_what_no_policy_opens_is_known_by_its_address() -> None:
    never = [("169.254.169.254", 80), ("192.0.2.2", SERVICE), ("10.1.2.3", 2376), ("127.0.0.11", None)]
    assert all(AROUND.is_never_reached(*target) for target in never)
    assert not any(AROUND.is_never_reached(*target) for target in [("192.0.2.2", 5432), ("10.1.2.3", 80)])
