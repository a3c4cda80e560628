"""MySQL scripts against a real MariaDB server, in the real sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.errors import Reason
from executor.script import Failed, Returned
from tests.languages.running import SqlScripts, sql_scripts
from tests.servers.database import DatabaseServer

pytestmark = [pytest.mark.engine, pytest.mark.anyio]
MIB = 1024 * 1024


@pytest.fixture
async def sql(tmp_path: Path, mariadb_server: DatabaseServer) -> AsyncIterator[SqlScripts]:
    async with sql_scripts("mysql", tmp_path, mariadb_server) as ready:
        yield ready


async def test_types_out(sql: SqlScripts) -> None:
    """Numbers are numbers, decimals and dates texts, what is no text is base64."""
    script = """
drop table if exists kinds;
create table kinds(a int(4) zerofill, b bigint unsigned, c double, d decimal(20,2), e varchar(9), f datetime(3),
                   g date, h time, i blob, j bit(3), k year, l bool, m enum('x','y'), n text);
insert into kinds values (7, 18446744073709551615, 1e100, 12345678901234567.50, 'é€😀', '2024-02-29 01:02:03.5',
                          '2024-02-29', '-12:00:00', x'00ff', b'101', 2024, true, 'y', null);
select * from kinds
"""
    (row,) = await sql.result(script)
    assert row == {
        "a": 7, "b": 18446744073709551615, "c": 1e100, "d": "12345678901234567.50", "e": "é€😀",
        "f": "2024-02-29 01:02:03.500", "g": "2024-02-29", "h": "-12:00:00", "i": "AP8=", "j": "BQ==",
        "k": 2024, "l": 1, "m": "y", "n": None,
    }  # fmt: skip
    assert list(row) == list("abcdefghijklmn")


async def test_types_in(sql: SqlScripts) -> None:
    """The declared type decides what a JSON value becomes."""
    script = """
-- :moment (datetime)
-- :day (date)
-- :data (blob)
-- :document (json)
-- :flag (bool)
-- :number (int)
select cast(:moment as datetime(3)) as moment, :day as day, hex(:data) as data,
       json_value(:document, '$.k') as k, :flag + 1 as flag, :number + 1 as number
"""
    args = {
        "moment": "2024-02-29T01:02:03.500Z", "day": "2024-02-29T00:00:00.000Z", "data": "AP8=",
        "document": {"k": "é"}, "flag": True, "number": 41,
    }  # fmt: skip
    assert await sql.result(script, args) == [
        {
            "moment": "2024-02-29 01:02:03.500",
            "day": "2024-02-29",
            "data": "00FF",
            "k": "é",
            "flag": 2,
            "number": 42,
        }
    ]


async def test_positional_arguments(sql: SqlScripts) -> None:
    """`?` takes the declared arguments in order, through all statements; a missing one is null."""
    script = """
-- result_collection=all_statements_first_row
-- ? a (int)
-- ? b (text) = unused
-- ? c (text)
select ? as a, '?' as mark, ? as b; -- ?
select ? as c
"""
    assert await sql.result(script, {"a": 1, "c": "x"}) == [{"a": 1, "mark": "?", "b": None}, {"c": "x"}]


async def test_undeclared_placeholder(sql: SqlScripts) -> None:
    """A placeholder without an argument is refused by its number or name."""
    failed = await sql.failure("-- ? a (int)\nselect ?, ?", {"a": 1})
    assert (failed.reason, "number 2 has no argument" in failed.message) == (Reason.BAD_INPUT, True)


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES"])
async def test_injection(sql: SqlScripts, mariadb_server: DatabaseServer, mode: str) -> None:
    """An argument is a value, whatever it looks like and however the server reads a backslash."""
    evil = "x\\'); drop table kept; -- \" ` \0 \\ é😀 ?"
    before = mariadb_server.ask("select @@global.sql_mode")
    mariadb_server.ask(f"set global sql_mode = '{mode}'")
    try:
        script = (
            "-- :evil (text)\ndrop table if exists kept; create table kept(v text character set utf8mb4);"
            "insert into kept values (:evil); select v, '\\\\' as slash from kept"
        )
        slash = "\\\\" if mode else "\\"
        assert await sql.result(script, {"evil": evil}) == [{"v": evil, "slash": slash}]
    finally:
        mariadb_server.ask(f"set global sql_mode = '{before}'")


async def test_result_collection(sql: SqlScripts) -> None:
    """The script says which statements' rows are its result; a procedure's first result counts."""
    body = "select 1 as a union all select 2; do 1; select 5 as c"
    assert await sql.result(body) == [{"c": 5}]
    mode = "-- result_collection=all_statements_all_rows_scalar\n"
    assert await sql.result(mode + body) == [[1, 2], [], [5]]
    await sql.result("create or replace procedure two() select 1 as a")
    assert await sql.result(mode + "call two(); select 2") == [[1], [2]]


async def test_error(sql: SqlScripts) -> None:
    """A SQL error has the server's words, its number and SQLSTATE, and where it happened."""
    failed = await sql.failure("select 1;\nselect nope")
    assert failed.reason == Reason.SCRIPT_ERROR
    assert (
        failed.message == "ERROR 1054 (42S22): Unknown column 'nope' in 'SELECT' (statement 2 of 2, line 2)"
    )
    assert failed.extra == {"errno": 1054, "sqlstate": "42S22", "statement": 2, "line": 2}


