"""The pool on the fake engine: what is handed out, what never is, and how much waits."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor import telemetry
from executor.containers import HolderParts, Parts, make_sandbox
from executor.errors import EngineError, EngineTransient
from executor.reach import Reach
from executor.runtimes import Runtime, scan
from executor.sandbox.blank import Bounds
from executor.sandbox.conversation import Cancellation
from executor.sandbox.demand import UNUSED_DEPTH, USED_DEPTH
from executor.sandbox.engine import LABEL_ROLE
from executor.sandbox.fake import FakeChannel, FakeEngine
from executor.sandbox.firewall import Surroundings
from executor.sandbox.order import INLINE_ARGS_BYTES_MAX, Listener, Order
from executor.sandbox.pool import AGE_MAX_S, LOOK_AT_IMAGES_S, Pool
from executor.sandbox.run import Sandbox
from executor.sandbox.shared import SharedDirectory
from executor.sandbox.spec import Bind, ContainerSpec, ImageSeen
from executor.script import Isolation, Outcome, Returned, Script, resolve_limits
from executor.settings import LimitBounds

pytestmark = pytest.mark.anyio

LIMITS = resolve_limits({}, LimitBounds())
GIB = 1024**3
HOURS = 3600.0


class Engine(FakeEngine):
    """A fake engine whose waiting containers may turn out to be gone when the job is written."""

    broken_writes = 0

    async def start(self, spec: ContainerSpec) -> FakeChannel:
        """As any, but the next writes to containers fail, `broken_writes` of them."""
        engine, channel = self, await super().start(spec)

        class Channel(FakeChannel):
            async def send(self, data: bytes) -> None:
                if engine.broken_writes and spec.labels[LABEL_ROLE] == "pool":
                    engine.broken_writes -= 1
                    raise EngineTransient("broken pipe")
                await channel.send(data)

        return Channel(self.living[spec.name])


class Bench:
    """A sandbox with a pool, whose clock the test turns."""

    def __init__(self, folder: Path, count: int = 100, memory_bytes: int = 100 * GIB) -> None:
        self.now = 1000.0
        self.engine = Engine()
        holder = HolderParts(lambda: "image-of-holder", lambda _: Surroundings())
        parts = Parts(self.engine, lambda runtime: f"image-of-{runtime.image_name}", holder=holder)
        sandbox = make_sandbox(parts, folder, "test", "worker")
        bounds = Bounds(count, memory_bytes, cores=2)
        self.pool = Pool(self.engine, sandbox.cleanup, sandbox.own, bounds, clock=lambda: self.now)
        assert sandbox.egress is not None
        sandbox.egress.holders.on_drop = self.pool.drop_network
        self.sandbox: Sandbox = replace(sandbox, pool=self.pool)
        self.claims: list[Isolation] = []

    def order(self, *steps: dict[str, Any], language: str = "python3", **more: Any) -> Order:
        async def claimed(isolation: Isolation) -> None:
            self.claims.append(isolation)

        limits = {key: more.pop(key) for key in ("memory_mb", "cpus", "pids", "tmp_mb") if key in more}
        runtime = more.pop("runtime", None) or scan().by_name[language]
        content = json.dumps(steps or ({"result": 1},))
        script = Script(runtime.name, content, more.pop("args", b"{}"))
        return Order(
            name=f"job-{uuid.uuid4()}",
            runtime=runtime,
            script=script,
            limits=replace(LIMITS, **limits),
            cancellation=Cancellation(0.05),
            listener=Listener(claimed=claimed),
            **more,
        )

    async def run(self, *steps: dict[str, Any], **more: Any) -> Outcome:
        return await self.sandbox.run(self.order(*steps, **more))

    async def warm(self, **more: Any) -> None:
        """Let one container of the language wait, and no more for now."""
        await self.sandbox.warm(self.order(**more))
        await self.fill(looks=1)

    async def fill(self, looks: int = 40, later_s: float = 1.0) -> None:
        """Give the pool the time to make what it wants, and removals theirs."""
        for _ in range(looks):
            self.now += later_s
            self.pool.look()
            await self.settle()

    async def settle(self) -> None:
        """Let every task that can go on do so."""
        for _ in range(60):
            await asyncio.sleep(0)

    def waiting(self) -> list[ContainerSpec]:
        """The containers of the pool that have no job yet."""
        return [
            container.spec
            for container in self.engine.living.values()
            if container.spec.labels[LABEL_ROLE] == "pool"
        ]

    @property
    def roles(self) -> list[str]:
        """What every container so far was started as."""
        return [spec.labels[LABEL_ROLE] for spec in self.engine.started]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.sandbox.close(5)
    assert made.engine.living == {}, "whatever waited is removed at the end"
    assert [path.name for path in tmp_path.iterdir() if path.name != "tools"] == []


# ---------------------------------------------------------------- what is handed out


async def test_a_job_gets_a_container_that_waits_and_is_its_only_one(bench: Bench) -> None:
    """Its name is the run's from then on; after the job it is removed, and never used again."""
    await bench.warm()
    (waiting,) = bench.waiting()
    assert await bench.run({"result": 7}) == Returned(b"7", (await bench.run({"result": 7})).usage)
    assert bench.claims[0].container == waiting.name
    await bench.settle()
    assert waiting.name not in bench.engine.living
    assert len({claim.container for claim in bench.claims}) == len(bench.claims) == 2


