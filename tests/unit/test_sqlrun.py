"""What SQL runners share: declarations, names put in, values, collections, what is not shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pg_values
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlrun import databases, declarations, values
from sqlrun.collect import Collection, Rows
from sqlrun.errors import BadInput
from sqlrun.interpolation import interpolate
from sqlrun.lexer import DUCKDB, MYSQL, POSTGRESQL, Dialect, statements
from sqlrun.redact import redacted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)  # fmt: skip


def declared(sql: str, dialect: Dialect = POSTGRESQL) -> Any:
    return declarations.read(sql, dialect)


@pytest.mark.parametrize(
    ("line", "dialect", "wanted"),
    [
        ("-- $1 name", POSTGRESQL, ("1", "name", None, None)),
        ("-- $1 name = a b", POSTGRESQL, ("1", "name", None, "a b")),
        ("-- $02 name (INT[]) = 5", POSTGRESQL, ("2", "name", "int[]", "5")),
        ("-- $1 n (varchar(10))", POSTGRESQL, ("1", "n", "varchar(10)", None)),
        ("-- ? name (int) = 5", MYSQL, ("?0", "name", "int", "5")),
        ("-- :name (double precision)", MYSQL, ("name", "name", "double precision", None)),
        ("-- $name (text) = 'x'", DUCKDB, ("name", "name", "text", "'x'")),
    ],
)
def test_argument_lines(line: str, dialect: Dialect, wanted: tuple[str | None, ...]) -> None:
    """An argument's comment gives its placeholder, name, type and default."""
    (found,) = declared(line, dialect).arguments.values()
    assert (found.placeholder, found.name, found.type, found.default) == wanted


@pytest.mark.parametrize("line", ["-- $1", "-- costs $1 per item", "--$1 a", "-- $1 a b c", "# $1 name"])
def test_no_argument_lines(line: str) -> None:
    """Other comments declare nothing."""
    assert declared(line).arguments == {}


def test_annotations() -> None:
    """Database and result collection are read from comments; a collection that there is not is refused."""
    found = declared("-- database f/a/db\n-- result_collection=legacy\nselect 1")
    assert (found.database, found.collection) == ("f/a/db", "legacy")
    assert declared("-- return_last_result").collection == "last_statement_all_rows"
    with pytest.raises(
        BadInput, match=r"result_collection: there is no 'all'.*use one of last_statement_all_rows"
    ):
        declared("-- result_collection=all")


def test_interpolation_of_listed_values() -> None:
    """With a list only its values get in, whatever they look like; comments stay as they are."""
    sql = "-- %%tbl%% users/orders\nselect * from %%tbl%% -- %%tbl%%"
    found = declared(sql).interpolations
    assert interpolate(sql, POSTGRESQL, found, {"tbl": "orders"}, use_defaults=False) == (
        "-- %%tbl%% users/orders\nselect * from orders -- %%tbl%%"
    )
    with pytest.raises(BadInput, match=r"argument `tbl`: 'secrets' is none of .* users, orders"):
        interpolate(sql, POSTGRESQL, found, {"tbl": "secrets"}, use_defaults=False)


@given(st.text(min_size=1, max_size=12))
def test_interpolation_lets_in_identifiers_only(value: str) -> None:
    """Without a list a value gets in if it is a plain identifier, and is refused else."""
    sql = "-- %%col%%\nselect %%col%%"
    found = declared(sql).interpolations
    if value.isascii() and value.isidentifier():
        assert interpolate(sql, POSTGRESQL, found, {"col": value}, use_defaults=False).endswith(
            f"select {value}"
        )
    else:
        with pytest.raises(BadInput, match="argument `col`"):
            interpolate(sql, POSTGRESQL, found, {"col": value}, use_defaults=False)


