"""The pool on the fake engine: how much waits, and for how long."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor import telemetry
from executor.errors import EngineTransient
from executor.runtimes import scan
from executor.sandbox.demand import UNUSED_DEPTH, USED_DEPTH
from tests.pools import HOURS, Bench

pytestmark = pytest.mark.anyio


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