async def test_it_is_made_of_the_same_as_a_cold_one(bench: Bench) -> None:
    """But for its name, its own directory and its role."""
    await bench.run()
    await bench.warm()
    cold, warm = bench.engine.started[0], bench.waiting()[0]
    assert (cold.labels[LABEL_ROLE], warm.labels[LABEL_ROLE]) == ("job", "pool")
    as_cold = replace(warm, name=cold.name, labels=cold.labels, binds=cold.binds)
    assert as_cold == cold
    assert [replace(bind, source=Path()) for bind in warm.binds] == [
        replace(bind, source=Path()) for bind in cold.binds
    ]


async def test_jobs_at_the_same_time_get_containers_of_their_own(bench: Bench) -> None:
    await bench.warm()
    await bench.fill()
    await asyncio.gather(*(bench.run({"sleep": 0.01}, {"result": 1}) for _ in range(20)))
    assert len({claim.container for claim in bench.claims}) == 20


async def test_big_arguments_reach_a_container_that_has_waited(bench: Bench) -> None:
    await bench.warm()
    (waiting,) = bench.waiting()
    found: list[list[str]] = []

    def look(_: dict[str, Any]) -> None:
        found.append([path.name for path in waiting.binds[0].source.iterdir()])

    bench.engine.functions["look"] = look
    await bench.run({"call": "look"}, args=json.dumps({"s": "x" * INLINE_ARGS_BYTES_MAX}).encode())
    assert (found, bench.claims[0].container) == ([["args.json"]], waiting.name)


async def test_the_isolation_that_is_told_is_the_job_s(bench: Bench) -> None:
    await bench.warm()
    await bench.run(memory_mb=300, cpus=0.5, pids=99)
    (claim,) = bench.claims
    assert (claim.memory_mb, claim.cpus, claim.pids) == (300, 0.5, 99)


# ---------------------------------------------------------------- what is not


async def test_one_that_died_while_it_waited_is_not_handed_out(bench: Bench) -> None:
    """It is removed and replaced."""
    await bench.warm()
    (dead,) = bench.waiting()
    await bench.engine.kill(dead.name)
    await bench.settle()
    assert dead.name not in bench.engine.living
    await bench.run()
    assert bench.roles == ["pool", "job"]
    await bench.fill(looks=1)
    assert bench.waiting()


async def test_one_that_spoke_unasked_is_not_handed_out(bench: Bench) -> None:
    """Whoever writes before the job may not be what we started."""
    await bench.warm()
    (odd,) = bench.waiting()
    bench.engine.living[odd.name].say(type="log", stream="stdout", text="hello")
    await bench.settle()
    await bench.run()
    assert bench.claims[0].container != odd.name


async def test_one_that_is_gone_when_the_job_is_written_costs_no_attempt(bench: Bench) -> None:
    """The job starts cold; the lease names the container it really got."""
    await bench.warm()
    (gone,) = bench.waiting()
    bench.engine.broken_writes = 1
    assert isinstance(await bench.run({"result": 1}), Returned)
    assert [claim.container == gone.name for claim in bench.claims] == [True, False]
    await bench.settle()
    assert gone.name not in bench.engine.living


