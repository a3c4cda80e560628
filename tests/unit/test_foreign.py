"""Scripts that name their image, on the fake engine: what is checked, what is pulled, what is blamed on whom."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.containers import Parts, make_sandbox
from executor.errors import EngineError, EngineTransient, Reason
from executor.runtimes import scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import LABEL, LABEL_ROLE
from executor.sandbox.fake import FakeEngine
from executor.sandbox.foreign import ForeignImages
from executor.sandbox.order import Listener, Order
from executor.sandbox.places import VOLUMES_MAX, Places, volumes
from executor.sandbox.spec import ImageSeen
from executor.script import Failed, Outcome, Returned, Script, resolve_limits
from executor.settings import LimitBounds

pytestmark = pytest.mark.anyio

LIMITS = resolve_limits({}, LimitBounds())
NAME = "docker.io/library/tool:latest"
TOOL = ImageSeen("sha256:1", command=("prog", "x"), folder="/srv")


class Bench:
    """A sandbox on a fake engine, whose registry has one image."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        self.engine.registry[NAME] = TOOL
        self.folder = folder
        self.log = ""
        self.number = 0
        self.use()

    def use(self, *allowed: str, **parts: Any) -> None:
        made = Parts(
            self.engine, lambda runtime: f"image-of-{runtime.image_name}", allowed=allowed or ("*",), **parts
        )
        self.sandbox = make_sandbox(made, self.folder / "in", "test", "worker", tools=self.folder / "tools")

    def order(self, *head: str, language: str = "docker", **more: Any) -> Order:
        self.number += 1
        return Order(
            name=f"c{self.number}",
            runtime=scan().by_name[language],
            script=Script(language, "\n".join(head)),
            limits=LIMITS,
            cancellation=more.pop("cancellation", Cancellation(0.05)),
            listener=Listener(log=self._log),
            **more,
        )

    def _log(self, text: str) -> None:
        self.log += text

    async def run(self, *head: str, **more: Any) -> Outcome:
        return await self.sandbox.run(self.order(*head, **more))

    async def reason(self, *head: str, **more: Any) -> Reason | None:
        outcome = await self.run(*head, **more)
        return outcome.reason if isinstance(outcome, Failed) else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_the_container_is_made_of_the_image_that_was_checked(bench: Bench) -> None:
    """By its id, with jobinit as entrypoint, under our labels, and with nothing else of ours mounted."""
    assert await bench.reason("# image: tool") is Reason.SCRIPT_ERROR, "the fake engine runs no shell"
    (spec,) = bench.engine.started
    assert (spec.image, spec.folder, spec.environment) == ("sha256:1", "/", {"HOME": "/tmp"})
    assert spec.entrypoint[0] == "/executor/jobinit"
    assert spec.entrypoint[spec.entrypoint.index("--") :] == ("--", "prog", "x")
    assert spec.entrypoint[spec.entrypoint.index("--dir") + 1] == "/srv"
    assert [bind.path for bind in spec.binds] == ["/executor/in", "/executor/jobinit", "/executor/runtime"]
    assert not any(bind.writable for bind in spec.binds)
    assert (spec.labels[LABEL], spec.labels[LABEL_ROLE]) == ("test", "job")
    assert (bench.engine.pulls, bench.log.splitlines()[0]) == ([NAME], f"pulling image {NAME}")
    (tools,) = bench.engine.read
    assert (tools.image, tools.labels[LABEL], tools.labels[LABEL_ROLE]) == (
        "sha256:image-of-base",
        "test",
        "tools",
    )


@pytest.mark.parametrize(
    ("head", "program"),
    [
        ([], ["enter", "prog", "x"]),
        (['# command: ["y"]'], ["enter", "y"]),
        (["# command: []"], ["enter"]),
        (['# entrypoint: ["other"]'], ["other"]),
        (['# entrypoint: ["other"]', '# command: ["y"]'], ["other", "y"]),
        (["# entrypoint: []", '# command: ["y"]'], ["y"]),
    ],
)
async def test_the_header_replaces_what_the_image_would_run(
    bench: Bench, head: list[str], program: list[str]
) -> None:
    """As with Docker, a new entrypoint does not get the old command."""
    bench.engine.registry[NAME] = replace(TOOL, entrypoint=("enter",))
    await bench.run("# image: tool", *head)
    argv = list(bench.engine.started[0].entrypoint)
    assert argv[argv.index("--") + 1 :] == program


async def test_a_shell_script_runs_in_the_job_directory_with_the_header_s_command(bench: Bench) -> None:
    await bench.run("# image: tool", '# command: ["a"]', "echo")
    argv = list(bench.engine.started[0].entrypoint)
    assert "--dir" not in argv
    assert argv[argv.index("--") + 1 :] == ["/bin/sh", "./main.sh", "a"]


async def test_a_language_s_own_runner_is_started_in_another_image(bench: Bench) -> None:
    python = scan().by_name["python3"]
    await bench.run("# sandbox tool", language="python3")
    (spec,) = bench.engine.started
    assert (spec.image, list(spec.entrypoint)) == ("sha256:1", python.jobinit_argv)
    assert spec.hardening.user == ""


async def test_a_script_that_names_no_image_costs_nothing_of_this(bench: Bench) -> None:
    outcome = await bench.run(json.dumps([{"result": 1}]), language="python3")
    assert isinstance(outcome, Returned)
    (spec,) = bench.engine.started
    assert (spec.image, spec.environment, spec.folder) == ("image-of-python3", {}, None)
    assert (bench.engine.read, bench.engine.pulls, len(spec.binds)) == ([], [], 1)


