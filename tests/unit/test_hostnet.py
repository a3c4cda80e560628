"""What is around a holder, read from a host's own files."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from executor.reach import Reach
from executor.sandbox.engine import Bridge
from executor.sandbox.firewall import Surroundings
from executor.sandbox.hostnet import engine_endpoint, host_resolvers, look_around, own_addresses

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
Local:
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 172.17.0.1
        /32 host LOCAL
"""
IF_INET6 = (
    "fd000000000000000000000000000002 04 40 00 82     eth0\n"
    "00000000000000000000000000000001 01 80 10 80       lo\n"
    "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n"
)
BRIDGE = Bridge(("172.30.0.0/16",), ("172.30.0.1",))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/fib_trie").write_text(FIB_TRIE)
    (tmp_path / "net/if_inet6").write_text(IF_INET6)
    return tmp_path


def seen(proc: Path, resolv_conf: str = "", dns: tuple[str, ...] | None = None) -> Surroundings:
    (proc / "resolv.conf").write_text(resolv_conf)
    return look_around(
        BRIDGE, service_port=8000, dns=dns, proc=proc, resolv_conf=proc / "resolv.conf", environment={}
    )


def test_every_address_of_the_host_counts_but_loopback(proc: Path) -> None:
    """The one on the holders' own bridge too, of which this process may not know. Link-local is closed as a whole."""
    around = seen(proc)
    assert around.host == ("192.0.2.2", "172.17.0.1", "fd00::2", "172.30.0.1")
    assert around.is_never_reached("fe80::fc:ff:fe00:1", 5432)
    assert around.holders == ("172.30.0.0/16",)


def test_the_service_s_and_engines_ports_are_closed_on_each_of_them(proc: Path) -> None:
    around = seen(proc)
    assert around.never == tuple(Reach(address, (2375, 2376, 8000)) for address in around.host)


def test_this_host_has_the_addresses_that_its_sockets_use() -> None:
    """Read from the real /proc: the address from which this host would send is among them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no route to anywhere")
        assert probe.getsockname()[0] in own_addresses(Path("/proc"))


def test_a_host_without_ipv6_has_no_such_addresses(proc: Path) -> None:
    (proc / "net/if_inet6").unlink()
    assert own_addresses(proc) == ["192.0.2.2", "172.17.0.1"]


def test_resolv_conf_is_read_as_resolvers_read_it() -> None:
    text = (
        "# a comment\nnameserver 10.0.0.53\n\nnameserver fd00::53\nsearch a.example  b.example\nnameserver\n"
    )
    assert host_resolvers(text) == (("10.0.0.53", "fd00::53"), ("search a.example b.example",))


def test_a_resolver_that_no_holder_reaches_is_left_out(proc: Path) -> None:
    """On the host's loopback, where metadata are, or on one interface."""
    named = ["127.0.0.53", "::1", "169.254.169.254", "fe80::1%eth0", "10.0.0.53", "168.63.129.16"]
    around = seen(proc, "".join(f"nameserver {address}\n" for address in named))
    assert around.resolvers == ("10.0.0.53", "168.63.129.16")


def test_resolvers_that_the_operator_names_take_the_place_of_the_host_s(proc: Path) -> None:
    text = "nameserver 10.0.0.53\nsearch example.org\n"
    assert seen(proc, text, dns=("10.0.0.54",)).resolvers == ("10.0.0.54",)
    assert seen(proc, text, dns=()).resolvers == ()
    assert seen(proc, text, dns=()).resolving == ("search example.org",)


@pytest.mark.parametrize(
    ("address", "closed"),
    [
        ("unix:///var/run/docker.sock", ()),
        ("", ()),
        ("tcp://10.1.2.3:2399", (Reach("10.1.2.3", (2399,)),)),
        ("tcp://[fd00::9]:2376", (Reach("fd00::9", (2376,)),)),
        ("tcp://10.1.2.3", (Reach("10.1.2.3", (2375,)),)),
    ],
)
def test_an_engine_elsewhere_is_closed_too(address: str, closed: tuple[Reach, ...]) -> None:
    assert engine_endpoint({"DOCKER_HOST": address}) == closed
