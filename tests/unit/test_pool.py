"""The pool on the fake engine: what is handed out, and what never is."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.errors import EngineError
from executor.reach import Reach
from executor.runtimes import Runtime, scan
from executor.sandbox.engine import LABEL_ROLE
from executor.sandbox.order import INLINE_ARGS_BYTES_MAX, Listener
from executor.sandbox.pool import AGE_MAX_S, LOOK_AT_IMAGES_S
from executor.sandbox.shared import SharedDirectory
from executor.sandbox.spec import Bind, ImageSeen
from executor.script import Isolation, Returned
from tests.pools import Bench

pytestmark = pytest.mark.anyio


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


async def test_another_runtime_class_is_another_container(bench: Bench) -> None:
    """Nobody gets what another class made; whoever names the class gets what waits for it."""
    await bench.warm()
    await bench.run(runtime_class="runc")
    assert bench.roles[-1] == "job"
    await bench.fill(looks=3)
    assert {spec.runtime_class for spec in bench.waiting()} == {None, "runc"}
    await bench.run(runtime_class="runc")
    await bench.run()
    assert bench.roles[-2:] == ["pool", "pool"]
    started = {spec.name: spec.runtime_class for spec in bench.engine.started}
    assert [started[claim.container] for claim in bench.claims] == ["runc", "runc", None]


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
