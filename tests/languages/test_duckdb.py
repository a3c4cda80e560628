"""DuckDB scripts in the real sandbox, some of them with a real PostgreSQL server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.errors import Reason
from executor.script import Failed, Returned
from tests.languages.running import SqlScripts, sql_scripts
from tests.servers.database import DatabaseServer

pytestmark = [pytest.mark.engine, pytest.mark.anyio]
MIB = 1024 * 1024


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[SqlScripts]:
    async with sql_scripts("duckdb", tmp_path) as ready:
        yield ready


@pytest.fixture
async def attached(tmp_path: Path, postgresql_server: DatabaseServer) -> AsyncIterator[SqlScripts]:
    async with sql_scripts("duckdb", tmp_path, postgresql_server) as ready:
        yield ready


async def test_types_out(sql: SqlScripts) -> None:
    """Each type has its JSON form, nested ones too; columns keep their order."""
    script = """
select 1 as a, 12345678901234567890123::hugeint as b, 1.5::float as c, 'nan'::double as d, true as e,
       1.50::decimal(9,2) as f, 'é€😀' as g, null as h, timestamp '2024-02-29 01:02:03.5' as i,
       '2024-02-29 01:02:03+02:00'::timestamptz as j, date '2024-02-29' as k, time '01:02:03' as l,
       '00112233-4455-6677-8899-aabbccddeeff'::uuid as m, 'ab'::blob as n, '{"a": [1, null]}'::json as o,
       [1, null] as p, {'x': 1.5::decimal(3,1), 'y': [date '2024-02-29']} as q, map {1: 'v'} as r
"""
    (row,) = await sql.result(script)
    assert row == {
        "a": 1, "b": 12345678901234567890123, "c": 1.5, "d": None, "e": True, "f": "1.50", "g": "é€😀", "h": None,
        "i": "2024-02-29T01:02:03.500000", "j": "2024-02-28T23:02:03+00:00", "k": "2024-02-29", "l": "01:02:03",
        "m": "00112233-4455-6677-8899-aabbccddeeff", "n": "YWI=", "o": {"a": [1, None]}, "p": [1, None],
        "q": {"x": "1.5", "y": ["2024-02-29"]}, "r": {"1": "v"},
    }  # fmt: skip
    assert list(row) == list("abcdefghijklmnopqr")


async def test_arguments(sql: SqlScripts) -> None:
    """Arguments have their declared types; a missing one has its default."""
    script = """
-- $number (int)
-- $day (date) = 2024-02-29
-- $listed (int[])
-- $data (blob)
-- $document (json)
-- $word = 'it is'
select $number + 1 as number, $day + 1 as day, $listed[2] as second, octet_length($data) as size,
       $document ->> 'k' as k, $word as word, $missing as missing from range($number) limit $number - 1
"""
    args = {"number": 2, "listed": [5, 6], "data": "AP8=", "document": {"k": "é"}}
    assert await sql.result(script, args) == [
        {"number": 3, "day": "2024-03-01", "second": 6, "size": 2, "k": "é", "word": "it is", "missing": None}
    ]


async def test_injection(sql: SqlScripts) -> None:
    """An argument is a value, whatever it looks like."""
    evil = "'; drop table kept; -- $evil \" é😀"
    script = "-- $evil (text)\ncreate table kept as select $evil as v; select v, v = $evil as same from kept"
    assert await sql.result(script, {"evil": evil}) == [{"v": evil, "same": True}]


async def test_statements_without_rows(sql: SqlScripts) -> None:
    """Counts and confirmations are no rows; what RETURNING gives is."""
    script = """
-- result_collection=all_statements_all_rows
create table t(i int); insert into t values (1), (2); insert into t values (3) returning i;
update t set i = i + 1; create table u as from t; copy t to 'x.csv'; select count(*) as n from 'x.csv'
"""
    assert await sql.result(script) == [[], [], [{"i": 3}], [], [], [], [{"n": 3}]]


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
@pytest.mark.parametrize("folder", [".", "shared", "/shared", "/tmp"])
async def test_files(sql: SqlScripts, kind: str, folder: str) -> None:
    """Files are written and read in the job's directory, the shared one and /tmp."""
    script = f"""
copy (select i, 'é' || i as s from range(1000) t(i)) to '{folder}/x.{kind}';
select count(*) as n, sum(i)::int as i, max(s) as s from '{folder}/x.{kind}'
"""
    assert await sql.result(script) == [{"n": 1000, "i": 499500, "s": "é999"}]


async def test_error(sql: SqlScripts) -> None:
    """An error has the engine's words, and the script's line."""
    failed = await sql.failure("select 1;\n\nselect\n  nope\nfrom range(1)")
    assert failed.reason == Reason.SCRIPT_ERROR
    assert 'Referenced column "nope" not found' in failed.message
    assert failed.extra == {"statement": 2, "line": 4}


async def test_no_python(sql: SqlScripts) -> None:
    """A script's tables are never variables of the program that runs it."""
    failed = await sql.failure("select * from args")
    assert "Table with name args does not exist" in failed.message