# ---------------------------------------------------------------- connecting


TLS = "-- result_collection=last_statement_first_row\nshow status like 'Ssl_version'"


@pytest.mark.parametrize(("ssl", "encrypted"), [(None, False), (False, False), (True, True)])
async def test_tls(sql: SqlScripts, ssl: bool | None, encrypted: bool) -> None:
    """`ssl` decides about encryption."""
    row = await sql.result(TLS, ssl=ssl)
    assert row["Value"].startswith("TLS") is encrypted


async def test_tls_verified(sql: SqlScripts, mariadb_server: DatabaseServer) -> None:
    """With an authority's certificate the server is held to it, and to its name."""
    changes: dict[str, Any] = {"ssl": True, "root_certificate_pem": mariadb_server.ca_pem}
    assert (await sql.result(TLS, **changes))["Value"].startswith("TLS")
    failed = await sql.failure(TLS, **mariadb_server.elsewhere, **changes)
    assert "certificate verify failed" in failed.message


async def test_bad_ssl(sql: SqlScripts) -> None:
    """What is neither true nor false is refused by field."""
    failed = await sql.failure("select 1", ssl="yes")
    assert (failed.reason, "database.ssl" in failed.message) == (Reason.BAD_INPUT, True)


# ---------------------------------------------------------------- limits


async def test_slow_query(sql: SqlScripts) -> None:
    """A query may take longer than a connection may."""
    assert await sql.result("-- result_collection=last_statement_first_row_scalar\nselect sleep(11)") == 0


async def test_timeout(sql: SqlScripts) -> None:
    """The job's time limit ends a slow query."""
    failed = await sql.failure("select sleep(31)", limits={"timeout_s": 1})
    assert failed.reason == Reason.TIMEOUT


async def test_cancel(sql: SqlScripts, mariadb_server: DatabaseServer) -> None:
    """A cancellation ends the query on the server too."""
    seen = await sql.run("select sleep(32)", cancel_after_s=1)
    assert isinstance(seen.outcome, Failed)
    assert seen.outcome.reason == Reason.CANCELLED
    assert seen.seconds < 3
    running = "select count(*) from information_schema.processlist where info like 'select sleep(32)'"
    deadline = time.monotonic() + 1
    while mariadb_server.ask(running) != "0":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


BIG = "select seq, repeat('x', 1000) as text from seq_1_to_{}"


async def test_big_result(sql: SqlScripts) -> None:
    """A result up to its limit takes little more memory than itself, twice."""
    seen = await sql.run(BIG.format(60_000), limits={"result_bytes": 64 * MIB})
    assert isinstance(seen.outcome, Returned)
    assert len(json.loads(seen.outcome.value)) == 60_000
    assert seen.outcome.usage.memory_peak_bytes < 2.5 * len(seen.outcome.value) + 40 * MIB


async def test_result_too_large(sql: SqlScripts) -> None:
    """A result over its limit ends as that, however big it would be."""
    failed = await sql.failure(BIG.format(3_000_000))
    assert failed.reason == Reason.RESULT_TOO_LARGE
