"""How much jobs with egress may ask of the network, and what their log says was refused: real containers."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.reach import EgressLimits, Reach
from executor.runtimes import Runtimes
from executor.script import Failed
from tests.security.egress import EVERYTHING, Bench
from tests.security.network import (
    REFUSED,
    host_addresses,
    is_bindable,
    languages_with_egress,
    listener,
    listener_that_holds,
    resolver,
)
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

POLICY = "(the workspace's policy does not allow it)"


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> Runtimes:
    return languages_with_egress(tmp_path_factory.mktemp("languages"))


@pytest.fixture
async def bench(tmp_path: Path, languages: Runtimes) -> AsyncIterator[Bench]:
    """On the engine that is taken by itself: holders, and with them all of this, are docker's in any case."""
    made = Bench(tmp_path, languages)
    yield made
    await made.sandbox.close(20)
    made.engine.close()


OPEN = """
import socket, time

def attempt(host, port):
    try:
        connection = socket.create_connection((host, port), timeout=3)
        connection.recv(10)
        return connection
    except OSError as error:
        return error.errno

def tell(found):
    return ["open" if isinstance(one, socket.socket) else one for one in found]
"""


async def test_so_many_connections_are_open_at_once_and_the_next_is_refused(bench: Bench) -> None:
    """At once, as everything that is refused; an open one that ends makes room, and a changed policy none."""
    source = (
        OPEN
        + """
def main(host, port):
    found = [attempt(host, port) for _ in range(7)]
    first = tell(found)
    print("opened", flush=True)
    time.sleep(1)
    changed = tell([attempt(host, port)])
    for one in found[:2]:
        one.close()
    time.sleep(0.2)
    found += [attempt(host, port) for _ in range(3)]
    still = all(one.send(b"x") == 1 for one in found if isinstance(one, socket.socket) and one.fileno() >= 0)
    return [first, changed, tell(found[7:]), still]
"""
    )
    host, limits = host_addresses()[0], EgressLimits(connections=4)
    with listener_that_holds("0.0.0.0") as port:
        reach = (Reach(host, (port,)),)
        running = asyncio.create_task(bench.run(source, reach=reach, egress=limits, host=host, port=port))
        await until(lambda: "opened" in bench.log, timeout_s=20)
        assert bench.sandbox.egress is not None
        await bench.sandbox.egress.change("main", (*reach, Reach("10.9.9.9")), limits)
        first, changed, after, still = await running
    assert first == ["open"] * 4 + [111] * 3
    assert (changed, after, still) == ([111], ["open", "open", 111], True)
    said = f"[executor] refused: tcp {host}:{port} (the workspace has 4 connections open already)"
    assert bench.log == f"opened\n{said}\n" or bench.log == f"{said}\nopened\n"


async def test_the_jobs_of_a_workspace_share_its_connections_and_others_have_their_own(bench: Bench) -> None:
    source = (
        OPEN
        + """
def main(host, port, seconds):
    found = tell([kept := attempt(host, port), other := attempt(host, port)])
    print("opened", flush=True)
    time.sleep(seconds)
    return found
"""
    )
    host, limits = host_addresses()[0], EgressLimits(connections=2)
    with listener_that_holds("0.0.0.0") as port:

        async def opened(workspace: str, seconds: float) -> Any:
            return await bench.run(
                source, reach=(Reach(host, (port,)),), egress=limits, workspace=workspace,
                host=host, port=port, seconds=seconds,
            )  # fmt: skip

        first = asyncio.create_task(opened("main", 4))
        await until(lambda: "opened" in bench.log, timeout_s=20)
        assert await opened("main", 0) == [111, 111]
        assert await opened("other", 0) == ["open", "open"]
        assert await first == ["open", "open"]


async def test_so_many_connections_begin_in_a_second(bench: Bench) -> None:
    """By IPv4 here; the rule knows no family. After a while there are more."""
    source = (
        OPEN
        + """
def main(host, port):
    found = tell([attempt(host, port) for _ in range(20)])
    time.sleep(1.1)
    return [found, tell([attempt(host, port)])]
"""
    )
    host = host_addresses()[0]
    with listener("0.0.0.0") as port:
        found, later = await bench.run(
            source,
            reach=(Reach(host, (port,)),),
            egress=EgressLimits(connections_per_s=5),
            host=host,
            port=port,
        )
    assert found[:5] == ["open"] * 5
    assert 10 <= found.count(111) <= 15, "a fifth of a second gives one more"
    assert later == ["open"]
    assert bench.log == (
        f"[executor] refused: tcp {host}:{port} (more than 5 new connections of the workspace in a second)\n"
    )


