"""SQL scripts of each server's language, where no connection comes about."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.script import Failed
from tests.languages.running import SqlScripts, sql_scripts
from tests.servers.database import DatabaseServer

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

REFUSALS = {
    "postgresql": 'password authentication failed for user "app"',
    "mysql": "Access denied for user 'app'",
}
UNREACHED = {"postgresql": "cannot connect", "mysql": "cannot connect to {host}:{port}"}


@pytest.fixture(
    params=[("postgresql", "postgresql_server"), ("mysql", "mariadb_server")], ids=lambda it: it[0]
)
async def sql(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlScripts]:
    """Scripts of a language, and a server of its kind."""
    language, server = request.param
    async with sql_scripts(language, tmp_path, request.getfixturevalue(server)) as ready:
        yield ready


@pytest.fixture
def server(sql: SqlScripts) -> DatabaseServer:
    assert sql.server is not None
    return sql.server


async def test_wrong_password(sql: SqlScripts) -> None:
    """A refused login says so, and never what was tried."""
    seen = await sql.run("select 1", password="geheim-und-falsch")
    assert isinstance(seen.outcome, Failed)
    assert REFUSALS[sql.language] in seen.outcome.message
    assert "geheim" not in repr(seen)


async def test_refused(sql: SqlScripts) -> None:
    """A server that is down is known at once."""
    seen = await sql.run("select 1", port=1)
    assert isinstance(seen.outcome, Failed)
    assert "Connection refused" in seen.outcome.message
    assert seen.seconds < 2


async def test_unreachable(sql: SqlScripts, server: DatabaseServer) -> None:
    """A host that is not there is given up within some ten seconds."""
    nobody = str(ipaddress.ip_address(server.host) + 200)
    seen = await sql.run("select 1", host=nobody)
    assert isinstance(seen.outcome, Failed)
    assert UNREACHED[sql.language].format(host=nobody, port=server.port) in seen.outcome.message
    assert seen.seconds < 12


async def test_silent(sql: SqlScripts, server: DatabaseServer) -> None:
    """A host that takes the connection and says nothing is given up after ten seconds."""
    port = server.fall_silent()
    seen = await sql.run("select 1", port=port)
    assert isinstance(seen.outcome, Failed)
    assert f"{server.host}:{port}: no answer within 10 s" in seen.outcome.message
    assert 9 < seen.seconds < 12
