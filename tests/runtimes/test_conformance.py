"""Every language answers its conformance cases, in real containers, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from executor.runtimes import scan
from executor.settings import load
from tests.engines import BOTH
from tests.runtimes.bench import Servers, ask, sandbox
from tests.runtimes.cases import Case, answered, wrong
from tests.runtimes.judge import complaints

RUNTIMES = scan()
ENGINES = {engine: load(engine=engine) for engine in ("docker", "oci")}
CASES = [case for runtime in RUNTIMES for case in answered(runtime)]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.mark.engine
@pytest.mark.anyio
@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_case(
    case: Case, engine: str, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script ends as its case expects, whatever makes its container."""
    monkeypatch.setenv("EXECUTOR_CONFORMANCE_MARK", "visible")
    server = servers.of(case.runtime.name)
    async with sandbox(ENGINES[engine], RUNTIMES, tmp_path) as made:
        seen = await ask(made, case, ENGINES[engine], server)
    assert complaints(case, seen) == []


@pytest.mark.parametrize("name", RUNTIMES.names())
def test_folder_is_complete(name: str) -> None:
    """A language has a script for every mandatory case, or says why it cannot; nothing is left over."""
    assert wrong(RUNTIMES.by_name[name]) == []
