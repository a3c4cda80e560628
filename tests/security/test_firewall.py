"""The rules as the kernel reads them: a holder on a network with a container that plays the world.

The world has the metadata addresses, an address that stands for the host's, and one for any other
machine, IPv4 and IPv6, and listens on all of them. Before the rules are loaded everything is
reached, so that what is refused later is refused by them.
"""

from __future__ import annotations

import ipaddress
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from executor.errors import EngineError
from executor.reach import Reach
from executor.sandbox.docker import DockerEngine
from executor.sandbox.dockersaid import private_ipv6_subnet
from executor.sandbox.firewall import Surroundings, rules
from executor.sandbox.hardening import harden_holder
from executor.sandbox.holder import Holder
from executor.sandbox.spec import ContainerSpec
from tests.security.network import (
    CONNECT,
    REFUSED,
    engine,
    fresh_name,
    image_tags,
    languages_with_egress,
    ruleset,
)
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

METADATA = ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"]
HOST = ["198.18.0.1", "fd77::1"]
ELSEWHERE = ["198.18.0.2", "fd77::2"]
PORTS = [80, 5432, 8000, 2375]
AROUND = Surroundings(host=tuple(HOST), never=tuple(Reach(address, (8000, 2375, 2376)) for address in HOST))
EVERYTHING = (Reach("0.0.0.0/0"), Reach("::/0"))

ADD_ADDRESSES = """
import fcntl, ipaddress, socket, struct, sys

def add(number, text):
    address = ipaddress.ip_address(text)
    if address.version == 4:  # as an alias, whose mask is that of the address's class
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            request = struct.pack("16sHH4s8x", b"eth0:%d" % number, socket.AF_INET, 0, address.packed)
            fcntl.ioctl(s, 0x8916, request)
    else:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            request = struct.pack("16sII", address.packed, 64, socket.if_nametoindex("eth0"))
            fcntl.ioctl(s, 0x8916, request)

for number, text in enumerate(sys.argv[1].split(",")):
    add(number, text)
"""
GREET = """
import selectors, socket

listening = selectors.DefaultSelector()
for port in map(int, sys.argv[2].split(",")):
    listening.register(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True), 1)
print("ready", flush=True)
while True:
    for key, _ in listening.select():
        connection, _ = key.fileobj.accept()
        connection.sendall(b"hello")
        connection.close()
"""


class World:
    """A holder, the world it looks at, and jobs that try what they reach."""

    def __init__(self, client: Any, python: str, holder: Holder) -> None:
        self._client = client
        self._python = python
        self.holder = holder

    def reached(self, *targets: tuple[str, int]) -> list[str]:
        """What a job is told at each target; it has no capability and is nobody."""
        said = self._client.containers.run(
            self._python,
            ["-c", f"{CONNECT}\nimport json, sys\nprint(json.dumps(main(json.loads(sys.argv[1]))))",
             json.dumps(targets)],
            entrypoint=["python3"], network_mode=f"container:{self.holder.name}", user="65532:65532",
            cap_drop=["ALL"], remove=True,
        )  # fmt: skip
        found: list[str] = json.loads(said)
        return found

    def rules(self) -> str:
        """The rules that count now."""
        return ruleset(self._client, self.holder.name)


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return image_tags(languages_with_egress(tmp_path_factory.mktemp("languages")))


@pytest.fixture
def network() -> Iterator[str]:
    """A network with IPv6, whose containers may talk to each other."""
    with engine() as client:
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=private_ipv6_subnet())])
        made = client.networks.create(fresh_name(), enable_ipv6=True, ipam=pool)
        yield made.name
        made.remove()


