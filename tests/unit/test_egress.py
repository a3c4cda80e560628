"""Holders on the fake engine: made once on need, shared, replaced when lost, gone when idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.errors import EngineError, EngineTransient
from executor.reach import USUAL_LIMITS, EgressLimits, Reach
from executor.sandbox.cleanup import Cleanup
from executor.sandbox.egress import Egress
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Bridge
from executor.sandbox.fake import FakeEngine
from executor.sandbox.firewall import Surroundings
from executor.sandbox.holders import Joined
from executor.sandbox.refusals import Refusals
from tests.waiting import until

pytestmark = pytest.mark.anyio

DATABASE = (Reach("10.0.0.5", (5432,)),)
WAREHOUSE = (Reach("10.0.0.6", (5432,)),)


class Bench:
    """Holders of one process on a fake engine."""

    def __init__(self, folder: Path, idle_s: float = 60, boot_s: float = 0.0) -> None:
        self.engine = FakeEngine(boot_s)
        self.folder = folder
        self.host: tuple[str, ...] = ()
        self.cleanup = Cleanup(self.engine, folder, "test", "worker")
        self.egress = Egress(
            self.engine,
            self.cleanup,
            self._image,
            self._look_around,
            folder,
            {LABEL: "test", LABEL_WORKER: "worker"},
            idle_s=idle_s,
        )

    async def _image(self) -> str:
        return "image-of-holder"

    def _look_around(self, bridge: Bridge) -> Surroundings:
        return Surroundings(
            host=(*self.host, *bridge.gateways), holders=bridge.subnets, resolvers=("10.0.0.53",)
        )

    async def join(self, workspace: str = "main", reach: tuple[Reach, ...] = DATABASE) -> Joined:
        """Join and leave at once."""
        async with self.egress.joined(workspace, reach) as joined:
            return joined

    def rules(self) -> list[str]:
        """What the one living holder has loaded, in order."""
        (holder,) = self.engine.living.values()
        return holder.rules


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.egress.close()
    await made.cleanup.settle(5)
    assert (made.engine.living, made.engine.bridges) == ({}, {}), "nothing stays behind"


async def test_a_job_joins_a_container_and_no_network_of_the_engine_s(bench: Bench) -> None:
    """The holder alone is on the bridge, alone has a capability, and carries our labels."""
    joined = await bench.join()
    (spec,) = bench.engine.started
    assert joined.network == f"container:{spec.name}"
    assert spec.network in bench.engine.bridges
    assert spec.hardening.capabilities == ("NET_ADMIN",)
    assert dict(spec.labels) == {LABEL: "test", LABEL_WORKER: "worker", LABEL_ROLE: "holder"}


async def test_the_rules_are_loaded_before_any_job_joins(bench: Bench) -> None:
    async with bench.egress.joined("main", DATABASE):
        (rules,) = bench.rules()
        assert "10.0.0.5/32" in rules
        assert "ip daddr { 172.30.0.0/16 } goto refuse" in rules, "what is around the holder is refused"


async def test_the_rules_follow_the_host_s_addresses(bench: Bench) -> None:
    """For running jobs too, and only when there is something new."""
    async with bench.egress.joined("main", DATABASE):
        bench.egress.host_changed()
        bench.host = ("192.0.2.7",)
        bench.egress.host_changed()
        await until(lambda: len(bench.rules()) == 2)
        assert ["192.0.2.7" in rules for rules in bench.rules()] == [False, True]
        bench.egress.host_changed()
        await asyncio.sleep(0.2)
        assert len(bench.rules()) == 2


async def test_a_holder_that_does_not_take_the_host_s_new_addresses_ends(bench: Bench) -> None:
    """Its jobs reach nothing more, and the next one gets another holder."""
    async with bench.egress.joined("main", DATABASE) as joined:
        bench.host = ("192.0.2.7",)
        bench.engine.refused_rules = "no"
        bench.egress.host_changed()
        await until(lambda: not bench.engine.living)
    bench.engine.refused_rules = None
    assert (await bench.join()).network != joined.network


async def test_jobs_that_need_a_holder_at_once_share_its_making(tmp_path: Path) -> None:
    bench = Bench(tmp_path, boot_s=0.05)
    joined = await asyncio.gather(*(bench.join() for _ in range(20)))
    assert len(set(joined)) == 1
    assert len(bench.engine.started) == 1
    bench.egress.close()
    await bench.cleanup.settle(5)


async def test_workspaces_have_holders_of_their_own(bench: Bench) -> None:
    assert (await bench.join("a")).network != (await bench.join("b")).network
    assert len(bench.engine.bridges) == 1


async def test_a_cancelled_job_takes_the_half_made_holder_with_it(tmp_path: Path) -> None:
    """And the one that waited for it makes another."""
    bench = Bench(tmp_path, boot_s=0.1)
    first = asyncio.create_task(bench.join())
    await until(lambda: bool(bench.engine.started))
    second = asyncio.create_task(bench.join())
    first.cancel()
    joined = await second
    assert [spec.name for spec in bench.engine.started][1] == joined.network.removeprefix("container:")
    await until(lambda: len(bench.engine.living) == 1)
    bench.egress.close()
    await bench.cleanup.settle(5)


async def test_a_dead_holder_is_replaced(bench: Bench) -> None:
    first = await bench.join()
    await bench.engine.kill(first.network.removeprefix("container:"))
    await asyncio.sleep(0.01)  # its stream has ended by then
    second = await bench.join()
    assert second.network != first.network
    await until(lambda: list(bench.engine.living) == [second.network.removeprefix("container:")])


async def test_a_job_that_was_about_to_join_a_dead_holder_runs_again(bench: Bench) -> None:
    """The engine's refusal is for good; told as transient, the job goes to the next holder."""
    with pytest.raises(EngineTransient, match="holder of the job's network has ended"):
        async with bench.egress.joined("main", DATABASE) as joined:
            await bench.engine.kill(joined.network.removeprefix("container:"))
            await asyncio.sleep(0.01)
            raise EngineError("cannot join network of a non running container")
    assert (await bench.join()).network != joined.network


