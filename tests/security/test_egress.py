"""Jobs with egress in real containers: what they reach, what they do not, and what they cannot change."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.errors import EngineTransient
from executor.reach import Reach
from executor.runtimes import Runtimes
from executor.sandbox.engine import LABEL, LABEL_WORKER
from executor.sandbox.hardening import harden
from executor.sandbox.hostnet import own_addresses
from executor.sandbox.spec import ContainerSpec
from executor.script import Failed
from tests.engines import BOTH
from tests.security.egress import EVERYTHING, LIMITS, Bench
from tests.security.hostile import HOSTILE
from tests.security.network import (
    CONNECT,
    REFUSED,
    engine,
    fresh_name,
    host_addresses,
    languages_with_egress,
    listener,
    listener_that_stays,
    resolver,
    ruleset,
)
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.anyio]


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> Runtimes:
    return languages_with_egress(tmp_path_factory.mktemp("languages"))


@pytest.fixture(params=BOTH)
async def bench(tmp_path: Path, languages: Runtimes, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """One on each engine; holders are docker's either way."""
    made = Bench(tmp_path, languages, engine=request.param)
    yield made
    await made.sandbox.close(20)
    left = await made.engine.containers(made.instance) + await made.engine.networks(made.instance)
    made.engine.close()
    assert left == [], "holders and their network go with the sandbox"


async def test_a_job_reaches_what_its_policy_names_and_nothing_else(bench: Bench) -> None:
    """On every address of this host: a listener there is reached by address and port, by nothing wider."""
    for address in host_addresses():
        with listener("0.0.0.0") as port, listener("0.0.0.0") as other:
            wide = (*EVERYTHING, Reach(f"{address}/32"))
            assert await bench.reached((address, port), reach=wide) == [REFUSED]
            named = Reach(address, (port,))
            both = [(address, port), (address, other)]
            assert await bench.reached(*both, reach=(named,)) == ["hello", REFUSED]
            assert (bench.claims[-1].network, bench.claims[-1].reach) == ("egress", (str(named),))


async def test_the_address_that_the_host_has_on_the_holders_bridge_is_the_host_s(bench: Bench) -> None:
    """It came into being with the bridge, and is found all the same."""
    await bench.holder()
    assert bench.bridge is not None
    (gateway,) = bench.bridge.gateways
    with listener("0.0.0.0") as port:
        assert await bench.reached((gateway, port), reach=EVERYTHING) == [REFUSED]
        assert await bench.reached((gateway, port), reach=(Reach(gateway, (port,)),)) == ["hello"]


async def test_an_address_that_the_host_gets_later_is_the_host_s_too(bench: Bench) -> None:
    """As from somebody's new Docker network, or a VPN: the rules of living holders follow."""
    holder = await bench.holder()
    with engine() as client:
        network = client.networks.create(fresh_name())
        try:
            network.reload()
            gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
            with listener("0.0.0.0") as port:
                assert await bench.reached((gateway, port), reach=EVERYTHING) == [REFUSED]
        finally:
            network.remove()
    assert await bench.holder() == holder


async def test_ipv6_is_judged_alike_where_it_is_switched_on(tmp_path: Path, languages: Runtimes) -> None:
    """Without the setting, a job has no IPv6 at all."""
    found = [a for a in own_addresses(Path("/proc")) if ":" in a and not a.startswith("fe80")]
    if not found:
        pytest.skip("this host has no IPv6 address")
    for ipv6, expected in ((True, "hello"), (False, "errno 99")):
        bench = Bench(tmp_path, languages, ipv6=ipv6)
        try:
            with listener(found[0]) as port:
                said = await bench.reached((found[0], port), reach=(Reach(found[0], (port,)),))
                assert said == [expected]
                if ipv6:
                    assert await bench.reached((found[0], port), reach=EVERYTHING) == [REFUSED]
        finally:
            await bench.sandbox.close(20)
            bench.engine.close()