@pytest.mark.parametrize(
    "script",
    ["install spatial", "load httpfs", "from 'https://localhost/x.csv'", "attach 'x' as y (type mysql)"],
)
async def test_no_extensions(sql: SqlScripts, script: str) -> None:
    """Nothing is installed at run time, and the message says what there is."""
    seen = await sql.run(script)
    assert isinstance(seen.outcome, Failed)
    assert "no extensions are installed at run time" in seen.outcome.message
    assert seen.seconds < 3


async def test_limits_are_the_containers(sql: SqlScripts) -> None:
    """Memory and threads come from the container's limits; a script cannot raise its memory."""
    script = "-- result_collection=last_statement_all_rows_scalar\nselect current_setting({})"
    for memory_mb, least, most in ((256, 100, 192), (1024, 512, 900)):
        (limit,) = await sql.result(script.format("'memory_limit'"), limits={"memory_mb": memory_mb})
        assert least < float(limit.removesuffix(" MiB")) < most
    assert await sql.result(script.format("'threads'"), limits={"cpus": 1.5}) == [2]
    failed = await sql.failure("set memory_limit = '10GB'")
    assert "configuration has been locked" in failed.message
    assert await sql.result("set TimeZone = 'Asia/Tokyo'; select 1 as x") == [{"x": 1}]


@pytest.mark.parametrize(
    "script",
    [
        "create table t as select i, repeat('x' || i, 30) as s from range(10000000) t(i)",
        "select s from (select repeat('x' || i, 30) as s from range(5000000) t(i)) order by s",
        "select list(i) as l from range(100000000) t(i)",
    ],
)
async def test_out_of_memory(sql: SqlScripts, script: str) -> None:
    """A query that needs more memory than the container has ends as that."""
    failed = await sql.failure(script)
    assert failed.reason == Reason.OUT_OF_MEMORY
    assert "memory_mb: 256" in failed.message


ENDLESS = "select sum(a.i * b.i) from range(1000000000) a(i), range(1000000) b(i)"


async def test_cancel_and_timeout(sql: SqlScripts) -> None:
    """A long query is ended by a cancellation and by the time limit."""
    seen = await sql.run(ENDLESS, cancel_after_s=1)
    assert isinstance(seen.outcome, Failed)
    assert (seen.outcome.reason, seen.seconds < 3) == (Reason.CANCELLED, True)
    assert "interrupted" in seen.log
    assert (await sql.failure(ENDLESS, limits={"timeout_s": 1})).reason == Reason.TIMEOUT


BIG = "select i, repeat('x', 1000) as s from range({}) t(i)"


async def test_big_result(sql: SqlScripts) -> None:
    """A result up to its limit arrives; one over it ends as that, not for want of memory."""
    seen = await sql.run(BIG.format(60_000), limits={"result_bytes": 64 * MIB})
    assert isinstance(seen.outcome, Returned)
    assert len(json.loads(seen.outcome.value)) == 60_000
    assert (await sql.failure(BIG.format(3_000_000))).reason == Reason.RESULT_TOO_LARGE


# ---------------------------------------------------------------- ATTACH


async def test_attach(attached: SqlScripts, postgresql_server: DatabaseServer) -> None:
    """A PostgreSQL server is attached by a connection string or a resource, to read and to write."""
    postgresql_server.ask("drop table if exists ducks")
    postgresql_server.ask("create table ducks(id int, name text); grant all on ducks to app")
    own = postgresql_server.connection()
    plain = "host={host} port={port} user={user} password={password} dbname={dbname}".format(**own)
    assert await attached.result(
        f"attach '{plain}' as pg (type postgres); insert into pg.ducks values (1, 'é'); select * from pg.ducks"
    ) == [{"id": 1, "name": "é"}]
    secure = postgresql_server.connection(
        sslmode="verify-full", root_certificate_pem=postgresql_server.ca_pem
    )
    assert await attached.result(
        "attach '$res:f/a/pg' as pg (type postgres); select name from pg.ducks",
        {"_RESOURCES": {"f/a/pg": secure}},
    ) == [{"name": "é"}]


@pytest.mark.parametrize("password", ["geheim", "geheim 'und \\ mehr", 'geheim"$x;'])
async def test_attach_shows_no_password(attached: SqlScripts, password: str) -> None:
    """What goes wrong is said without the password."""
    assert attached.server is not None
    wrong = attached.server.connection(password=password)
    for script in (
        "attach '$res:f/a/pg' as pg (type postgres)",
        "attach '$res:f/a/pg' as pg (type postgres, nonsense true)",
        "attach '$res:f/a/pg' pg as (type postgres)",
    ):
        seen = await attached.run(script, {"_RESOURCES": {"f/a/pg": wrong}})
        assert isinstance(seen.outcome, Failed)
        assert "geheim" not in repr(seen)
        assert "mehr" not in repr(seen)


async def test_attach_without_resource(sql: SqlScripts) -> None:
    """A resource that there is not is named."""
    failed = await sql.failure("attach '$res:f/a/none' as pg (type postgres)")
    assert (failed.reason, failed.message) == (
        Reason.BAD_INPUT, "resource 'f/a/none' not found; create it, or give the script the connection itself",
    )  # fmt: skip