async def test_a_wrong_header_starts_nothing(bench: Bench) -> None:
    assert await bench.reason("# image: a b") is Reason.BAD_INPUT
    assert await bench.reason("# docker", language="bash") is Reason.BAD_INPUT
    assert await bench.reason("// sandbox tool", language="go") is Reason.BAD_INPUT
    assert (bench.engine.started, bench.engine.pulls) == ([], [])


async def test_jobs_that_wait_for_one_image_share_its_pull(bench: Bench) -> None:
    """And one that is cancelled meanwhile does not take it from the others."""
    bench.engine.pull_s = 2
    leaving = Cancellation(0.05)
    jobs = [bench.order("# image: tool", cancellation=c) for c in (Cancellation(1), leaving, Cancellation(1))]
    running = [asyncio.create_task(bench.sandbox.run(job)) for job in jobs]
    await asyncio.sleep(0.05)
    leaving.ask()
    async with asyncio.timeout(1.5):
        left = await running[1]
    assert isinstance(left, Failed)
    assert left.reason is Reason.CANCELLED
    await asyncio.gather(*running)
    assert (bench.engine.pulls, len(bench.engine.started)) == ([NAME], 2)


async def test_a_pull_without_anybody_who_waits_is_given_up(bench: Bench) -> None:
    bench.engine.pull_s = 60
    cancellation = Cancellation(0.05)
    running = asyncio.create_task(bench.sandbox.run(bench.order("# image: tool", cancellation=cancellation)))
    await asyncio.sleep(0.05)
    cancellation.ask()
    await running
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "_pull" in str(task.get_coro())]
    bench.engine.pull_s = 0
    assert await bench.reason("# image: tool") is Reason.SCRIPT_ERROR
    assert len(bench.engine.started) == 1


async def test_a_pull_is_bounded(bench: Bench) -> None:
    bench.engine.pull_s = 60
    places = bench.sandbox.places
    assert isinstance(places, Places)
    bench.sandbox = replace(
        bench.sandbox,
        places=replace(places, foreign=ForeignImages(bench.engine, ["*"], "missing", pull_s=0.05)),
    )
    outcome = await bench.run("# image: tool")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.message) == (
        Reason.IMAGE_NOT_FOUND,
        f"image {NAME}: it cannot be pulled within 0.05 s",
    )


async def test_what_is_not_allowed_is_not_pulled(bench: Bench) -> None:
    bench.use("other")
    assert await bench.reason("# image: tool") is Reason.IMAGE_NOT_ALLOWED
    bench.use()
    assert await bench.reason("# image: tool", images=("other",)) is Reason.IMAGE_NOT_ALLOWED
    assert await bench.reason("# image: tool", images=()) is Reason.IMAGE_NOT_ALLOWED
    assert bench.engine.pulls == []
    outcome = await bench.run("# sandbox tool", language="bash", images=())
    assert isinstance(outcome, Failed)
    assert outcome.message == f"image {NAME} is not allowed by the workspace's policy (images)"
    assert await bench.reason("# image: tool", images=("tool:*",)) is Reason.SCRIPT_ERROR


async def test_an_image_that_is_gone_again_is_not_found(bench: Bench) -> None:
    bench.engine.missing_images.add("sha256:1")
    assert await bench.reason("# image: tool") is Reason.IMAGE_NOT_FOUND


async def test_what_does_not_start_is_the_image_s_fault_unless_it_may_pass(bench: Bench) -> None:
    """In an image of ours it is our trouble."""
    bench.engine.failures.append(EngineError("unable to find user web"))
    assert await bench.reason("# image: tool") is Reason.BAD_INPUT
    bench.engine.failures.append(EngineTransient("busy"))
    with pytest.raises(EngineTransient):
        await bench.run("# image: tool")
    bench.engine.failures.append(EngineError("no"))
    with pytest.raises(EngineError):
        await bench.run("[]", language="python3")


async def test_the_image_s_own_user_and_a_writable_root_are_asked_for(bench: Bench) -> None:
    """The engine must be able to bound the root."""
    bench.engine.registry[NAME] = replace(TOOL, user="web")
    await bench.run("# image: tool", "# user: image")
    hard = bench.engine.started[0].hardening
    assert (hard.user, hard.read_only_root, {t.mode for t in hard.tmpfs}) == ("web", True, {"1777"})
    outcome = await bench.run("# image: tool", "# writable: true")
    assert isinstance(outcome, Failed)
    assert "the engine (fake, unknown) cannot bound a root" in outcome.message
    bench.engine.can_bound_root = True
    await bench.run("# image: tool", "# writable: true")
    hard = bench.engine.started[1].hardening
    assert (hard.user, hard.read_only_root, hard.root_bytes) == ("", False, LIMITS.tmp_mb << 20)


async def test_volumes_become_memory(bench: Bench) -> None:
    bench.engine.registry[NAME] = replace(
        TOOL, volumes=("/data", "/tmp", "var/../srv/", "/executor/in", "/executor", "/executor/jobinit/..")
    )
    await bench.run("# image: tool")
    tmpfs = [t for t in bench.engine.started[0].hardening.tmpfs if t.path != "/dev/shm"]
    assert [t.path for t in tmpfs] == ["/job", "/tmp", "/shared", "/data", "/executor", "/srv"]
    assert len({(t.size_bytes, t.inodes, t.mode) for t in tmpfs}) == 1
    many = replace(TOOL, volumes=tuple(f"/v{n}" for n in range(VOLUMES_MAX + 1)))
    bench.engine.images[NAME] = many
    assert await bench.reason("# image: tool") is Reason.BAD_INPUT
    assert volumes(ImageSeen("x", volumes=("/a/../c", "/cs", "../../b", "/", "/d/.")), {"/d"}) == [
        "/b",
        "/c",
        "/cs",
    ]
