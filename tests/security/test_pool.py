"""Containers that have waited, for real: as isolated as cold ones, and each for one job only."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from executor.containers import docker_parts, make_sandbox
from executor.errors import Reason
from executor.runtimes import scan
from executor.sandbox.blank import Bounds
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import LABEL, LABEL_ROLE
from executor.sandbox.order import Listener, Order
from executor.script import Failed, Isolation, Outcome, Returned, Script, resolve_limits
from executor.settings import LimitBounds, Settings
from tests.acceptance.service import RealService
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

LIMITS = resolve_limits({"timeout_s": 30}, LimitBounds())
WAITING = 2
FILL = "def main(mb):\n    return len(bytearray(mb << 20)) >> 20\n"


class Bench:
    """A sandbox with a small pool of its own instance, on the real engine."""

    def __init__(self, folder: Path) -> None:
        self.instance = f"test-{uuid.uuid4()}"
        self.runtimes = scan()
        parts = docker_parts(Settings(engine="docker"), self.runtimes)
        self.engine = parts.engine
        bounds = Bounds(count=WAITING, memory_bytes=1 << 40, cores=2)
        self.sandbox = make_sandbox(parts, folder, self.instance, "test", pool=bounds)
        self.api = docker.from_env().api
        self.claims: list[Isolation] = []
        self.seen: list[dict[str, Any]] = []

    async def _claimed(self, isolation: Isolation) -> None:
        self.claims.append(isolation)
        self.seen.append(await asyncio.to_thread(self.api.inspect_container, isolation.container))

    def order(self, content: str, language: str = "python3", **more: Any) -> Order:
        args = json.dumps(more.pop("args", {})).encode()
        return Order(
            name=f"executor-test-{uuid.uuid4()}",
            runtime=self.runtimes.by_name[language],
            script=Script(language, content, args),
            limits=replace(LIMITS, **more),
            cancellation=Cancellation(1),
            listener=Listener(claimed=self._claimed),
        )

    async def run(self, content: str, language: str = "python3", **more: Any) -> Outcome:
        return await self.sandbox.run(self.order(content, language, **more))

    async def fill(self, language: str = "python3") -> None:
        """Let containers of the language wait."""
        assert self.sandbox.pool is not None
        await self.sandbox.warm(self.order("", language))
        self.sandbox.pool.start()
        await until(lambda: len(self.waiting()) == WAITING, 60)

    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.containers(
            all=True, filters={"label": f"{LABEL}={self.instance}"}
        )
        return found

    def waiting(self) -> list[str]:
        """The names of those that are made to wait, run, and have had no job."""
        running = [each for each in self.containers() if each["State"] == "running"]
        names = {c["Names"][0].lstrip("/") for c in running if c["Labels"][LABEL_ROLE] == "pool"}
        return sorted(names - {claim.container for claim in self.claims})


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.sandbox.close(20)
    left = made.containers()
    made.engine.close()
    made.api.close()
    assert left == []


def bare(seen: dict[str, Any]) -> dict[str, Any]:
    """What confines a container, without what is each one's own."""
    config = {key: value for key, value in seen["Config"].items() if key != "Labels"}
    host = dict(seen["HostConfig"])
    host["Mounts"] = [{**mount, "Source": ""} for mount in host["Mounts"]]
    return {"config": config, "host": host}


async def test_one_that_has_waited_is_confined_as_one_made_for_the_job(bench: Bench) -> None:
    """By all that the engine knows of them."""
    await bench.run("def main(): pass", memory_mb=256)
    await bench.fill()
    await bench.run("def main(): pass", memory_mb=256)
    cold, warm = bench.seen
    assert (cold["Config"]["Labels"][LABEL_ROLE], warm["Config"]["Labels"][LABEL_ROLE]) == ("job", "pool")
    assert bare(cold) == bare(warm)


async def test_nothing_of_one_job_is_seen_by_the_next(bench: Bench) -> None:
    """No file, process, argument or variable; each has a container of its own, and it goes after the job."""
    secret = uuid.uuid4().hex
    plant = (
        "import os, subprocess\n"
        "def main(secret):\n"
        "    for d in ('/tmp', '/job', '/shared', '/dev/shm'):\n"
        "        open(f'{d}/{secret}', 'w').write(secret)\n"
        "    subprocess.Popen(['setsid', 'sleep', '1000', ], env={'S': secret})\n"
    )
    look = (
        "import os\n"
        "def main():\n"
        "    found = [open('args.json').read(), dict(os.environ)]\n"
        "    for d in ('/tmp', '/job', '/shared', '/dev/shm', '/executor/in'):\n"
        "        found.append(os.listdir(d))\n"
        "    for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "        try: found.append(open(f'/proc/{pid}/cmdline').read())\n"
        "        except OSError: pass\n"
        "    return found\n"
    )
    await bench.fill()
    for _ in range(3):
        assert isinstance(await bench.run(plant, args={"secret": secret}), Returned)
        seen = await bench.run(look)
        assert isinstance(seen, Returned)
        assert secret.encode() not in seen.value
        assert b"sleep" not in seen.value
    ids = [each["Id"] for each in bench.seen]
    assert len(set(ids)) == len(ids) == 6
    assert sum(each["Config"]["Labels"][LABEL_ROLE] == "pool" for each in bench.seen) >= WAITING
    await until(lambda: not set(ids) & {each["Id"] for each in bench.containers()}, 20)