async def test_a_job_s_own_trouble_stays_what_it_is(bench: Bench) -> None:
    with pytest.raises(EngineError) as caught:
        async with bench.egress.joined("main", DATABASE):
            raise EngineError("no space left")
    assert not isinstance(caught.value, EngineTransient)


async def test_an_idle_holder_goes_and_the_bridge_with_the_last(tmp_path: Path) -> None:
    """Not while a job runs."""
    bench = Bench(tmp_path, idle_s=0.05)
    async with bench.egress.joined("main", DATABASE):
        await bench.join("other")
        await until(lambda: len(bench.engine.living) == 1)
        await bench.join()
        await asyncio.sleep(0.1)
        assert len(bench.engine.living) == 1
    await until(lambda: not bench.engine.living and not bench.engine.bridges)
    assert (await bench.join()).network, "and it comes back when it is needed"
    await until(lambda: not bench.engine.living and not bench.engine.bridges)


async def test_a_changed_policy_replaces_the_rules_of_the_same_holder(bench: Bench) -> None:
    """Of jobs that run, too; a job that still comes with the earlier policy gets the new one."""
    async with bench.egress.joined("main", DATABASE) as before:
        await bench.egress.change("main", WAREHOUSE)
        assert "10.0.0.6/32" in bench.rules()[-1]
        assert "10.0.0.5/32" not in bench.rules()[-1]
    after = await bench.join("main", DATABASE)
    assert (after.network, after.reach) == (before.network, WAREHOUSE)
    assert len(bench.rules()) == 2


async def test_a_changed_policy_that_cannot_be_loaded_ends_the_holder(bench: Bench) -> None:
    """Its jobs must not go on with what they may no longer reach."""
    before = await bench.join()
    bench.engine.refused_rules = "syntax error"
    await bench.egress.change("main", WAREHOUSE)
    await until(lambda: not bench.engine.living)
    bench.engine.refused_rules = None
    after = await bench.join("main", DATABASE)
    assert (after.network != before.network, after.reach) == (True, WAREHOUSE)


async def test_a_job_s_new_policy_is_loaded_without_being_told(bench: Bench) -> None:
    """As when a command runs with other ranges."""
    await bench.join("main", DATABASE)
    joined = await bench.join("main", WAREHOUSE)
    assert joined.reach == WAREHOUSE
    assert len(bench.rules()) == 2


async def test_rules_that_nftables_refuses_give_no_network(bench: Bench) -> None:
    bench.engine.refused_rules = "refused: syntax error"
    with pytest.raises(EngineError, match="refused: syntax error"):
        await bench.join()
    await until(lambda: not bench.engine.living and not bench.engine.bridges)


async def test_a_missing_image_says_what_to_do(bench: Bench) -> None:
    bench.engine.missing_images.add("image-of-holder")
    with pytest.raises(EngineError, match="run `executor images build`"):
        await bench.join()


