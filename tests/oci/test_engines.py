"""Docker and oci as one engine: who makes which container, and what is said where oci does not work."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from executor.errors import ConfigurationError, EngineError, ImageMissing
from executor.runtimes import scan
from executor.sandbox.docker import DockerEngine
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Seen
from executor.sandbox.engines import EngineChoice, Engines
from executor.sandbox.hardening import MIB, harden
from executor.sandbox.images import Images
from executor.sandbox.oci.engine import RUN
from executor.sandbox.spec import ContainerSpec
from executor.script import resolve_limits
from executor.settings import LimitBounds, load
from tests.engines import needs_root

pytestmark = [pytest.mark.engine, pytest.mark.anyio, needs_root]

NOWHERE = Path("/proc/executor")
"""Where nothing can be written, so that no runtime can be given a bundle."""


class Bench:
    """Engines of one test, and specs of its instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Engines] = []
        self.instance = f"test-{uuid.uuid4()}"
        runtimes = scan()
        with closing(Images(load().base_image, runtimes)) as images:
            self.image = images.tag_for("bash")
        self._hardening = harden(runtimes.by_name["bash"], resolve_limits({}, LimitBounds()))

    def engines(self, choice: EngineChoice, run: Path = RUN, image: str | None = None) -> Engines:
        tried = image or self.image
        made = Engines(DockerEngine(threads=4), choice, lambda: tried, self.folder / "roots", run)
        self.made.append(made)
        return made

    def spec(self) -> ContainerSpec:
        labels = {LABEL: self.instance, LABEL_ROLE: "job", LABEL_WORKER: "w"}
        return ContainerSpec(f"executor-test-{uuid.uuid4()}", self.image, self._hardening, labels)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for engines in made.made:
        engines.close()


async def maker_of(engines: Engines, spec: ContainerSpec) -> str:
    """Which engine made this container; it is gone afterwards."""
    try:
        channel = await engines.start(spec)
        assert (await channel.receive()).startswith(b'{"type":"ready"}')
        channel.close()
        return engines.maker(spec.name).engine
    finally:
        await engines.remove(spec.name)


async def test_our_images_go_to_oci_and_everything_else_to_docker(bench: Bench) -> None:
    """The same image named by its id may be anybody's choice; what grants more is docker's too."""
    engines = bench.engines("auto")
    assert await maker_of(engines, bench.spec()) == "oci"
    image = await engines.image(bench.image)
    assert image is not None
    assert await maker_of(engines, replace(bench.spec(), image=image.id)) == "docker"
    writable = replace(bench.spec().hardening, read_only_root=False)
    assert await maker_of(engines, replace(bench.spec(), hardening=writable)) == "docker"
    assert await maker_of(bench.engines("docker"), bench.spec()) == "docker"


async def test_calls_by_name_find_containers_of_before_a_restart(bench: Bench) -> None:
    """On either engine, whatever is chosen now."""
    before = bench.engines("auto")
    fast, slow = bench.spec(), bench.spec()
    after = before
    kept = [await before.start(fast), await bench.engines("docker").start(slow)]
    for choice in ("auto", "docker"):
        after = bench.engines(choice)
        both = {Seen(fast.name, "w"), Seen(slow.name, "w")}
        assert set(await after.containers(bench.instance)) == both
        for spec in (fast, slow):
            assert (await after.ended(spec.name)).running
            assert await after.update(spec.name, replace(spec.hardening, memory_bytes=80 * MIB))
    for channel in kept:
        channel.close()
    for spec in (fast, slow):
        await after.remove(spec.name)
        assert not await after.update(spec.name, spec.hardening)
    assert await after.containers(bench.instance) == []


async def test_where_oci_does_not_work_auto_says_why_and_uses_docker(bench: Bench) -> None:
    engines = bench.engines("auto", NOWHERE)
    await engines.settle()
    about = (await engines.info()).about
    assert about.startswith("docker "), about
    assert str(NOWHERE) in about
    assert await maker_of(engines, bench.spec()) == "docker"


async def test_where_it_was_asked_for_that_is_an_error(bench: Bench) -> None:
    """At the start, and for each container of ours; what it would never make still runs."""
    engines = bench.engines("oci", NOWHERE)
    with pytest.raises(ConfigurationError, match="EXECUTOR_ENGINE='oci' does not work here"):
        await engines.settle()
    with pytest.raises(EngineError, match="EXECUTOR_ENGINE=auto"):
        await engines.start(bench.spec())
    image = await engines.image(bench.image)
    assert image is not None
    assert await maker_of(engines, replace(bench.spec(), image=image.id)) == "docker"


async def test_without_an_image_of_ours_the_first_container_decides(bench: Bench) -> None:
    """Set-up may still be building them."""
    engines = bench.engines("auto", image="executor/none:0")
    await engines.settle()
    assert "once an image of ours is built" in (await engines.info()).about
    with pytest.raises(ImageMissing):
        await engines.start(replace(bench.spec(), image="executor/none:0"))
    assert await maker_of(engines, bench.spec()) == "oci"
    about = (await engines.info()).about
    assert about.startswith(f"oci with {engines.runtime} in user namespaces for our own images, docker "), (
        about
    )
