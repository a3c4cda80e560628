"""All languages side by side on one service: their examples, twenty jobs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from executor.cli.examples import content_of
from executor.runtimes import scan
from executor.settings import load
from tests.acceptance.service import RealService
from tests.runtimes.bench import SERVER_OF
from tests.servers.database import DatabaseServer

pytestmark = pytest.mark.engine

JOBS, AT_ONCE = 200, 20
EXPECTED: dict[str, Callable[[str, list[int]], Any]] = {
    "bash": lambda _, numbers: {"first": numbers[0], "user": 65532},
    "deno": lambda _, numbers: {"sum": sum(numbers), "reversed": numbers[::-1]},
    "docker": lambda name, numbers: {"name": name, "last": numbers[-1]},
    "duckdb": lambda _, numbers: {"count": 3, "max": max(numbers), "sorted": sorted(numbers)},
    "go": lambda _, numbers: {"max": max(numbers), "sorted": sorted(numbers)},
    "mysql": lambda name, numbers: {"greeting": f"hello {name}", "max": max(numbers), "count": 3},
    "postgresql": lambda name, numbers: {
        "greeting": f"hello {name}",
        "sum": sum(numbers),
        "sorted": sorted(numbers),
    },
    "python3": lambda _, numbers: {"mean": sum(numbers) / 3, "sorted": sorted(numbers)},
}


@pytest.fixture
def servers(postgresql_server: DatabaseServer, mariadb_server: DatabaseServer) -> dict[str, DatabaseServer]:
    """Each language's database server, where it has one."""
    kinds = {"postgresql": postgresql_server, "mariadb": mariadb_server}
    return {language: kinds[kind] for language, kind in SERVER_OF.items()}


@pytest.fixture
def open_service(tmp_path: Path, servers: dict[str, DatabaseServer]) -> Iterator[RealService]:
    """A service whose jobs may reach the servers, and nothing else."""
    reach = " ".join(f"{server.host}:{server.port}" for server in servers.values())
    own = RealService(tmp_path / "data", EXECUTOR_NETWORKS=reach, EXECUTOR_CONCURRENCY=str(AT_ONCE))
    own.folder.mkdir()
    own.start()
    yield own
    own.close()


@pytest.mark.timeout(600)
def test_two_hundred_jobs_of_all_languages_are_all_right_and_leave_nothing(
    open_service: RealService, servers: dict[str, DatabaseServer]
) -> None:
    languages = scan().names()
    assert set(EXPECTED) == set(languages)
    examples = {runtime.name: content_of(runtime, load()) for runtime in scan()}

    def one(number: int) -> tuple[str, Any, Any]:
        language = languages[number % len(languages)]
        name, numbers = f"job {number} o'clock", [number, number * 7 % 13, 5]
        args: dict[str, Any] = {"name": name, "numbers": numbers}
        if language in servers:
            args["database"] = servers[language].connection()
        response = open_service.http.post(
            "/api/w/main/jobs/run_wait_result/preview",
            json={"language": language, "content": examples[language], "args": args},
        )
        return language, response.json(), EXPECTED[language](name, numbers)

    with ThreadPoolExecutor(AT_ONCE) as clients:
        ended = list(clients.map(one, range(JOBS)))
    assert [(language, result) for language, result, expected in ended if result != expected] == []
    open_service.stop()
    open_service.await_no_containers()
    for server in servers.values():
        assert server.password not in open_service.log()