async def test_changed_limits_are_the_kernel_s(bench: Bench) -> None:
    """More memory than the container was made with is there, and less is all there is."""
    await bench.fill()
    more = await bench.run(FILL, args={"mb": 400}, memory_mb=512)
    less = await bench.run(FILL, args={"mb": 100}, memory_mb=64)
    assert isinstance(more, Returned), more
    assert isinstance(less, Failed)
    assert less.reason is Reason.OUT_OF_MEMORY
    roles = [each["Config"]["Labels"][LABEL_ROLE] for each in bench.seen]
    assert roles == ["pool", "pool"]
    for each, memory_mb in zip(bench.seen, (512, 64), strict=True):
        assert each["HostConfig"]["Memory"] == each["HostConfig"]["MemorySwap"] == memory_mb << 20


async def test_fewer_processes_and_cores_are_too(bench: Bench) -> None:
    await bench.fill("bash")
    fork = "for i in $(seq 60); do sleep 5 & done 2>&1; echo made\n"
    outcome = await bench.run(fork, "bash", pids=32, cpus=0.5)
    host = bench.seen[0]["HostConfig"]
    assert bench.seen[0]["Config"]["Labels"][LABEL_ROLE] == "pool"
    assert (host["PidsLimit"], host["NanoCpus"]) == (32, 500_000_000)
    assert not (isinstance(outcome, Returned) and outcome.value == b'"made"')


async def test_the_time_limit_is_the_job_s_not_its_container_s(bench: Bench) -> None:
    """What the container has waited does not count."""
    await bench.fill()
    await asyncio.sleep(2)
    outcome = await bench.run("import time\ndef main():\n    time.sleep(0.5)\n    return 1\n", timeout_s=1.5)
    assert isinstance(outcome, Returned), outcome


async def test_big_arguments_and_a_program_reach_one_that_has_waited(bench: Bench) -> None:
    await bench.fill("go")
    big = "x" * (2 << 20)
    source = "package inner\n\nfunc main(text string) int { return len(text) }\n"
    outcome = await bench.run(source, "go", args={"text": big})
    assert isinstance(outcome, Returned), outcome
    assert json.loads(outcome.value) == len(big)
    assert bench.seen[-1]["Config"]["Labels"][LABEL_ROLE] == "pool"


async def test_one_that_was_killed_is_passed_over(bench: Bench) -> None:
    """Even if that is seen only when the job is about to be written; no run is lost."""
    await bench.fill()
    for name in bench.waiting():
        bench.api.kill(name)
    assert isinstance(await bench.run("def main(): return 1"), Returned)


# ---------------------------------------------------------------- the service


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[RealService]:
    service = RealService(tmp_path / "data", EXECUTOR_POOL_MAX=str(WAITING))
    service.folder.mkdir()
    service.start()
    yield service
    service.close()


def await_waiting(service: RealService) -> set[str]:
    deadline = time.monotonic() + 60
    while len(names := set(service.containers())) < WAITING:
        assert time.monotonic() < deadline, "nothing waits"
        time.sleep(0.1)
    return names


def still_run(names: set[str]) -> set[str]:
    with closing(docker.from_env()) as client:
        return names & {name for each in client.api.containers() for name in each["Names"]}


def test_a_service_that_stops_leaves_nothing_waiting(pooled: RealService) -> None:
    await_waiting(pooled)
    pooled.stop()
    pooled.await_no_containers(10)


def test_what_waits_ends_with_a_service_that_is_killed_and_goes_at_the_next_start(
    pooled: RealService,
) -> None:
    waited = await_waiting(pooled)
    pooled.kill()
    deadline = time.monotonic() + 20
    while still_run(waited):
        assert time.monotonic() < deadline, "a container outlives its service"
        time.sleep(0.1)
    pooled.start()
    while waited & set(pooled.containers()):
        assert time.monotonic() < deadline + 40, "the dead service's containers stay"
        time.sleep(0.1)
    assert pooled.ended(pooled.submit("python3", "def main(): return 1"))["result"] == 1
