"""Runtime classes: which OCI runtime a policy may name, tried with containers that go beyond their limits."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from executor.containers import docker_parts
from executor.errors import BadInput, EngineError
from executor.sandbox.engines import Engines
from executor.sandbox.limitprobe import exceeds, judge
from executor.sandbox.oci.spawn import Runtime
from executor.sandbox.runtimeclass import RuntimeClasses
from executor.settings import LimitBounds, load
from executor.storage.database import Database
from executor.workspace.policy import Policy
from executor.workspace.workspaces import Workspaces
from tests.engines import BOTH, needs_root
from tests.oci.conftest import RUNTIMES, Bench

pytestmark = [pytest.mark.engine, pytest.mark.anyio, needs_root]

LIMITLESS = """#!{python}
import json, os, sys
bundle = sys.argv[sys.argv.index("--bundle") + 1]
with open(bundle + "/config.json") as file:
    config = json.load(file)
{forget}
with open(bundle + "/config.json", "w") as file:
    json.dump(config, file)
os.execv({runtime!r}, sys.argv)
"""
FORGET = {
    "all": 'config["linux"].pop("resources")',
    "memory": 'config["linux"]["resources"].pop("memory")',
    "pids": 'config["linux"]["resources"].pop("pids")',
}


@pytest.mark.parametrize(
    ("forgotten", "found"), [("all", {"memory", "pids"}), ("memory", {"memory"}), ("pids", {"pids"})]
)
async def test_a_runtime_that_forgets_limits_is_refused(
    bench: Bench, tmp_path: Path, forgotten: str, found: set[str]
) -> None:
    """The host's runtime behind a program that takes limits out of its orders: called runsc, as nobody looks inside."""
    program = tmp_path / "runsc"
    program.write_text(
        LIMITLESS.format(python=sys.executable, forget=FORGET[forgotten], runtime=bench.runtime.program)
    )
    program.chmod(0o755)
    classes = RuntimeClasses(bench.docker, bench.engine, "oci")
    wrong = await classes.trial("runsc", Runtime("runsc", str(program), bench.runtime.hidden), bench.image)
    assert {
        name for name in ("memory", "pids") if any(f"the limit of {name} is not" in said for said in wrong)
    } == found
    assert len(wrong) == len(found)


async def test_a_runtime_that_heeds_limits_is_taken(bench: Bench) -> None:
    """crun and runc by themselves; and what docker has."""
    classes = RuntimeClasses(bench.docker, bench.engine, "oci")
    assert await classes.trial(bench.runtime.name, bench.runtime, bench.image) == []
    assert await exceeds(bench.docker, bench.image, "runc") == []


@pytest.fixture(params=BOTH)
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    """The service's own, with EXECUTOR_ENGINE."""
    engine = docker_parts(load(engine=request.param), RUNTIMES).engine
    assert isinstance(engine, Engines)
    yield engine
    engine.close()


async def test_a_class_makes_the_container_and_another_is_refused(engines: Engines, bench: Bench) -> None:
    """runc by either engine; crun by itself; runsc, which this host has not, by none."""
    assert await engines.unfit("runc") is None
    assert (await engines.unfit("crun") is None) is (engines.name == "oci")
    assert "runsc" in str(await engines.unfit("runsc"))
    spec = replace(bench.spec("true"), runtime_class="runc")
    try:
        (await engines.start(spec)).close()
        assert engines.maker(spec.name).runtime == "runc"
    finally:
        await engines.remove(spec.name)
    with pytest.raises(EngineError, match="runtime class 'runsc'"):
        await engines.start(replace(bench.spec("true"), runtime_class="runsc"))


async def test_a_policy_cannot_name_what_the_host_has_not(engines: Engines, tmp_path: Path) -> None:
    """A clear refusal, and the policy stays as it was."""
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        await database.migrate()
        workspaces = Workspaces(database, LimitBounds())
        await workspaces.load(0)
        workspaces.unfit = engines.unfit
        with pytest.raises(BadInput, match="'runsc' cannot be had on this host") as refused:
            await workspaces.set_policy("main", Policy(runtime_class="runsc"))
        assert refused.value.field == "policy.runtime_class"
        assert workspaces.runtime_class("main") is None
        await workspaces.set_policy("main", Policy(runtime_class="runc"))
        assert workspaces.runtime_class("main") == "runc"
    finally:
        database.close()


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ("memory refused\npids 1\npids 2\nend\n", 0),
        ("memory taken\npids 1\nend\n", 1),
        ("memory refused\npids 1\n", 1),
        ("", 2),
    ],
)
def test_a_trial_that_did_not_end_proves_nothing(said: str, count: int) -> None:
    assert len(list(judge(said))) == count