ASK = """
import socket, time

QUERY = bytes.fromhex("000101000001000000000000") + b"\\x07example\\x00\\x00\\x01\\x00\\x01"

def ask(host, kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as s:
        s.settimeout(3)
        try:
            s.connect((host, 53))
            s.sendall(QUERY)
            return "answered" if s.recv(100) else "closed"
        except OSError as error:
            return error.errno
"""


async def test_so_many_lookups_are_asked_in_a_second(bench: Bench) -> None:
    bench.dns = lambda bridge: bridge.gateways
    await bench.holder()
    assert bench.bridge is not None
    (gateway,) = bench.bridge.gateways
    source = (
        ASK
        + "\ndef main(host):\n    found = [ask(host) for _ in range(20)]\n    time.sleep(0.1)\n    return found\n"
    )
    with resolver(gateway, answer="10.0.0.5") as asked:
        found = await bench.run(
            source, reach=(Reach("10.0.0.5"),), egress=EgressLimits(lookups_per_s=5), host=gateway
        )
    assert found[:5] == ["answered"] * 5
    assert (10 <= found.count(1) <= 15, found.count("answered")) == (True, len(asked))
    assert f"udp {gateway}:53 (more than 5 questions of the workspace to resolvers in a second)" in bench.log


async def test_other_resolvers_are_not_asked_however_wide_the_policy(bench: Bench) -> None:
    """By UDP never; by TCP where the policy names the port, as any other."""
    bench.dns = lambda bridge: bridge.gateways
    await bench.holder()
    assert bench.bridge is not None
    host = host_addresses()[0]
    source = (
        ASK
        + """
def main(host):
    found = [ask(host), ask(host, socket.SOCK_STREAM)]
    time.sleep(0.1)
    return found
"""
    )
    with resolver(host, answer="10.0.0.5") as asked, listener(host, port=53):
        wide = (*EVERYTHING, Reach(host, (80,)))
        assert await bench.run(source, reach=wide, host=host) == [1, 111]
        assert f"udp {host}:53 (names are asked of the configured resolvers only)" in bench.last_log
        assert f"tcp {host}:53 {POLICY}" in bench.last_log
        assert await bench.run(source, reach=(*wide, Reach(host, (53,))), host=host) == [1, "answered"]
    assert asked == []


async def test_what_was_refused_is_in_the_job_s_log_and_in_that_of_the_next(bench: Bench) -> None:
    """Each target once, with the reason, whatever the outcome; a job without refusals is told nothing."""
    host = host_addresses()[0]
    with listener("0.0.0.0") as port:
        bench.service_port = port
        targets = [("10.1.2.3", 5432), ("10.1.2.3", 5432), ("169.254.169.254", 80), (host, port), (host, 9)]
        expected = [
            f"[executor] refused: tcp 10.1.2.3:5432 {POLICY}",
            "[executor] refused: tcp 169.254.169.254:80 (no policy opens it)",
            f"[executor] refused: tcp {host}:{port} (no policy opens it)",
            f"[executor] refused: tcp {host}:9 {POLICY}",
        ]
        for _ in range(2):
            assert set(await bench.reached(*targets, reach=(Reach("10.0.0.5"),))) == {REFUSED}
            assert bench.last_log.splitlines() == expected
        assert await bench.run("def main(): return 1", reach=(Reach("10.0.0.5"),)) == 1
        assert bench.last_log == ""


FAIL = """
import os, socket
def main(host):
    socket.socket().connect_ex((host, 5432))
    os._exit(1)
"""


async def test_of_two_jobs_at_once_each_hears_of_what_one_of_them_was_refused(bench: Bench) -> None:
    waiting = asyncio.create_task(
        bench.run("import time\ndef main():\n    print('there')\n    time.sleep(3)")
    )
    await until(lambda: "there" in bench.log, timeout_s=20)
    for address, workspace in (("10.1.2.3", "main"), ("10.1.2.4", "other")):
        failed = await bench.run(FAIL, workspace=workspace, reach=(Reach("10.0.0.5"),), host=address)
        assert isinstance(failed, Failed)
    await waiting
    said = f"[executor] a job of this workspace was refused: tcp 10.1.2.3:5432 {POLICY}\n"
    assert list(bench.logs.values()) == [
        "there\n" + said,
        said,
        f"[executor] refused: tcp 10.1.2.4:5432 {POLICY}\n",
    ]