async def test_another_container_is_reached_by_the_port_it_publishes(bench: Bench) -> None:
    """On the host's address, if the policy names both; never by its own address unless that is named."""
    serve = "import socket\ns = socket.create_server(('', 80))\nwhile True: s.accept()[0].sendall(b'hello')"
    with engine() as client:
        other = client.containers.run(
            await bench.sandbox.image_of(bench.runtime), ["-c", serve], entrypoint=["python3"], user="0:0",
            name=fresh_name(), ports={"80/tcp": None}, detach=True,
        )  # fmt: skip
        try:
            other.reload()
            port = int(other.ports["80/tcp"][0]["HostPort"])
            host, own = host_addresses()[0], other.attrs["NetworkSettings"]["IPAddress"]
            assert await bench.reached((host, port), reach=(Reach(host, (port,)),)) == ["hello"]
            assert await bench.reached((own, 80), reach=(Reach(host, (port,)),)) == [REFUSED]
        finally:
            other.remove(force=True)


async def test_the_service_and_the_engine_are_never_reached(bench: Bench) -> None:
    """Not on any address of the host, not if the policy names it."""
    with listener("0.0.0.0", "the service") as port:
        bench.service_port = port
        targets = [(address, port) for address in host_addresses()]
        named = tuple(Reach(address, (port, 2375, 2376)) for address, _ in targets)
        assert set(await bench.reached(*targets, reach=(*EVERYTHING, *named))) == {REFUSED}
        with listener("0.0.0.0", "an engine", 2375):
            engines = [(address, 2375) for address in host_addresses()]
            assert set(await bench.reached(*engines, reach=(*EVERYTHING, *named))) == {REFUSED}


async def test_without_a_policy_nothing_is_reached_and_the_log_says_what_opens_it(bench: Bench) -> None:
    with listener("0.0.0.0") as port:
        (said,) = await bench.reached((host_addresses()[0], port), reach=())
    assert said == REFUSED
    failed = await bench.run("import socket\ndef main(): socket.create_connection(('10.0.0.5', 5432))")
    assert isinstance(failed, Failed)
    assert "ConnectionRefusedError" in failed.name + failed.message
    assert "EXECUTOR_NETWORKS" in bench.log


LISTEN = """
import socket
def main():
    with socket.create_server(("", 7777)) as server:
        server.settimeout(20)
        print("listening", flush=True)
        connection, _ = server.accept()
        connection.sendall(b"from a job")
"""
ADDRESS = """
import fcntl, socket, struct
def main():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return socket.inet_ntoa(fcntl.ioctl(s, 0x8915, struct.pack("256s", b"eth0"))[20:24])
"""


async def test_workspaces_do_not_reach_each_other(bench: Bench) -> None:
    """Two of one workspace share a holder and with it loopback, which is documented."""
    address = await bench.run(ADDRESS, workspace="a")
    listening = asyncio.create_task(bench.run(LISTEN, workspace="a", reach=EVERYTHING))
    await until(lambda: "listening" in bench.log, timeout_s=20)
    target = Reach(address, (7777,))
    assert await bench.reached((address, 7777), reach=(*EVERYTHING, target), workspace="b") == [REFUSED]
    assert await bench.reached(("127.0.0.1", 7777), reach=EVERYTHING, workspace="b") == [REFUSED]
    assert await bench.reached(("127.0.0.1", 7777), reach=EVERYTHING, workspace="a") == ["from a job"]
    await listening


async def test_names_are_asked_of_the_resolver_that_was_set(bench: Bench) -> None:
    """By UDP to its port 53; the engine's own resolver is not there for jobs."""
    address = host_addresses()[0]
    bench.dns = lambda bridge: bridge.gateways
    await bench.holder()  # the bridge is made, and with it the address that the resolver listens on
    assert bench.bridge is not None
    with listener("0.0.0.0") as port, resolver(bench.bridge.gateways[0], answer=address) as asked:
        reach = (Reach(address, (port,)),)
        assert await bench.reached(("db.example.test", port), reach=reach) == ["hello"]
        assert "db.example.test" in asked
        asked.clear()
        assert await bench.reached(("db.example.test", port), reach=()) != ["hello"]
        assert asked == [], "who may reach nothing may not ask either"
    ask_engine = """
import socket
def main():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        try:
            s.connect(("127.0.0.11", 53))
            s.send(bytes.fromhex("000101000001000000000000") + b"\\x07example\\x00\\x00\\x01\\x00\\x01")
            return s.recv(100).hex()
        except OSError as error:
            return type(error).__name__
"""
    assert await bench.run(ask_engine, reach=EVERYTHING) == "PermissionError"