async def test_one_that_dies_while_the_lease_is_committed_costs_no_attempt(bench: Bench) -> None:
    await bench.warm()
    (dying,) = bench.waiting()
    names: list[str] = []

    async def kill(isolation: Isolation) -> None:
        names.append(isolation.container)
        await bench.engine.kill(dying.name)
        await bench.settle()

    assert isinstance(
        await bench.sandbox.run(replace(bench.order(), listener=Listener(claimed=kill))), Returned
    )
    assert names[0] == dying.name != names[1]


async def test_a_job_whose_lease_fails_uses_up_its_container_all_the_same(bench: Bench) -> None:
    """A container that was taken is never put back."""

    async def refuse(_: Isolation) -> None:
        raise RuntimeError("no lease")

    await bench.warm()
    (taken,) = bench.waiting()
    with pytest.raises(RuntimeError, match="no lease"):
        await bench.sandbox.run(replace(bench.order(), listener=Listener(claimed=refuse)))
    await bench.settle()
    assert taken.name not in bench.engine.living


@pytest.mark.parametrize(
    ("language", "limits", "fits"),
    [
        ("python3", {"memory_mb": 512}, True),
        ("python3", {"cpus": 0.5, "pids": 64}, True),
        ("python3", {"tmp_mb": 128}, False),
        ("deno", {"cpus": 0.5}, True),
        ("deno", {"memory_mb": 512}, False),  # its runner was told at its boot how big its heap may be
    ],
)
async def test_other_limits(bench: Bench, language: str, limits: dict[str, Any], fits: bool) -> None:
    """Those that can be changed while a container runs are; for others the job starts cold."""
    await bench.warm(language=language)
    (waiting,) = bench.waiting()
    await bench.run(language=language, **limits)
    assert (bench.engine.updated == [waiting.name]) is fits
    assert (bench.claims[0].container == waiting.name) is fits


@pytest.mark.parametrize("trouble", ["cannot", "fails"])
async def test_limits_that_the_engine_does_not_change(bench: Bench, trouble: str) -> None:
    """The job starts cold, and nobody gets the container: what it has is not known."""
    await bench.warm()
    (waiting,) = bench.waiting()
    bench.engine.can_update = False
    if trouble == "fails":

        async def update(name: str, hardening: object) -> bool:
            raise EngineError("no")

        bench.engine.update = update  # type: ignore[method-assign]
    await bench.run(memory_mb=512)
    await bench.settle()
    assert bench.roles == ["pool", "job"]
    assert waiting.name not in bench.engine.living


async def test_limits_that_travel_with_the_job_are_no_difference(bench: Bench) -> None:
    """Time, log and result; a result as big as the job may have comes through."""
    await bench.warm()
    order = bench.order({"result": "x" * 5000})
    limits = replace(order.limits, timeout_s=7, log_bytes=10, result_bytes=6000)
    outcome = await bench.sandbox.run(replace(order, limits=limits))
    assert isinstance(outcome, Returned)
    assert bench.roles == ["pool"]


async def test_one_that_is_too_old_is_replaced(bench: Bench) -> None:
    await bench.warm()
    (old,) = bench.waiting()
    bench.now += AGE_MAX_S
    await bench.run()
    await bench.settle()
    assert bench.claims[0].container != old.name
    assert old.name not in bench.engine.living


async def test_an_image_that_was_built_anew_ends_what_waits_in_the_old_one(bench: Bench) -> None:
    """Under the same name: the service's names stay, when the host's certificates are renewed, say."""
    bench.engine.images["built"] = ImageSeen("sha256:old")
    bench.sandbox = replace(bench.sandbox, places=replace_images(bench, "built"))
    await bench.warm()
    (old,) = bench.waiting()
    bench.engine.images["built"] = ImageSeen("sha256:new")
    bench.now += LOOK_AT_IMAGES_S
    bench.pool.start()
    await asyncio.sleep(0.1)
    assert old.name not in bench.engine.living
    assert bench.waiting(), "new ones wait instead"


def replace_images(bench: Bench, tag: str) -> Any:
    """Places whose languages all run in this image."""

    async def image_of(_: Runtime) -> str:
        return tag

    return replace(bench.sandbox.places, image_of=image_of)  # type: ignore[type-var]


