"""SQL whose text names the server, a resource of the workspace: through the whole service, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service import RealService
from tests.servers.database import DatabaseServer

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture
def service(
    tmp_path: Path, postgresql_server: DatabaseServer, mariadb_server: DatabaseServer
) -> Iterator[RealService]:
    """A service whose workspace has a resource for each server, the password in a secret of its own."""
    reach = " ".join(str(one) for server in (postgresql_server, mariadb_server) for one in server.reach[:1])
    made = RealService(tmp_path / "data", EXECUTOR_NETWORKS=reach)
    made.folder.mkdir()
    made.start()
    for name, server in (("pg", postgresql_server), ("my", mariadb_server)):
        secret = {"path": f"f/sql/{name}_password", "value": server.password, "is_secret": True}
        post(made, "variables/create", secret)
        value = server.connection(password=f"$var:f/sql/{name}_password")
        post(made, "resources/create", {"path": f"f/sql/{name}", "value": value, "resource_type": "any"})
    yield made
    made.close()


def post(service: RealService, path: str, body: Any) -> Any:
    response = service.http.post(f"/api/w/main/{path}", json=body)
    assert response.status_code in (200, 201), response.text
    return response


def step(id: str, language: str, *lines: str) -> dict[str, Any]:
    return {"id": id, "value": {"type": "rawscript", "language": language, "content": "\n".join(lines)}}


def test_scripts_name_their_servers_in_their_text(service: RealService) -> None:
    """`-- database PATH` and `ATTACH '$res:PATH'`, in scripts and in the steps of a flow."""
    steps = [
        step("pg", "postgresql", "-- database f/sql/pg", "select 1 as n, current_user::text as who"),
        step("my", "mysql", "  --  database f/sql/my  ", "select 2 as n"),
        step(
            "duck", "duckdb", "attach '$res:f/sql/pg' as pg (type postgres);", "select 3 as n from pg.ducks"
        ),
    ]
    found = {}
    for one in steps[:2]:
        found[one["id"]] = post(service, "jobs/run_wait_result/preview", one["value"]).json()
    assert found == {"pg": [{"n": 1, "who": "app"}], "my": [{"n": 2}]}
    steps[0]["value"]["content"] += "; create table if not exists ducks as select 1 as id"
    flow = {"value": {"modules": steps}}
    assert post(service, "jobs/run_wait_result/preview_flow", flow).json() == [{"n": 3}]


def test_the_named_resource_wins_over_the_argument(service: RealService) -> None:
    """And of the password only the script's container hears, not the job's row."""
    script = {
        "language": "postgresql",
        "content": "-- database f/sql/pg\nselect 1 as n",
        "args": {"database": {"host": "192.0.2.1", "user": "nobody"}},
    }
    job = service.ended(post(service, "jobs/run/preview", script).text)
    assert job["result"] == [{"n": 1}]
    assert job["args"] == script["args"]


def test_a_resource_that_there_is_not_is_named(service: RealService) -> None:
    for language, text in (
        ("postgresql", "-- database f/sql/none\nselect 1"),
        ("mysql", "-- database f/sql/none\nselect 1"),
        ("duckdb", "attach '$res:f/sql/none' as x (type postgres)"),
    ):
        job = service.ended(service.submit(language, text))
        assert (job["reason"], "f/sql/none" in job["result"]["error"]["message"]) == ("bad_input", True)