async def test_a_hostile_job_changes_nothing_about_its_network(bench: Bench) -> None:
    """It has no capability, and the holder's processes are out of its sight."""
    reach = (Reach("10.0.0.5", (5432,)),)
    await bench.run("def main(): pass", reach=reach)
    with engine() as client:
        before = ruleset(client, await bench.holder(reach))
        assert "10.0.0.5" in before
    seen = await bench.run(HOSTILE, reach=reach)
    with engine() as client:
        assert ruleset(client, await bench.holder(reach)) == before
    assert isinstance(seen, dict), seen
    assert (seen["done"], seen["others"]) == ([], [])
    assert {line.split()[1] for line in seen["capabilities"]} == {"0000000000000000"}


async def test_a_job_after_its_holder_was_killed_gets_another(bench: Bench) -> None:
    """At whatever moment the job comes."""
    with listener("0.0.0.0") as port:
        target = (host_addresses()[0], port)
        reach = (Reach(target[0], (port,)),)
        for pause in (0.0, 0.3):
            await bench.reached(target, reach=reach)
            holder = await bench.holder(reach)
            await bench.engine.kill(holder)
            await asyncio.sleep(pause)
            assert await bench.reached(target, reach=reach) == ["hello"]
            assert await bench.holder(reach) != holder


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_a_job_that_joins_a_dying_holder_is_tried_again_soon(bench: Bench, how: str) -> None:
    """The engine refuses it at once, and that is told as transient: the worker runs the job anew."""
    egress = bench.sandbox.egress
    assert egress is not None
    name = f"executor-{uuid.uuid4()}"
    bench.sandbox.cleanup.owns(name)
    began = 0.0
    with pytest.raises(EngineTransient, match="holder of the job's network has ended"):
        async with egress.joined("main", ()) as joined:
            await getattr(bench.engine, how)(joined.network.removeprefix("container:"))
            hard = harden(bench.runtime, LIMITS)
            image = await bench.sandbox.image_of(bench.runtime)
            began = time.monotonic()
            labels = {LABEL: bench.instance, LABEL_WORKER: "test"}
            await bench.engine.start(ContainerSpec(name, image, hard, labels, network=joined.network))
    assert time.monotonic() - began < 5
    bench.sandbox.cleanup.discard(name)
    assert await bench.run("def main(): return 1") == 1


TALK = """
import socket, time
def main(host, port):
    connection = socket.create_connection((host, port), timeout=5)
    print("connected", flush=True)
    began = time.monotonic()
    while time.monotonic() - began < 15:
        try:
            connection.sendall(b"x")
            time.sleep(0.05)
        except OSError as error:
            return type(error).__name__
    return "still there"
"""


async def test_a_narrower_policy_ends_what_it_no_longer_allows(bench: Bench) -> None:
    """An open connection too, at once."""
    assert bench.sandbox.egress is not None
    with listener_that_stays("0.0.0.0") as port:
        host = host_addresses()[0]
        reach = (Reach(host, (port,)),)
        talking = asyncio.create_task(bench.run(TALK, reach=reach, host=host, port=port))
        await until(lambda: "connected" in bench.log, timeout_s=20)
        await bench.sandbox.egress.change("main", ())
        async with asyncio.timeout(8):
            assert await talking in ("ConnectionResetError", "BrokenPipeError", "PermissionError")


async def test_a_killed_holder_takes_its_jobs_network_with_it(bench: Bench) -> None:
    """What cannot be watched must not go on: the policy could no longer be changed."""
    with listener("0.0.0.0") as port:
        host = host_addresses()[0]
        source = CONNECT + (
            "\ndef main(host, port):\n    first = connect(host, port)\n    print('first', flush=True)\n"
            "    time.sleep(2)\n    return [first, connect(host, port)]\n"
        )
        reach = (Reach(host, (port,)),)
        running = asyncio.create_task(bench.run(source, reach=reach, host=host, port=port))
        await until(lambda: "first" in bench.log, timeout_s=20)
        await bench.engine.kill(await bench.holder(reach))
        first, second = await running
        assert (first, second != "hello") == ("hello", True)