async def test_a_run_s_shared_directory_is_nobody_else_s(bench: Bench) -> None:
    """Its jobs start cold, and nothing waits with it."""

    async def sync() -> None:
        raise AssertionError("whose business is that?")

    await bench.warm()
    mount = Bind(Path("/data/files"), "/shared", writable=True)
    shared = SharedDirectory("run", mount, 1 << 30, None, "kind", True, sync)
    for _ in range(2):
        await bench.run(shared=shared)
        await bench.fill(looks=5)
    assert bench.roles.count("job") == 2
    assert all(mount not in spec.binds for spec in bench.waiting())


# ---------------------------------------------------------------- workspaces


def with_egress() -> Runtime:
    """Python, had its manifest said that it has a network."""
    runtime = scan().by_name["python3"]
    return replace(runtime, manifest=runtime.manifest.model_copy(update={"network": "egress"}))


async def test_without_a_network_all_workspaces_have_the_same_containers(bench: Bench) -> None:
    await bench.warm()
    await bench.run(workspace="other")
    assert bench.roles == ["pool"]


async def test_a_network_is_its_workspace_s(bench: Bench) -> None:
    """What waits in one workspace's network is for that workspace alone."""
    await bench.run(runtime=with_egress(), workspace="a")
    await bench.fill(looks=3)
    (network,) = {spec.network for spec in bench.waiting()}
    await bench.run(runtime=with_egress(), workspace="b")
    await bench.run(runtime=with_egress(), workspace="a")
    started = {spec.name: spec for spec in bench.engine.started}
    assert started[bench.claims[1].container].network != network
    assert started[bench.claims[2].container].network == network
    assert started[bench.claims[2].container].labels[LABEL_ROLE] == "pool"


async def test_another_policy_is_another_container(bench: Bench) -> None:
    await bench.run(runtime=with_egress(), reach=(Reach("10.0.0.5"),))
    await bench.fill(looks=3)
    assert bench.waiting()
    await bench.run(runtime=with_egress(), reach=(Reach("10.0.0.6"),))
    assert bench.roles[-1] == "job"


async def test_a_holder_s_end_ends_what_waits_in_its_network(bench: Bench) -> None:
    await bench.run(runtime=with_egress())
    await bench.fill(looks=3)
    before = {spec.name for spec in bench.waiting()}
    holder = next(spec for spec in bench.engine.started if spec.labels[LABEL_ROLE] == "holder")
    await bench.engine.kill(holder.name)
    await bench.settle()
    await bench.run(runtime=with_egress())
    await bench.settle()
    assert before
    assert not before & set(bench.engine.living)
    assert bench.claims[-1].container not in before


# ---------------------------------------------------------------- how much waits


async def test_a_language_that_nobody_used_has_one_at_once_and_more_with_time(bench: Bench) -> None:
    await bench.warm()
    assert len(bench.waiting()) == 1
    await bench.fill()
    assert len(bench.waiting()) == UNUSED_DEPTH


async def test_idle_time_after_a_job_buys_depth_for_a_flow_of_forty_steps(bench: Bench) -> None:
    await bench.warm()
    await bench.run()
    await bench.fill(looks=60)
    assert len(bench.waiting()) == USED_DEPTH
    bench.engine.started.clear()
    for _ in range(40):
        await bench.run()
    assert bench.roles == []


async def test_a_burst_is_remembered_as_need(bench: Bench) -> None:
    """So many wait again soon, although a job runs all the time."""
    await bench.warm()
    await asyncio.gather(*(bench.run() for _ in range(10)))
    with bench.pool.job():
        await bench.fill(looks=60, later_s=0.02)
        assert len(bench.waiting()) >= 5
        await bench.fill(looks=60)
    assert len(bench.waiting()) >= 10


async def test_while_jobs_need_every_core_refills_wait_but_not_for_ever(bench: Bench) -> None:
    await bench.warm()
    await bench.run()
    with bench.pool.job(), bench.pool.job():
        await bench.fill(looks=10, later_s=0.1)
        assert len(bench.waiting()) == 0
        await bench.fill(looks=3, later_s=2.0)
        assert len(bench.waiting()) >= 1


