"""From script to program, on the fake engine: when it is compiled, when not, and what a failure says."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.containers import Parts, make_sandbox
from executor.errors import EngineError, EngineTransient, Reason
from executor.runtimes import Manifest, Runtime
from executor.sandbox.compiling import limits_of, program_key
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import LABEL_ROLE
from executor.sandbox.fake import FakeContainer, FakeEngine
from executor.sandbox.order import Listener, Order
from executor.sandbox.programs import Programs
from executor.sandbox.run import Sandbox
from executor.sandbox.spec import ContainerSpec
from executor.script import Failed, Outcome, Returned, Script, resolve_limits
from executor.settings import LimitBounds

pytestmark = pytest.mark.anyio

LIMITS = resolve_limits({"timeout_s": 7}, LimitBounds())
PROGRAM = {"result": base64.b64encode(b"program").decode()}
"""The fake engine does in both containers what the script says: this result is the program, too."""


def compiled(**compile_says: Any) -> Runtime:
    """A language that compiles."""
    how = {
        "runner": ["make"],
        "label": "x build",
        "limits": {"timeout_s": 0.5, "memory_mb": 99},
        **compile_says,
    }
    said = {"title": "X", "source": "main.x", "runner": ["exec"], "label": "x run", "run_image": "base"}
    return Runtime("x", Path("/nonexistent"), Manifest.model_validate({**said, "compile": how}))


class Looking(FakeEngine):
    """A fake engine that notes what each container finds in its own directory when its job comes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, bytes]] = []

    async def _act(self, container: FakeContainer, job: dict[str, Any]) -> None:
        (bind,) = container.spec.binds
        self.found.append({path.name: path.read_bytes() for path in bind.source.iterdir()})
        await super()._act(container, job)


class Bench:
    """A sandbox on a fake engine."""

    def __init__(self, folder: Path, bytes_max: int = 1000) -> None:
        self.engine = Looking()
        programs = Programs(folder / "programs", bytes_max)
        parts = Parts(self.engine, lambda runtime: f"image-of-{runtime.image_name}")
        self.sandbox: Sandbox = make_sandbox(parts, folder / "in", "test", "worker", programs)
        self.log = ""
        self.number = 0

    def order(self, *steps: dict[str, Any], **more: Any) -> Order:
        self.number += 1
        return Order(
            name=f"c{self.number}",
            runtime=more.pop("runtime", compiled()),
            script=Script("x", json.dumps(steps)),
            limits=LIMITS,
            cancellation=Cancellation(0.05),
            listener=Listener(log=self._log),
            **more,
        )

    def _log(self, text: str) -> None:
        self.log += text

    async def run(self, *steps: dict[str, Any], **more: Any) -> Outcome:
        return await self.sandbox.run(self.order(*steps, **more))

    def started(self, role: str) -> list[ContainerSpec]:
        return [spec for spec in self.engine.started if spec.labels[LABEL_ROLE] == role]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_script_is_compiled_in_one_container_and_runs_in_another(bench: Bench) -> None:
    """Each in its image, started with its own runner, under its own limits."""
    assert isinstance(await bench.run(PROGRAM), Returned)
    compile_spec, run_spec = bench.engine.started
    assert (compile_spec.image, run_spec.image) == ("image-of-x", "image-of-base")
    assert (compile_spec.entrypoint[-1], run_spec.entrypoint[-1]) == ("make", "exec")
    assert (compile_spec.labels[LABEL_ROLE], run_spec.labels[LABEL_ROLE]) == ("compile", "job")
    assert compile_spec.hardening.network == "none"
    assert compile_spec.hardening.memory_bytes == 99 << 20 != run_spec.hardening.memory_bytes
    assert bench.engine.found == [{}, {"program": b"program"}]


async def test_what_is_there_is_not_compiled_again(bench: Bench) -> None:
    """Another source, compiler, image or workspace is another program."""
    for _ in range(2):
        await bench.run(PROGRAM)
    assert len(bench.started("compile")) == 1
    await bench.run({"log": "edited"}, PROGRAM)
    await bench.run(PROGRAM, workspace="team-a")
    await bench.run(PROGRAM, runtime=compiled(runner=["make", "-O2"]))
    assert len(bench.started("compile")) == 4
    await bench.run(PROGRAM, runtime=compiled(label="only said otherwise"))
    assert len(bench.started("compile")) == 4


def test_a_program_depends_on_image_flags_source_and_nothing_else() -> None:
    compiler = compiled().compiler
    assert compiler is not None
    script = Script("x", "source", b'{"a":1}', {"A": "1"})
    key = program_key("image", compiler, script)
    assert key == program_key("image", compiler, Script("x", "source"))
    assert (
        len({key, program_key("other", compiler, script), program_key("image", compiler, Script("x", "s"))})
        == 3
    )