async def test_names_are_asked_only_where_something_may_be_reached(bench: Bench) -> None:
    """The file is the same one after a change, as running jobs have it open."""
    (bind,) = (await bench.join()).binds
    assert bind.path == "/etc/resolv.conf"
    inode = bind.source.stat().st_ino
    assert bind.source.read_text() == "nameserver 10.0.0.53\n"
    assert bind.source.stat().st_mode & 0o777 == 0o644
    await bench.egress.change("main", ())
    assert (bind.source.read_text(), bind.source.stat().st_ino) == ("", inode)


async def test_what_a_dead_worker_left_is_reaped_and_what_is_ours_is_not(bench: Bench) -> None:
    joined = await bench.join()
    await bench.engine.make_network("left", {LABEL: "test", LABEL_WORKER: "dead"}, ipv6=False)
    await bench.engine.make_network("of-others", {LABEL: "other", LABEL_WORKER: "dead"}, ipv6=False)

    async def nobody(_: str) -> bool:
        return False

    await bench.cleanup.reap(nobody)
    await until(lambda: "left" not in bench.engine.bridges)
    assert list(bench.engine.living) == [joined.network.removeprefix("container:")]
    assert set(bench.engine.bridges) == {bench.engine.started[0].network, "of-others"}
    await bench.engine.remove_network("of-others")


async def test_the_limits_are_loaded_with_the_rules_and_kept_while_they_are_the_same(bench: Bench) -> None:
    """Rules that are loaded anew forget what they have counted."""
    await bench.join()
    await bench.egress.change("main", WAREHOUSE, USUAL_LIMITS)
    await bench.egress.change("main", WAREHOUSE, EgressLimits(connections=3))
    assert ["ct count over" in rules for rules in bench.rules()] == [True, False, True]
    assert "ct count over 3 " in bench.rules()[-1]


@pytest.mark.parametrize(("word", "missing"), [("log prefix", "not told"), ("ct count", "not limited")])
async def test_what_the_kernel_lacks_is_left_out_and_said(bench: Bench, word: str, missing: str) -> None:
    """All else holds."""
    bench.engine.unknown_words.add(word)
    await bench.join()
    (rules,) = bench.rules()
    assert ("10.0.0.5/32" in rules, word in rules) == (True, False)
    assert bench.egress.abilities is not None
    (said,) = bench.egress.abilities.missing
    assert missing in said
    assert word in said


async def test_a_job_hears_what_was_refused_to_it_alone_or_to_somebody(bench: Bench) -> None:
    """All of it by the time that it has ended; an earlier job hears nothing more."""
    logs: list[list[str]] = [[], [], []]
    refusals = [Refusals(log.append) for log in logs]
    for job in refusals:
        job.has_failed = True
    bench.engine.packets.append("policy tcp 10.0.0.8 80")  # to somebody before
    async with bench.egress.joined("main", DATABASE, USUAL_LIMITS, refusals[0]):
        await asyncio.sleep(0.01)
        bench.engine.packets.append("policy tcp 10.0.0.9 80")
    async with bench.egress.joined("main", DATABASE, USUAL_LIMITS, refusals[1]):
        async with bench.egress.joined("main", DATABASE, USUAL_LIMITS, refusals[2]):
            await asyncio.sleep(0.01)
            bench.engine.packets.append("policy tcp 10.0.0.9 81")
        await asyncio.sleep(0.01)
        bench.engine.packets.append("policy tcp 10.0.0.9 82")
    policy = "(the workspace's policy does not allow it)\n"
    assert logs[0] == [f"[executor] refused: tcp 10.0.0.9:80 {policy}"]
    assert logs[2] == [f"[executor] a job of this workspace was refused: tcp 10.0.0.9:81 {policy}"]
    assert logs[1] == [*logs[2], f"[executor] refused: tcp 10.0.0.9:82 {policy}"]


async def test_what_is_told_late_of_an_ended_job_is_not_blamed_on_the_one_that_is_left(bench: Bench) -> None:
    """A job that succeeds does not wait for what the holder has to tell."""
    left, log = Refusals(lambda _: None), list[str]()
    async with bench.egress.joined("main", DATABASE, USUAL_LIMITS, Refusals(log.append)):
        async with bench.egress.joined("main", DATABASE, USUAL_LIMITS, left):
            await asyncio.sleep(0.01)
            bench.engine.packets.append("policy tcp 10.0.0.9 80")
        await asyncio.sleep(0.01)
    (line,) = log
    assert line.startswith("[executor] a job of this workspace was refused: tcp 10.0.0.9:80")


async def test_a_holder_that_dies_under_a_job_does_not_hurt_its_end(bench: Bench) -> None:
    async with bench.egress.joined("main", DATABASE, USUAL_LIMITS, Refusals(lambda _: None)) as joined:
        await bench.engine.kill(joined.network.removeprefix("container:"))