async def test_what_nobody_asks_for_shrinks_and_vanishes(bench: Bench) -> None:
    """But for the one of each language of ours."""
    await bench.warm()
    await bench.run()
    await bench.run(tmp_mb=128)
    await bench.fill(looks=60)
    many = len(bench.waiting())
    await bench.fill(looks=20, later_s=60.0)
    assert 1 < len(bench.waiting()) < many
    await bench.fill(looks=20, later_s=HOURS)
    assert len(bench.waiting()) == 1


async def test_no_more_wait_than_may(tmp_path: Path) -> None:
    """Of two languages in need both get some."""
    bench = Bench(tmp_path, count=7)
    for language in ("python3", "bash"):
        await bench.warm(language=language)
        await bench.run(language=language)
    await bench.fill(looks=60)
    images = [spec.image for spec in bench.waiting()]
    assert len(images) == 7
    assert {images.count(f"image-of-{name}") for name in ("python3", "bash")} == {3, 4}
    await bench.sandbox.close(5)


async def test_what_is_merely_put_by_makes_room_for_what_is_needed(tmp_path: Path) -> None:
    """At once, not when it is old."""
    bench = Bench(tmp_path, count=8)
    await bench.warm()
    await bench.run()
    await bench.fill(looks=20)
    assert [spec.image for spec in bench.waiting()] == ["image-of-python3"] * 8
    await asyncio.gather(*(bench.run(language="bash") for _ in range(5)))
    await bench.fill(looks=10)
    assert [spec.image for spec in bench.waiting()].count("image-of-bash") >= 5
    assert len(bench.waiting()) == 8
    await bench.sandbox.close(5)


async def test_no_more_memory_waits_than_may(tmp_path: Path) -> None:
    """By what jobs have shown that a container takes; the fake's take 1 KiB and the engine's part."""
    bench = Bench(tmp_path, memory_bytes=100 * 1024 * 1024)
    await bench.warm()
    await bench.fill()
    assert len(bench.waiting()) == 1, "64 MiB each, before anybody knows"
    await bench.run()
    await bench.fill()
    assert len(bench.waiting()) == 6
    await bench.sandbox.close(5)


async def test_what_is_expected_is_made_ahead(bench: Bench) -> None:
    """And given up again when it does not come."""
    await bench.warm()
    bench.sandbox.expect(scan().by_name["python3"], "main", 20)
    with bench.pool.job():  # what is merely wished would not be made now
        await bench.fill(looks=40, later_s=0.5)
        assert len(bench.waiting()) == 20


async def test_a_language_unheard_of_is_not_expected(bench: Bench) -> None:
    bench.sandbox.expect(scan().by_name["python3"], "main", 20)
    await bench.fill(looks=5)
    assert bench.waiting() == []


async def test_a_compiler_is_not_put_by_in_dozens(bench: Bench) -> None:
    await bench.warm(role="compile")
    await bench.run(role="compile")
    await bench.fill(looks=60)
    assert 1 <= len(bench.waiting()) <= 3


async def test_what_does_not_boot_is_tried_less_and_less(bench: Bench) -> None:
    await bench.sandbox.warm(bench.order())
    bench.engine.failures.extend(EngineTransient("no") for _ in range(100))
    await bench.fill(looks=300, later_s=0.2)
    assert 90 < len(bench.engine.failures) < 100
    bench.engine.failures.clear()
    await bench.fill(looks=10, later_s=60)
    assert bench.waiting()


async def test_an_image_that_is_missing_warms_nothing(bench: Bench) -> None:
    bench.engine.missing_images.add("image-of-python3")
    await bench.sandbox.warm(bench.order())
    await bench.fill(looks=5)
    assert bench.engine.started == []


async def test_metrics_say_who_found_what(bench: Bench) -> None:
    def value(name: str, language: str = "bash") -> float:
        return telemetry.registry.get_sample_value(name, {"language": language}) or 0.0

    hits, misses = value("executor_pool_hits_total"), value("executor_pool_misses_total")
    waiting = value("executor_pool_waiting")
    await bench.run(language="bash")
    await bench.warm(language="bash")
    assert value("executor_pool_waiting") == waiting + 1
    await bench.run(language="bash")
    assert value("executor_pool_waiting") == waiting
    assert value("executor_pool_hits_total") == hits + 1
    assert value("executor_pool_misses_total") == misses + 1
