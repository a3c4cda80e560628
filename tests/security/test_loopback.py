"""Who shares a loopback with whom, in real containers: by EXECUTOR_NETWORK_SHARED, engine and workspace."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import docker
import pytest

from executor import telemetry
from executor.containers import docker_parts, make_sandbox
from executor.runtimes import scan
from executor.sandbox import seccomp
from executor.sandbox.blank import Bounds
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import LABEL, LABEL_ROLE
from executor.sandbox.engines import EngineChoice
from executor.sandbox.order import Listener, Order
from executor.script import Isolation, Returned, Script, resolve_limits
from executor.settings import LimitBounds, Settings
from tests.engines import needs_root
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

LIMITS = resolve_limits({"timeout_s": 30, "memory_mb": 64}, LimitBounds())
LISTEN = """
import socket, time
def main(name):
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\\0" + name)
    abstract.listen()
    server = socket.create_server(("127.0.0.1", 4711))
    print("listening", flush=True)
    server.settimeout(20)
    try:
        server.accept()
    except TimeoutError:
        return "nobody came"
    return "somebody came"
"""
LOOK = """
import os, socket
def main(name):
    def reached(family, address):
        with socket.socket(family) as asking:
            return asking.connect_ex(address) == 0
    interfaces = sorted(os.listdir("/sys/class/net"))
    ours = reached(socket.AF_UNIX, "\\0" + name)
    return {"abstract": ours, "port": reached(socket.AF_INET, ("127.0.0.1", 4711)), "interfaces": interfaces}
"""


class Bench:
    """A sandbox of its own instance, on the real engine."""

    def __init__(self, folder: Path, choice: EngineChoice, *, shared: bool, pooled: bool = False) -> None:
        self.instance = f"test-{uuid.uuid4()}"
        self.runtime = scan().by_name["python3"]
        parts = docker_parts(Settings(engine=choice, network_shared=shared), scan())
        self.engine = parts.engine
        pool = Bounds(count=4, memory_bytes=1 << 40, cores=2) if pooled else None
        self.sandbox = make_sandbox(parts, folder, self.instance, "test", pool=pool)
        self.name = uuid.uuid4().hex
        self.claims: list[Isolation] = []
        self.log = ""

    def order(self, source: str, workspace: str = "main") -> Order:
        async def claimed(isolation: Isolation) -> None:
            self.claims.append(isolation)

        def log(text: str) -> None:
            self.log += text

        return Order(
            name=f"executor-{uuid.uuid4()}",
            runtime=self.runtime,
            script=Script("python3", source, json.dumps({"name": self.name}).encode()),
            limits=LIMITS,
            cancellation=Cancellation(1),
            listener=Listener(claimed=claimed, log=log),
            workspace=workspace,
        )

    async def run(self, source: str, workspace: str = "main") -> Any:
        outcome = await self.sandbox.run(self.order(source, workspace))
        assert isinstance(outcome, Returned), outcome
        return json.loads(outcome.value)

    @asynccontextmanager
    async def listener(self) -> AsyncIterator[None]:
        """A job of the workspace `main` that listens, on its loopback and at an abstract address."""
        order = self.order(LISTEN)
        running = asyncio.create_task(self.sandbox.run(order))
        await until(lambda: "listening" in self.log or running.done(), 30)
        assert not running.done(), running.result()
        yield
        order.cancellation.ask()
        await running

    def roles(self) -> dict[str, str]:
        """The instance's containers that docker runs, by name, with their roles."""
        with closing(docker.from_env()) as client:
            found = client.api.containers(filters={"label": f"{LABEL}={self.instance}"})
        return {each["Names"][0].lstrip("/"): each["Labels"][LABEL_ROLE] for each in found}


Make = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Bench] = []

    def one(choice: EngineChoice, **how: bool) -> Bench:
        made.append(Bench(tmp_path, choice, **how))
        return made[-1]

    yield one
    for bench in made:
        await bench.sandbox.close(20)
        left = await bench.engine.containers(bench.instance)
        bench.engine.close()
        assert left == [], "holders go with the sandbox"


@pytest.mark.parametrize(
    ("choice", "shared", "kind"),
    [
        ("docker", True, "none-shared"),
        ("docker", False, "none"),
        pytest.param("oci", True, "none", marks=needs_root),
        pytest.param("oci", False, "none", marks=needs_root),
    ],
)
async def test_jobs_of_a_workspace_share_a_loopback_if_the_setting_says_so(
    make: Make, choice: EngineChoice, shared: bool, kind: str
) -> None:
    """On docker alone; another workspace never sees it, and nobody has any other interface."""
    bench = make(choice, shared=shared)
    async with bench.listener():
        elsewhere = await bench.run(LOOK, "other")
        assert elsewhere == {"abstract": False, "port": False, "interfaces": ["lo"]}
        is_shared = kind == "none-shared"
        assert await bench.run(LOOK) == {"abstract": is_shared, "port": is_shared, "interfaces": ["lo"]}
    assert {claim.network for claim in bench.claims} == {kind}


async def test_who_keeps_a_loopback_may_do_nothing_and_has_nothing(make: Make) -> None:
    """It has no capability, no way to gain one, and no network of the engine's."""
    bench = make("docker", shared=True)
    await bench.run(LOOK)
    (holder,) = (name for name, role in bench.roles().items() if role == "holder")
    with closing(docker.from_env()) as client:
        seen = client.api.inspect_container(holder)
    host = seen["HostConfig"]
    assert (host["NetworkMode"], host["CapAdd"], host["CapDrop"]) == ("none", None, ["ALL"])
    assert (host["ReadonlyRootfs"], host["SecurityOpt"]) == (
        True,
        ["no-new-privileges", f"seccomp={seccomp.text()}"],
    )
    assert seen["Config"]["User"] != "0:0"


async def test_a_lost_holder_is_replaced(make: Make) -> None:
    """The next job has the loopback of a new one."""
    bench = make("docker", shared=True)
    await bench.run(LOOK)
    (lost,) = (name for name, role in bench.roles().items() if role == "holder")
    await bench.engine.kill(lost)
    await until(lambda: lost not in bench.roles(), 20)
    assert (await bench.run(LOOK))["interfaces"] == ["lo"]
    (found,) = (name for name, role in bench.roles().items() if role == "holder")
    assert found != lost


async def test_what_waits_in_one_workspace_s_loopback_is_for_that_workspace(make: Make) -> None:
    bench = make("docker", shared=True, pooled=True)
    pool = bench.sandbox.pool
    assert pool is not None
    before = waiting()
    await bench.sandbox.warm(bench.order(""))
    pool.start()
    await until(lambda: waiting() > before, 60)
    for workspace in ("other", "main"):
        await bench.run(LOOK, workspace)
    assert [claim.container.startswith("executor-pool-") for claim in bench.claims] == [False, True]


def waiting() -> float:
    """How many containers of Python wait in this process."""
    return telemetry.registry.get_sample_value("executor_pool_waiting", {"language": "python3"}) or 0.0
