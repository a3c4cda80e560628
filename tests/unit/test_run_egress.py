"""A run of a language with egress: whose network it gets, and what is told of it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.containers import HolderParts, Parts, make_sandbox
from executor.reach import Reach
from executor.runtimes import Runtime, scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.fake import FakeEngine
from executor.sandbox.firewall import Surroundings
from executor.sandbox.order import Listener, Order
from executor.script import Failed, Isolation, Outcome, Script, resolve_limits
from executor.settings import LimitBounds
from tests.service import local_service
from tests.waiting import until

pytestmark = pytest.mark.anyio

DATABASE = (Reach("10.0.0.5", (5432,)),)


def with_egress(runtime: Runtime) -> Runtime:
    """The language, had its manifest said so."""
    return replace(runtime, manifest=runtime.manifest.model_copy(update={"network": "egress"}))


class Bench:
    """A sandbox on a fake engine, for one order at a time."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        holder = HolderParts(lambda: "image-of-holder", lambda _: Surroundings(resolvers=("10.0.0.53",)))
        parts = Parts(self.engine, lambda runtime: f"image-of-{runtime.name}", holder=holder)
        self.sandbox = make_sandbox(parts, folder, "test", "worker")
        self.log = ""
        self.claims: list[Isolation] = []

    async def _claimed(self, isolation: Isolation) -> None:
        self.claims.append(isolation)

    def _log(self, text: str) -> None:
        self.log += text

    async def run(
        self, *steps: dict[str, Any], reach: tuple[Reach, ...] = DATABASE, egress: bool = True
    ) -> Outcome:
        runtime = scan().by_name["python3"]
        order = Order(
            name=f"c-{uuid.uuid4()}",
            runtime=with_egress(runtime) if egress else runtime,
            script=Script("python3", json.dumps(steps)),
            limits=resolve_limits({}, LimitBounds()),
            cancellation=Cancellation(0.05),
            listener=Listener(claimed=self._claimed, log=self._log),
            reach=reach,
        )
        return await self.sandbox.run(order)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.sandbox.close(5)
    assert (made.engine.living, made.engine.bridges) == ({}, {})


async def test_a_job_joins_its_holder_and_asks_whom_it_may(bench: Bench) -> None:
    """By the isolation that is told, anybody can see what it could reach."""
    await bench.run({"result": 1})
    holder, job = bench.engine.started
    assert job.network == f"container:{holder.name}"
    assert job.hardening.capabilities == ()
    assert [bind.path for bind in job.binds] == ["/executor/in", "/etc/resolv.conf"]
    (isolation,) = bench.claims
    assert (isolation.network, isolation.reach) == ("egress", ("10.0.0.5/32:5432",))


async def test_without_egress_a_job_has_no_network_whatever_its_policy(bench: Bench) -> None:
    await bench.run({"result": 1}, egress=False)
    (job,) = bench.engine.started
    assert (job.network, bench.claims[0].network, bench.claims[0].reach) == ("none", "none", ())


async def test_a_script_that_fails_where_all_is_closed_is_told_what_opens_it(bench: Bench) -> None:
    """In its log; one that succeeds, or whose workspace has ranges, is told nothing."""
    assert isinstance(await bench.run({"log": "no route\n"}, {"exit": 1}, reach=()), Failed)
    assert bench.log.startswith("no route\n--- workspace main may reach nothing")
    assert "EXECUTOR_NETWORKS" in bench.log
    bench.log = ""
    await bench.run({"exit": 1})
    await bench.run({"result": 1}, reach=())
    await bench.run({"exit": 1}, reach=(), egress=False)
    assert bench.log == ""


@pytest.fixture
def languages(tmp_path: Path) -> str:
    """Python with network, as an operator's own folder would have it."""
    folder = tmp_path / "languages" / "python3"
    folder.mkdir(parents=True)
    said = (scan().by_name["python3"].folder / "runtime.toml").read_text("utf-8")
    (folder / "runtime.toml").write_text(said.replace('network = "none"', 'network = "egress"'))
    return str(folder.parent)


async def test_a_workspace_s_policy_counts_else_the_instance_s(tmp_path: Path, languages: str) -> None:
    """An empty list is a policy too; a change counts for the next job."""
    async with local_service(tmp_path / "data", runtimes=languages, networks="10.0.0.5:5432") as service:

        async def reached() -> list[str]:
            job = await service.ended(await service.run({"result": 1}))
            found: list[str] = job["sandbox"]["reach"]
            return found

        assert await reached() == ["10.0.0.5/32:5432"]
        for networks, expected in [([], []), ([{"cidr": "10.0.0.6"}], ["10.0.0.6/32"])]:
            policy = {"policy": {"networks": networks}}
            await service.http.post("/api/workspaces/set_policy/main", json=policy)
            assert await reached() == expected
        assert sum(spec.labels["executor.role"] == "holder" for spec in service.engine.started) == 1


async def test_what_was_refused_goes_the_way_of_the_job_s_log(tmp_path: Path, languages: str) -> None:
    """Over HTTP it is read like the rest; a policy's lower limits are those that are told."""
    async with local_service(tmp_path / "data", runtimes=languages, egress_connections=7) as service:
        policy = {"policy": {"egress": {"connections": 3}}}
        await service.http.post("/api/workspaces/set_policy/main", json=policy)
        id = await service.run({"sleep": 0.3}, {"log": "hello\n"}, {"exit": 1})
        await until(lambda: len(service.engine.started) == 2)
        await asyncio.sleep(0.05)  # the holder was asked for what was before, and has told nothing
        service.engine.packets.append("connections tcp 10.0.0.5 80")
        await service.ended(id)
        log = (await service.http.get(f"/api/w/main/jobs_u/get_logs/{id}")).text
        assert "refused: tcp 10.0.0.5:80 (the workspace has 3 connections open already)\n" in log


async def test_readiness_asks_for_the_holder_s_image(tmp_path: Path, languages: str) -> None:
    """Where a language needs it."""
    async with local_service(tmp_path / "data", runtimes=languages) as service:
        service.engine.missing_images.add("image-of-holder")
        ready = await service.http.get("/ready")
        (holder,) = (check for check in ready.json()["checks"] if check["name"] == "image holder")
        assert (ready.status_code, holder["ok"]) == (503, False)
        assert "executor images build" in holder["detail"]