async def test_jobs_that_need_the_same_program_wait_for_one_compiler(bench: Bench) -> None:
    outcomes = await asyncio.gather(*(bench.run({"sleep": 0.05}, PROGRAM) for _ in range(5)))
    assert all(isinstance(outcome, Returned) for outcome in outcomes)
    assert (len(bench.started("compile")), len(bench.started("job"))) == (1, 5)


async def test_a_program_that_is_not_kept_runs_all_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, bytes_max=1)
    for _ in range(2):
        assert isinstance(await bench.run(PROGRAM), Returned)
    assert len(bench.started("compile")) == 2


async def test_a_full_disk_keeps_no_program_and_is_our_trouble(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the kept programs have no room, the job runs."""
    (tmp_path / "programs").write_text("in the way")
    assert isinstance(await bench.run(PROGRAM), Returned)

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EngineError, match="cannot be written: no space left"):
        await bench.run(PROGRAM)


@pytest.mark.parametrize(
    ("steps", "reason", "says"),
    [
        ([{"exit": 1}], Reason.SCRIPT_ERROR, 'exit code for "x build": 1, last log lines:\nnot well formed'),
        ([{"oom": True}, {"exit": 137}], Reason.OUT_OF_MEMORY, 'in "x build": '),
        ([{"oom": True}, {"exit": 137}], Reason.OUT_OF_MEMORY, "memory_mb: 99"),
        ([{"stopped": "timeout"}], Reason.TIMEOUT, 'in "x build": execution error:\njob process terminated'),
        ([{"stopped": "result_too_large"}], Reason.RESULT_TOO_LARGE, 'in "x build": the result exceeded'),
        (
            [{"error": {"name": "ExecutionErr", "message": "no module m", "reason": "dependency_error"}}],
            Reason.DEPENDENCY_ERROR,
            "no module m",
        ),
    ],
)
async def test_a_failed_compilation_is_the_job_s_end_and_says_so(
    bench: Bench, steps: list[dict[str, Any]], reason: Reason, says: str
) -> None:
    for _ in range(2):  # nothing is kept of it
        outcome = await bench.run({"log": "not well formed\n"}, *steps)
        assert isinstance(outcome, Failed)
        assert outcome.reason is reason
        assert says in outcome.message
        assert (outcome.timeout_s == 0.5) == (reason is Reason.TIMEOUT), "the limit that was struck"
    assert bench.log == "not well formed\n" * 2
    assert (len(bench.started("compile")), len(bench.started("job"))) == (2, 0)


async def test_what_a_compiler_says_that_succeeds_is_no_job_s_log(bench: Bench) -> None:
    await bench.run({"log": "a remark\n"}, PROGRAM)
    assert bench.log == "a remark\n", "the run's own only"


async def test_a_compiler_s_log_stays_within_the_job_s_limit(bench: Bench) -> None:
    order = bench.order({"log": "äöü"}, {"exit": 1})
    await bench.sandbox.run(replace(order, limits=replace(LIMITS, log_bytes=3)))
    assert bench.log == "ä"


async def test_a_lost_compilation_is_our_trouble(bench: Bench) -> None:
    with pytest.raises(EngineTransient):
        await bench.run({"vanish": True})
    with pytest.raises(EngineError, match="gave no program"):
        await bench.run({"result": "*"})
    with pytest.raises(EngineError, match="gave no program"):
        await bench.run({"result": None})


async def test_a_cancelled_job_waits_no_longer_and_the_others_get_their_program(bench: Bench) -> None:
    steps = ({"sleep": 0.2}, PROGRAM)
    first, second = bench.order(*steps), bench.order(*steps)
    asyncio.get_running_loop().call_later(0.05, first.cancellation.ask)
    outcomes = await asyncio.gather(bench.sandbox.run(first), bench.sandbox.run(second))
    assert isinstance(outcomes[0], Failed)
    assert outcomes[0].reason is Reason.CANCELLED
    assert isinstance(outcomes[1], Returned)
    assert len(bench.started("compile")) == 1


async def test_a_compilation_that_nobody_waits_for_ends_and_a_new_one_starts(bench: Bench) -> None:
    order = bench.order({"sleep": 60}, PROGRAM)
    running = asyncio.create_task(bench.sandbox.run(order))
    await asyncio.sleep(0.1)
    assert len(bench.started("compile")) == 1
    running.cancel()
    await asyncio.wait({running})
    await bench.sandbox.cleanup.settle(5)
    assert bench.engine.living == {}
    assert isinstance(await bench.run(PROGRAM), Returned)


def test_a_host_with_fewer_cores_gives_those_it_has() -> None:
    how = compiled(limits={"cpus": 4096}).manifest.compile
    assert how is not None
    assert limits_of(how.limits).cpus < 4096
