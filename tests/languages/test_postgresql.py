"""PostgreSQL scripts against a real server, in the real sandbox."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.errors import Reason
from executor.script import Failed, Returned
from tests.engines import shown
from tests.languages.running import SqlScripts, sql_scripts
from tests.servers.database import DatabaseServer

pytestmark = [pytest.mark.engine, pytest.mark.anyio]
SESSIONS = "select count(*) from pg_stat_activity where usename = 'app' and query like '%{}%'"


@pytest.fixture
async def sql(tmp_path: Path, postgresql_server: DatabaseServer) -> AsyncIterator[SqlScripts]:
    async with sql_scripts("postgresql", tmp_path, postgresql_server) as ready:
        yield ready


async def gone(server: DatabaseServer, mark: str, within_s: float) -> None:
    """Wait until no session's query holds the mark."""
    deadline = time.monotonic() + within_s
    while server.ask(SESSIONS.format(mark)) != "0":
        assert time.monotonic() < deadline, f"the server still runs {mark}"
        await asyncio.sleep(0.1)


OUT = """
select 1::int2 as a, 9007199254740993::int8 as b, 1.5::float4 as c, 'NaN'::float8 as d, true as e,
       12345678901234567890.50::numeric as f, 'é€😀'::text as g, null as h,
       '2024-02-29 01:02:03.5'::timestamp as i, '2024-02-29 01:02:03.5+02'::timestamptz as j,
       '0001-01-01 BC'::timestamptz as k, '2024-02-29'::date as l, '01:02:03'::time as m,
       '00112233-4455-6677-8899-aabbccddeeff'::uuid as n, '\\x00ff'::bytea as o,
       '{"a": [1, null]}'::jsonb as p, '[1,  {"b":2}]'::json as q, '1 day 2 hours'::interval as r,
       array[[1,2],[3,null]] as s, array['a,b','c"d',null,'NULL','\\'] as t,
       array['2024-02-29 01:02:03'::timestamp] as u, '{}'::int[] as v, '[2:3]={4,5}'::int[] as w,
       array['{"x": "y,z"}'::jsonb] as x, '10.0.0.1'::inet as y, 'infinity'::timestamptz as z
"""
OUT_VALUES = {
    "a": 1, "b": 9007199254740993, "c": 1.5, "d": None, "e": True, "f": "12345678901234567890.50", "g": "é€😀",
    "h": None, "i": "2024-02-29T01:02:03.5", "j": "2024-02-28T23:02:03.5+00:00",
    "k": "0001-01-01T00:00:00+00 BC", "l": "2024-02-29", "m": "01:02:03",
    "n": "00112233-4455-6677-8899-aabbccddeeff", "o": "\\x00ff", "p": {"a": [1, None]}, "q": [1, {"b": 2}],
    "r": "1 day 02:00:00", "s": [[1, 2], [3, None]], "t": ["a,b", 'c"d', None, "NULL", "\\"],
    "u": ["2024-02-29T01:02:03"], "v": [], "w": [4, 5], "x": [{"x": "y,z"}], "y": "10.0.0.1", "z": "infinity",
}  # fmt: skip


async def test_types_out(sql: SqlScripts) -> None:
    """Each type has the JSON form that the table promises; columns keep their order."""
    (row,) = await sql.result(OUT)
    assert row == OUT_VALUES
    assert list(row) == list(OUT_VALUES)


async def test_types_in(sql: SqlScripts) -> None:
    """The cast's name decides what a JSON value becomes, else the comment's, else the server."""
    script = """
-- $1 number
-- $2 listed (int[])
-- $3 document
-- $4 data
-- $5 moment
-- $6 flag
-- $7 words
-- $8 plain
select $1::int + 1 as number, $2 as listed, $3::jsonb -> 'k' as document, $4::bytea as data,
       $5::timestamptz as moment, $5::date as day, not $6::bool as flag, $7::text[] as words,
       $8 as plain, pg_typeof($8)::text as kind
"""
    args = {
        "number": 41, "listed": [1, None, 3], "document": {"k": ["é", None]}, "data": "AP8=",
        "moment": "2024-02-29T01:02:03.500Z", "flag": True, "words": ['a"b', "c\\d", None, "{x,y}"],
        "plain": {"any": "thing"},
    }  # fmt: skip
    assert await sql.result(script, args) == [
        {
            "number": 42, "listed": [1, None, 3], "document": ["é", None], "data": "\\x00ff",
            "moment": "2024-02-29T01:02:03.5+00:00", "day": "2024-02-29", "flag": False,
            "words": ['a"b', "c\\d", None, "{x,y}"], "plain": '{"any":"thing"}', "kind": "text",
        }
    ]  # fmt: skip