@pytest.mark.parametrize("value", [None, 5, "", ["a"]])
def test_interpolation_needs_a_string(value: Any) -> None:
    """A missing name, or one that is no string, is refused with its argument's name."""
    sql = "-- %%col%%\nselect %%col%%"
    with pytest.raises(BadInput, match=r"argument `col`.*give a string"):
        interpolate(sql, POSTGRESQL, declared(sql).interpolations, {"col": value}, use_defaults=False)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-- $a (int) = 5", 5), ("-- $a (double) = 1.5", 1.5), ("-- $a (bool) = TRUE", True),
        ("-- $a (text) = 'it is'", "it is"), ("-- $a = x y", "x y"), ("-- $a (int[]) = [1, 2]", [1, 2]),
        ("-- $a (json) = {\"b\": 1}", {"b": 1}), ("-- $a (int) = null", None), ("-- $a (int)", None),
    ],
)  # fmt: skip
def test_defaults(line: str, wanted: Any) -> None:
    """A default is a value of its argument's type, and stands for a missing or null argument."""
    arguments = declared(line, DUCKDB).arguments
    (statement,) = statements("select $a", DUCKDB)
    for args in ({}, {"a": None}):
        assert values.bound(statement, arguments, args, use_defaults=True)["a"][1] == wanted
        assert values.bound(statement, arguments, args)["a"][1] is None
    assert values.bound(statement, arguments, {"a": 0}, use_defaults=True)["a"][1] == 0


def test_bad_default() -> None:
    """A default that is none of its type is refused by name."""
    (argument,) = declared("-- $a (int) = five", DUCKDB).arguments.values()
    with pytest.raises(BadInput, match="argument `a`: its default 'five' is no int"):
        values.default_of(argument)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "argument `database` is missing"),
        ({"database": "x"}, "argument `database` is a string; give an object"),
        ({"database": "$res:f/a/db"}, "resource 'f/a/db' not found"),
        ({"database": "$res:f/a/db", "_RESOURCES": {"f/a/db": 5}}, "resource 'f/a/db' is a number"),
    ],
)
def test_no_database(args: dict[str, Any], message: str) -> None:
    """A job without a connection object hears which one is missing and what to do."""
    with pytest.raises(BadInput, match=message):
        databases.meant(declared("select 1"), args)


def test_annotation_wins() -> None:
    """The resource that the script names wins over the argument."""
    args = {"database": {"host": "a"}, "_RESOURCES": {"f/a/db": {"host": "b"}}}
    assert databases.meant(declared("-- database f/a/db"), args) == {"host": "b"}
    with pytest.raises(BadInput, match="resource 'f/a/other' not found"):
        databases.meant(declared("-- database f/a/other"), args)


@pytest.mark.parametrize("port", [0, 65536, "abc", -1, True, [], "５４３２"])
def test_bad_port(port: Any) -> None:
    """What is no port is refused by name."""
    with pytest.raises(BadInput, match=r"database\.port"):
        databases.port_of({"port": port}, 5432)