@pytest.fixture
async def world(tags: tuple[str, str], network: str) -> AsyncIterator[World]:
    python, holder_tag = tags
    ours, theirs = fresh_name(), fresh_name()
    own = DockerEngine(threads=2)
    common: dict[str, Any] = {
        "entrypoint": ["python3"], "user": "0:0", "cap_drop": ["ALL"], "cap_add": ["NET_ADMIN", "NET_BIND_SERVICE"],
    }  # fmt: skip
    with engine() as client:
        try:
            addresses = ",".join([*METADATA, *HOST, *ELSEWHERE])
            there = client.containers.run(
                python, ["-c", ADD_ADDRESSES + GREET, addresses, ",".join(map(str, PORTS))],
                name=theirs, network=network, detach=True, **common,
            )  # fmt: skip
            await until(lambda: there.logs() == b"ready\n", timeout_s=20)
            spec = ContainerSpec(ours, holder_tag, harden_holder(), network=network)
            holder = await Holder.start(own, spec)
            near = ",".join(map(neighbour, [*METADATA, *HOST]))
            client.containers.run(
                python, ["-c", ADD_ADDRESSES, near], network_mode=f"container:{ours}", remove=True, **common
            )
            yield World(client, python, holder)
            holder.close()
        finally:
            await own.remove(ours)
            await own.remove(theirs)
            own.close()


def neighbour(address: str) -> str:
    """An address in the same range, from which it is reached without a gateway."""
    return str(ipaddress.ip_address(address) + 77)


def targets(addresses: list[str], *ports: int) -> list[tuple[str, int]]:
    return [(address, port) for address in addresses for port in ports]


async def test_what_no_policy_opens_is_refused_whatever_the_policy(world: World) -> None:
    """At once; and all of it was there before."""
    metadata = targets(METADATA, 80)
    service = targets(HOST, 8000, 2375)
    elsewhere = targets(ELSEWHERE, 80, 8000)
    assert set(world.reached(*metadata, *service, *elsewhere)) == {"hello"}
    named = tuple(Reach(address, (port,)) for address, port in (*metadata, *service))
    await world.holder.load(rules((*EVERYTHING, *named), AROUND))
    assert set(world.reached(*metadata, *service)) == {REFUSED}
    assert set(world.reached(*elsewhere)) == {"hello"}


async def test_the_host_is_reached_only_where_address_and_port_are_named(world: World) -> None:
    for named in ((), tuple(Reach(address) for address in HOST)):
        await world.holder.load(rules((*EVERYTHING, *named), AROUND))
        assert set(world.reached(*targets(HOST, 80, 5432))) == {REFUSED}
    await world.holder.load(rules(tuple(Reach(address, (5432,)) for address in HOST), AROUND))
    assert set(world.reached(*targets(HOST, 5432))) == {"hello"}
    assert set(world.reached(*targets(HOST, 80))) == {REFUSED}


async def test_a_policy_is_followed_to_the_port(world: World) -> None:
    await world.holder.load(rules((Reach("198.18.0.2", (80,)), Reach("fd77::2/128", (5432,))), AROUND))
    assert world.reached(*targets(ELSEWHERE, 80, 5432)) == ["hello", REFUSED, REFUSED, "hello"]
    await world.holder.load(rules((), AROUND))
    assert set(world.reached(*targets(ELSEWHERE, 80, 5432))) == {REFUSED}


async def test_rules_that_cannot_be_loaded_end_the_holder(world: World) -> None:
    """A holder whose rules nobody knows is none."""
    with pytest.raises(EngineError, match="syntax error"):
        await world.holder.load(rules((), AROUND) + "flush everything\n")
    assert not world.holder.is_alive


async def test_the_kernel_takes_the_rules_of_every_policy(
    world: World, sample: Callable[[], tuple[Reach, ...]]
) -> None:
    """Each of a hundred drawn at random, with as many ranges as a policy may have."""
    for _ in range(100):
        await world.holder.load(rules(sample(), AROUND))
    widest = tuple(Reach(f"10.{number}.0.0/16", tuple(range(1, 100))) for number in range(256))
    await world.holder.load(rules(widest, AROUND))
    assert world.rules().count("accept") > 256


@pytest.fixture
def sample() -> Callable[[], tuple[Reach, ...]]:
    """Policies at random, the same ones each time."""
    seed = random.Random(7)

    def draw() -> tuple[Reach, ...]:
        found = []
        for _ in range(seed.randrange(8)):
            bits = seed.getrandbits(32) if seed.random() < 0.5 else seed.getrandbits(128)
            address = ipaddress.ip_address(bits)
            length = seed.randrange(address.max_prefixlen + 1)
            network = ipaddress.ip_network((address, length), strict=False)
            found.append(Reach(str(network), tuple(seed.sample(range(1, 65536), seed.randrange(4)))))
        return tuple(found)

    return draw