async def test_types_of_the_database(sql: SqlScripts) -> None:
    """A comment may name any type that the database has; one that it lacks is an error in its words."""
    await sql.result("drop type if exists mood; create type mood as enum ('sad', 'glad')")
    script = "-- $1 m (mood)\nselect $1 as m, pg_typeof($1)::text as kind"
    assert await sql.result(script, {"m": "glad"}) == [{"m": "glad", "kind": "mood"}]
    failed = await sql.failure("-- $1 m (feeling)\nselect $1", {"m": "glad"})
    assert 'type "feeling" does not exist' in failed.message


async def test_untyped_arguments(sql: SqlScripts) -> None:
    """Without a type the place decides; where nothing does, the value is text."""
    script = "-- $1 a\n-- $2 b\nselect i from generate_series(1, 3) i where i = $1 limit $2"
    assert await sql.result(script, {"a": 2, "b": 1}) == [{"i": 2}]
    script = "-- $1 a\nselect json_build_object('a', $1) as o"
    assert await sql.result(script, {"a": 5}) == [{"o": {"a": "5"}}]


async def test_missing_argument_is_null(sql: SqlScripts) -> None:
    """The default in a comment is for forms only."""
    script = "-- $1 a (int) = 5\n-- $2 b = x\nselect $1 as a, $2 as b, $3 as c"
    assert await sql.result(script, {"unasked": 1}) == [{"a": None, "b": None, "c": None}]


async def test_statements_use_their_own_arguments(sql: SqlScripts) -> None:
    """Each statement gets the arguments that it names, in any order."""
    script = "-- result_collection=all_statements_first_row_scalar\n-- $2 b\n-- $10 j\nselect $10::int - $2::int; select $2"
    assert await sql.result(script, {"b": 1, "j": 10}) == [9, "1"]


async def test_injection(sql: SqlScripts) -> None:
    """An argument is a value, whatever it looks like."""
    evil = "x'); drop table kept; --\" $$ \\' ; select 1"
    script = """
-- $1 evil
drop table if exists kept; create table kept(v text); insert into kept values ($1);
select v, (select count(*) from kept where v = $1) as n from kept
"""
    assert await sql.result(script, {"evil": evil}) == [{"v": evil, "n": 1}]


async def test_interpolation(sql: SqlScripts) -> None:
    """A name gets into the text if the script allows it, and nothing else does."""
    script = "-- %%col%% a/b\nselect %%col%% from (values (1, 2)) as t(a, b)"
    assert await sql.result(script, {"col": "b"}) == [{"b": 2}]
    failed = await sql.failure(script, {"col": "a, (select 1)"})
    assert (failed.reason, failed.message) == (
        Reason.BAD_INPUT,
        "argument `col`: 'a, (select 1)' is none of the values that the script allows for %%col%%; give one of a, b",
    )


async def test_result_collection(sql: SqlScripts) -> None:
    """The script says which statements' rows are its result, and in which form."""
    body = "select 1 as a, 2 as b union all select 3, 4; create temp table t(x int); select 5 as c"
    assert await sql.result(body) == [{"c": 5}]
    wanted = {
        "last_statement_first_row_scalar": 5,
        "all_statements_all_rows": [[{"a": 1, "b": 2}, {"a": 3, "b": 4}], [], [{"c": 5}]],
        "all_statements_first_row": [{"a": 1, "b": 2}, None, {"c": 5}],
        "legacy": [[{"a": 1, "b": 2}, {"a": 3, "b": 4}], [], [{"c": 5}]],
    }
    for mode, result in wanted.items():
        assert await sql.result(f"-- result_collection={mode}\n{body}") == result
    failed = await sql.failure("-- result_collection=some\nselect 1")
    assert failed.reason == Reason.BAD_INPUT