class Pages:
    """Takes a result's text."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


TWO = [["1", '"a"'], ["2", '"b"']]
OBJECTS = [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]


def collected(name: str, *results: list[list[str]] | None) -> Any:
    out = Pages()
    collection = Collection(name, len(results), out)
    for rows in results:
        collection.add(None if rows is None else Rows(["x", "y"], iter(rows)))
    collection.close()
    return json.loads(out.text)


@pytest.mark.parametrize(
    ("name", "of_two_and_none", "of_two"),
    [
        ("last_statement_all_rows", [], OBJECTS),
        ("last_statement_first_row", None, OBJECTS[0]),
        ("last_statement_all_rows_scalar", [], [1, 2]),
        ("last_statement_first_row_scalar", None, 1),
        ("all_statements_all_rows", [OBJECTS, []], [OBJECTS]),
        ("all_statements_first_row", [OBJECTS[0], None], [OBJECTS[0]]),
        ("all_statements_all_rows_scalar", [[1, 2], []], [[1, 2]]),
        ("all_statements_first_row_scalar", [1, None], [1]),
        ("legacy", [OBJECTS, []], OBJECTS),
    ],
)
def test_collections(name: str, of_two_and_none: Any, of_two: Any) -> None:
    """Each mode, of a query with two rows and a statement that is no query, and of the query alone."""
    assert collected(name, TWO, None) == of_two_and_none
    assert collected(name, TWO) == of_two


@pytest.mark.parametrize("name", declarations.COLLECTIONS)
def test_collections_of_nothing(name: str) -> None:
    """A script without statements, and a query without rows, give a value in every mode."""
    assert collected(name) in ([], None)
    assert collected(name, []) in ([], None, [[]], [None])


def test_rows_that_are_not_asked_for_are_read() -> None:
    """A statement whose rows are not in the result is carried out to its end all the same."""
    rows = iter(TWO)
    collection = Collection("last_statement_all_rows", 2, Pages())
    collection.add(Rows(["x", "y"], rows))
    assert list(rows) == []


def test_columns_of_one_name() -> None:
    """Of two columns with one name the last counts: an object has each key once."""
    out = Pages()
    Collection("last_statement_all_rows", 1, out).add(Rows(["a", "b", "a"], iter([["1", "2", "3"]])))
    assert json.loads(out.text) == [{"b": 2, "a": 3}]


@pytest.mark.parametrize(
    "how",
    [
        lambda p: f"host=h password={libpq(p)} dbname=d",
        lambda p: "ATTACH '" + f"host=h password={libpq(p)}".replace("'", "''") + "' AS x",
        lambda p: f"CREATE USER u PASSWORD {literal(p)}",
        lambda p: f"create user u identified by {literal(p)}",
    ],
    ids=["libpq", "attach", "user", "identified"],
)
@given(password=st.text("abcXYZ019 '\\\"$%;", min_size=6))
def test_passwords_are_not_shown(how: Callable[[str], str], password: str) -> None:
    """Where a password stands in a text, a mark stands in its place."""
    secret = "geheim" + password.replace("=", "") + "ende"
    shown = redacted(how(secret))
    assert "geheim" not in shown
    assert "***" in shown


def libpq(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"


def test_known_secrets_are_not_shown() -> None:
    """A secret that is known is hidden wherever it stands, but not as a part of other words."""
    assert redacted("role app, key app1: no", ["app"]) == "role ***, key app1: no"
    assert redacted("postgres://u:geheim@h/d failed") == "postgres://u:***@h/d failed"


@given(st.lists(st.none() | st.text("a,{}\"'\\ \nNUL", max_size=6)))
def test_arrays_survive(items: list[str | None]) -> None:
    """An array's literal, read as the server shows arrays, is the same array again."""
    sent = pg_values.text_in("a", pg_values.Kind("text[]"), items).decode()
    assert json.loads(pg_values.writer(1009)(sent)) == items


@given(JSON)
def test_json_in(value: Any) -> None:
    """A json argument is the value's JSON text."""
    try:
        sent = pg_values.text_in("a", pg_values.Kind("jsonb"), value)
    except BadInput:  # half a surrogate pair
        with pytest.raises(UnicodeEncodeError):
            json.dumps(value, ensure_ascii=False).encode()
        return
    assert value is None or json.loads(sent) == value


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("$1::int", "int"), ("$1 :: INT [] ", "int[]"), ("$1::double precision", "double precision"),
        ("$1::character varying(10)[]", "character varying[]"), ("$1::pg_catalog.bytea", "bytea"),
        ("$1", None), ("($1)::int", None), ("$1::s.mood", "s.mood"), ("$11::int + $1", None),
    ],
)  # fmt: skip
def test_casts(sql: str, wanted: str | None) -> None:
    """The cast behind a placeholder gives its type."""
    (statement,) = statements(f"select {sql}", POSTGRESQL)
    kind = pg_values.kind_of(statement, "1", None)
    assert (kind and kind.name) == wanted