async def test_a_job_that_tries_everything_is_refused_fast_and_its_log_stays_short(bench: Bench) -> None:
    """Twenty thousand attempts; neither log nor service is flooded."""
    source = (
        OPEN
        + """
def main():
    began = time.monotonic()
    for number in range(20_000):
        with socket.socket() as s:
            assert s.connect_ex(("10.1.2.3", 1 + number)) == 111
    return time.monotonic() - began
"""
    )
    began = time.monotonic()
    took_s = await bench.run(source)
    assert time.monotonic() - began - took_s < 10
    lines = bench.log.splitlines()
    assert len(lines) == 6
    assert lines[0] == f"[executor] refused: tcp 10.1.2.3:1 {POLICY}"
    assert lines[-1].endswith(" more")


async def test_a_policy_that_opens_something_counts_for_a_job_that_runs(bench: Bench) -> None:
    """And what it had been refused before is in its log."""
    source = (
        OPEN
        + """
def main(host, port):
    first = tell([attempt(host, port)])
    print("tried", flush=True)
    deadline = time.monotonic() + 10
    while isinstance(now := attempt(host, port), int) and time.monotonic() < deadline:
        time.sleep(0.05)
    return first + tell([now])
"""
    )
    host = host_addresses()[0]
    with listener("0.0.0.0") as port:
        running = asyncio.create_task(bench.run(source, host=host, port=port))
        await until(lambda: "tried" in bench.log, timeout_s=20)
        assert bench.sandbox.egress is not None
        await bench.sandbox.egress.change("main", (Reach(host, (port,)),))
        assert await running == [111, "open"]
    assert bench.log.count(f"[executor] refused: tcp {host}:{port} {POLICY}\n") == 1


LISTEN6 = """
import socket
def main():
    with socket.create_server(("::", 7777), family=socket.AF_INET6) as server:
        server.settimeout(6)
        addresses = [line.split() for line in open("/proc/net/if_inet6")]
        (own,) = [a[0] for a in addresses if a[3] == "00" and a[5] == "eth0"]
        print(":".join(own[i:i + 4] for i in range(0, 32, 4)), flush=True)
        try:
            server.accept()
        except TimeoutError:
            return "nobody came"
"""


async def test_by_ipv6_nobody_gets_further(tmp_path: Path, languages: Runtimes) -> None:
    """The service, the engine, a port of the host's, another workspace's job, on the holders' own bridge."""
    bench = Bench(tmp_path, languages, ipv6=True)
    try:
        await bench.holder()
        assert bench.bridge is not None
        (subnet,) = [subnet for subnet in bench.bridge.subnets if ":" in subnet]
        gateway = str(ipaddress.ip_network(subnet)[1])
        other = asyncio.create_task(bench.run(LISTEN6, workspace="other", reach=EVERYTHING))
        await until(lambda: bench.log.count(":") == 7, timeout_s=20)
        neighbour = bench.log.strip()
        await until(lambda: is_bindable(gateway), timeout_s=20)
        with listener(gateway) as port, listener(gateway, port=2375), listener(gateway) as service:
            bench.service_port = service
            closed = [(gateway, service), (gateway, 2375), (neighbour, 7777), ("fd00:ec2::254", 80)]
            named = tuple(Reach(address, (number,)) for address, number in closed)
            wide = (*EVERYTHING, *named)
            said = await bench.reached(*closed, (gateway, port), reach=wide, workspace="third")
            assert said == [REFUSED] * 5
            assert bench.last_log.count("[executor] refused: tcp [") == 5
            own = (*wide, Reach(gateway, (port,)))
            assert await bench.reached((gateway, port), reach=own, workspace="third") == ["hello"]
            with listener_that_holds(gateway) as held:
                source = (
                    OPEN + "\ndef main(host, port): return tell([attempt(host, port) for _ in range(4)])\n"
                )
                found = await bench.run(
                    source, reach=(Reach(gateway, (held,)),), workspace="third",
                    egress=EgressLimits(connections=2), host=gateway, port=held,
                )  # fmt: skip
                assert found == ["open", "open", 111, 111]
        assert await other == "nobody came"
    finally:
        await bench.sandbox.close(20)
        bench.engine.close()