async def test_transactions(sql: SqlScripts) -> None:
    """Statements are committed one by one, unless the script opens a transaction; an open one is undone."""
    await sql.result("drop table if exists tx; create table tx(i int)")
    await sql.failure("insert into tx values (1); select nope")
    await sql.failure("begin; insert into tx values (2); select nope; commit")
    await sql.result("begin; insert into tx values (3)")
    assert await sql.result("select i from tx") == [{"i": 1}]


async def test_error(sql: SqlScripts) -> None:
    """A SQL error has the server's words, its SQLSTATE, the statement and the script's line."""
    failed = await sql.failure("-- a comment\nselect 1;\n\nselect\n  nope;\n")
    assert failed.reason == Reason.SCRIPT_ERROR
    assert failed.name == "ExecutionErr"
    assert failed.message == (
        'ERROR: column "nope" does not exist\nSQLSTATE: 42703\n(statement 2 of 2, line 5)'
    )
    assert failed.extra == {"sqlstate": "42703", "statement": 2, "line": 5}


async def test_notices(sql: SqlScripts) -> None:
    """What the server says beside its rows is in the log."""
    seen = await sql.run("do $$ begin raise notice 'half %', 'done'; raise warning 'hm'; end $$")
    assert seen.log == "NOTICE:  half done\nWARNING:  hm\n"


@pytest.mark.parametrize("copy", ["copy (select 1) to stdout", "copy kept from stdin"])
async def test_copy(sql: SqlScripts, copy: str) -> None:
    """COPY has no other side here; it fails at once instead of waiting."""
    await sql.result("create table if not exists kept(v text)")
    failed = await sql.failure(copy, limits={"timeout_s": 5})
    assert "COPY" in failed.message
    assert failed.reason == Reason.SCRIPT_ERROR


# ---------------------------------------------------------------- connecting


async def test_no_database(sql: SqlScripts) -> None:
    """Without a connection the script fails for want of input, and says what to give."""
    failed = await sql.failure("select 1", {"database": None})
    assert (failed.reason, "argument `database` is missing" in failed.message) == (Reason.BAD_INPUT, True)
    failed = await sql.failure("-- database f/a/db\nselect 1")
    assert (failed.reason, "resource 'f/a/db' not found" in failed.message) == (Reason.BAD_INPUT, True)


async def test_unknown_host(sql: SqlScripts) -> None:
    """A name that nobody knows is named."""
    failed = await sql.failure("select 1", host="no-such-host.invalid")
    assert "no-such-host.invalid" in failed.message


TLS = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [("disable", False), ("allow", False), ("prefer", True), ("require", True), (None, True)],
)
async def test_tls(sql: SqlScripts, mode: str | None, encrypted: bool) -> None:
    """`sslmode` decides about encryption; without it, it is used if the server has it."""
    assert await sql.result(TLS, sslmode=mode) == [{"ssl": encrypted}]


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_tls_verified(sql: SqlScripts, postgresql_server: DatabaseServer, mode: str) -> None:
    """With the authority's certificate the server is known, without it is refused."""
    ca = postgresql_server.ca_pem
    assert await sql.result(TLS, sslmode=mode, root_certificate_pem=ca) == [{"ssl": True}]
    failed = await sql.failure(TLS, sslmode=mode)
    assert "certificate verify failed" in failed.message


