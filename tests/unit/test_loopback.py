"""A workspace's loopback on the fake engine: made once on need, shared, gone when idle, never blamed on an image."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from executor.containers import Parts, make_sandbox
from executor.errors import EngineTransient
from executor.runtimes import scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import LABEL_ROLE
from executor.sandbox.fake import FakeChannel, FakeEngine
from executor.sandbox.loopback import Loopbacks
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.sandbox.spec import ContainerSpec, ImageSeen
from executor.script import Isolation, Returned, Script, resolve_limits
from executor.settings import LimitBounds
from tests.waiting import until

pytestmark = pytest.mark.anyio

TOOL = "docker.io/library/tool:latest"


class Engine(FakeEngine):
    """One whose holders may end just before they are joined."""

    loses_holders = False

    async def start(self, spec: ContainerSpec) -> FakeChannel:
        if self.loses_holders and spec.network != "none":
            await self.kill(spec.network.removeprefix("container:"))
            await asyncio.sleep(0)
        return await super().start(spec)


class Bench:
    """A sandbox whose jobs share their workspace's loopback, if the engine were docker."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine()
        self.engine.stands_for = "docker"
        self.engine.registry[TOOL] = ImageSeen("sha256:1", command=("prog",))
        self.folder = folder
        self.claims: list[Isolation] = []
        bash = scan().by_name["bash"]
        parts = Parts(self.engine, lambda runtime: f"image-of-{runtime.image_name}", loopback=bash)
        self.sandbox: Sandbox = make_sandbox(parts, folder, "test", "worker")

    def idle_after(self, idle_s: float) -> Loopbacks:
        """Let holders go so soon."""

        async def image() -> str:
            return "image-of-bash"

        made = Loopbacks(self.engine, self.sandbox.cleanup, image, {}, idle_s=idle_s)
        self.sandbox = replace(self.sandbox, loopbacks=made)
        return made

    async def run(self, workspace: str = "main", language: str = "python3", head: str = "") -> ContainerSpec:
        """Run a script; what its container was made of."""

        async def claimed(isolation: Isolation) -> None:
            self.claims.append(isolation)

        order = Order(
            name=f"c-{uuid.uuid4()}",
            runtime=scan().by_name[language],
            script=Script(language, head or '[{"result": 1}]'),
            limits=resolve_limits({}, LimitBounds()),
            cancellation=Cancellation(0.05),
            listener=Listener(claimed=claimed),
            workspace=workspace,
        )
        outcome = await self.sandbox.run(order)
        assert head or isinstance(outcome, Returned), outcome
        return self.engine.started[-1]

    def holders(self) -> list[str]:
        living = self.engine.living.values()
        return [each.spec.name for each in living if each.spec.labels.get(LABEL_ROLE) == "holder"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.sandbox.close(5)
    assert made.engine.living == {}


async def test_a_workspace_has_one_holder_and_another_one_another(bench: Bench) -> None:
    first, again, other = await bench.run(), await bench.run(), await bench.run("other")
    assert first.network == again.network != other.network
    assert {first.network, other.network} == {f"container:{name}" for name in bench.holders()}
    assert {claim.network for claim in bench.claims} == {"none-shared"}


async def test_a_holder_has_no_network_and_may_do_nothing(bench: Bench) -> None:
    await bench.run()
    holder = bench.engine.started[0]
    assert (holder.network, holder.hardening.network, holder.hardening.capabilities) == ("none", "none", ())
    assert holder.hardening.uid != 0
    assert holder.binds == ()


async def test_jobs_first_at_once_make_one_holder(bench: Bench) -> None:
    await asyncio.gather(*(bench.run() for _ in range(5)))
    assert len(bench.holders()) == 1


async def test_what_another_engine_makes_has_a_loopback_of_its_own(bench: Bench) -> None:
    """There it costs little, and it is what a job should have."""
    bench.engine.stands_for = "oci"
    assert (await bench.run()).network == "none"
    assert (bench.holders(), bench.claims[0].network) == ([], "none")


async def test_an_idle_holder_goes_and_one_that_is_kept_stays(bench: Bench) -> None:
    loopbacks = bench.idle_after(0.02)
    loopbacks.keep("main")
    await bench.run()
    await bench.run("other")
    await until(lambda: len(bench.holders()) == 1, 5)
    await asyncio.sleep(0.1)
    again = await bench.run()
    assert [again.network] == [f"container:{name}" for name in bench.holders()]


async def test_a_holder_that_is_lost_on_the_way_is_no_fault_of_the_image_s(bench: Bench) -> None:
    """Not of one that the script chose either: the job runs again, with another holder."""
    bench.engine.loses_holders = True
    with pytest.raises(EngineTransient, match="the holder of the job's network has ended"):
        await bench.run(language="docker", head="# image: tool")
    bench.engine.loses_holders = False
    joined = await bench.run(language="docker", head="# image: tool")
    assert [joined.network] == [f"container:{name}" for name in bench.holders()]