async def test_tls_host_name(sql: SqlScripts, postgresql_server: DatabaseServer) -> None:
    """verify-full holds the certificate to the host's name, verify-ca does not."""
    changes: dict[str, Any] = {
        **postgresql_server.elsewhere,
        "root_certificate_pem": postgresql_server.ca_pem,
    }
    assert await sql.result(TLS, sslmode="verify-ca", **changes) == [{"ssl": True}]
    failed = await sql.failure(TLS, sslmode="verify-full", **changes)
    assert "does not match host name" in failed.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sslmode": "on"}, "database.sslmode"), ({"port": "x"}, "database.port"), ({"host": ""}, "database.host"),
        ({"root_certificate_pem": "x"}, "database.root_certificate_pem"), ({"user": ["a"]}, "database.user"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_bad_connection(sql: SqlScripts, changes: dict[str, Any], field: str) -> None:
    """A connection object that cannot be is refused by field."""
    failed = await sql.failure("select 1", **changes)
    assert failed.reason == Reason.BAD_INPUT
    assert field in failed.message


async def test_nothing_of_the_connection_is_shown(sql: SqlScripts, postgresql_server: DatabaseServer) -> None:
    """The password is neither in what the engine keeps of a container nor in a process's arguments."""
    name = f"executor-test-{uuid.uuid4()}"
    running = asyncio.create_task(sql.run("select pg_sleep(3)", name=name))
    while postgresql_server.ask(SESSIONS.format("pg_sleep(3)")) == "0":
        await asyncio.sleep(0.05)
    seen = shown(name)
    assert "runner.py" in seen
    assert postgresql_server.password not in seen
    assert isinstance((await running).outcome, Returned)


# ---------------------------------------------------------------- limits


async def test_timeout(sql: SqlScripts, postgresql_server: DatabaseServer) -> None:
    """The job's time limit ends a slow query, here and on the server."""
    seen = await sql.run("select pg_sleep(31)", limits={"timeout_s": 1})
    assert isinstance(seen.outcome, Failed)
    assert seen.outcome.reason == Reason.TIMEOUT
    await gone(postgresql_server, "pg_sleep(31)", 3)


async def test_cancel(sql: SqlScripts, postgresql_server: DatabaseServer) -> None:
    """A cancellation cancels the query on the server too, at once."""
    seen = await sql.run("select pg_sleep(32)", cancel_after_s=1)
    assert isinstance(seen.outcome, Failed)
    assert seen.outcome.reason == Reason.CANCELLED
    assert seen.seconds < 3
    await gone(postgresql_server, "pg_sleep(32)", 0.5)


BIG = "select i, repeat('x', 1000) as text from generate_series(1, {}) i"
MIB = 1024 * 1024


async def test_big_result(sql: SqlScripts) -> None:
    """A result up to its limit takes little more memory than itself, twice."""
    seen = await sql.run(BIG.format(60_000), limits={"result_bytes": 64 * MIB})
    assert isinstance(seen.outcome, Returned)
    assert len(json.loads(seen.outcome.value)) == 60_000
    assert seen.outcome.usage.memory_peak_bytes < 2.5 * len(seen.outcome.value) + 40 * MIB


async def test_result_too_large(sql: SqlScripts) -> None:
    """A result over its limit ends as that, however big it would be, and not for want of memory."""
    failed = await sql.failure(BIG.format(3_000_000))
    assert failed.reason == Reason.RESULT_TOO_LARGE
    failed = await sql.failure(BIG.format(12_000))
    assert failed.reason == Reason.RESULT_TOO_LARGE


async def test_rows_not_asked_for_take_no_memory(sql: SqlScripts) -> None:
    """Only the first row of many is kept."""
    script = "-- result_collection=last_statement_first_row\n" + BIG.format(200_000)
    seen = await sql.run(script, limits={"memory_mb": 64})
    assert isinstance(seen.outcome, Returned)
    assert seen.outcome.usage.memory_peak_bytes < 64 * MIB


async def test_error_after_many_rows(sql: SqlScripts) -> None:
    """An error in the middle of the rows is the script's error, not half a result."""
    failed = await sql.failure("select 1 / (5000 - i) as x from generate_series(1, 6000) i")
    assert failed.message.startswith("ERROR: division by zero")


async def test_nul(sql: SqlScripts) -> None:
    """A NUL character, which the database has none for, is refused by argument."""
    failed = await sql.failure("-- $1 text\nselect $1", {"text": "a\0b"})
    assert failed.reason == Reason.BAD_INPUT
    assert "argument `text` holds a NUL character" in failed.message
