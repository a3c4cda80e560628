"""SQL scripts are split where their database would end a statement, and nowhere else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlrun.lexer import DUCKDB, MYSQL, POSTGRESQL, Dialect, comment_lines, mysql, statements, tokens

DIALECTS = [POSTGRESQL, MYSQL, DUCKDB]
BARE = st.text("ab1_ (),=\n", min_size=0, max_size=8)
INSIDE = st.text("a;'\"$`?:-#/*\\\n é", max_size=8)


def texts(sql: str, dialect: Dialect) -> list[str]:
    return [statement.text for statement in statements(sql, dialect)]


def names(sql: str, dialect: Dialect) -> list[str | None]:
    return [place.name for statement in statements(sql, dialect) for place in statement.placeholders]


def standard_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escape_string(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def dollar_quoted(text: str) -> str:
    return f"$tag${text}$tag$"


def identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def block(text: str) -> str:
    return "/*" + text.replace("*", "").replace("/", "") + "*/"


def nested_block(text: str) -> str:
    return f"/* outer {block(text)} still; */"


def line(text: str) -> str:
    return "--" + text.replace("\n", " ") + "\n"


def my_string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def backticks(text: str) -> str:
    return "`" + text.replace("`", "``") + "`"


def my_line(text: str) -> str:
    return "-- " + text.replace("\n", " ") + "\n"


def hash_line(text: str) -> str:
    return "#" + text.replace("\n", " ") + "\n"


STANDARD = [standard_quoted, escape_string, dollar_quoted, identifier, block, nested_block, line]
HIDING = {
    "PostgreSQL": STANDARD,
    "DuckDB": STANDARD,
    "MySQL": [my_string, backticks, block, my_line, hash_line],
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.title)
@given(data=st.data())
def test_what_is_quoted_or_commented_never_splits(dialect: Dialect, data: st.DataObject) -> None:
    """Statements put together from code and hidden texts come apart again at their own semicolons."""
    hide = st.builds(lambda how, text: how(text), st.sampled_from(HIDING[dialect.title]), INSIDE)
    # A space keeps two pieces from becoming one: 'a''b' is a single text.
    one = st.lists(st.one_of(BARE, hide), max_size=5).map(lambda parts: "select " + " ".join(parts))
    wanted = data.draw(st.lists(one, min_size=1, max_size=4))
    found = statements(";".join(wanted), dialect)
    assert [statement.text for statement in found] == [text.rstrip() for text in wanted]
    assert not any(statement.placeholders for statement in found)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.title)
@given(sql=st.text("a;'\"$`?:-#/*\\\nE1 é", max_size=40))
def test_any_text_is_read_to_its_end(dialect: Dialect, sql: str) -> None:
    """However broken a script is, its tokens lie in order within it, and statements are parts of it."""
    at = 0
    for token in tokens(sql, dialect):
        assert at <= token.start < token.end <= len(sql)
        at = token.end
    for statement in statements(sql, dialect):
        assert statement.text in sql
        assert statement.text.strip() == statement.text != ""
        assert sql.split("\n")[statement.line - 1].strip() != ""


@pytest.mark.parametrize(
    ("sql", "dialect", "wanted"),
    [
        ("select 1; select 2;", POSTGRESQL, ["select 1", "select 2"]),
        (" ; -- nothing\n ; /* ; */ ;", POSTGRESQL, []),
        ("-- first\nselect 1 -- last", POSTGRESQL, ["select 1 -- last"]),
        ("select 'it''s; ok'; select 2", POSTGRESQL, ["select 'it''s; ok'", "select 2"]),
        (r"select '\'; select 2 --'", POSTGRESQL, [r"select '\'", "select 2 --'"]),
        (r"select E'\'; select 2 --'", POSTGRESQL, [r"select E'\'; select 2 --'"]),
        ("select E'a'\n'\\';'; select 2", POSTGRESQL, ["select E'a'\n'\\';'", "select 2"]),
        ("select name'x;y'", POSTGRESQL, ["select name'x;y'"]),
        ("/* a /* b; */ c; */ select 1", POSTGRESQL, ["select 1"]),
        ("/* a /* b; */ select 1; select 2 */", MYSQL, ["select 1", "select 2 */"]),
        ("do $$ begin; end $$; select 1", POSTGRESQL, ["do $$ begin; end $$", "select 1"]),
        ("do $a$ $$ ; $b$ ; $a$; select 1", POSTGRESQL, ["do $a$ $$ ; $b$ ; $a$", "select 1"]),
        ("select a$b$; select 2; $b$", POSTGRESQL, ["select a$b$", "select 2", "$b$"]),
        ("select $$open; forever", POSTGRESQL, ["select $$open; forever"]),
        (r"select 'a\'; b'; select 2", MYSQL, [r"select 'a\'; b'", "select 2"]),
        (r"select 'a\'; select 2", mysql(backslash_escapes=False), [r"select 'a\'", "select 2"]),
        ('select "a;\\"b"; select 2', MYSQL, ['select "a;\\"b"', "select 2"]),
        ("select `a;b`; select 2", MYSQL, ["select `a;b`", "select 2"]),
        ("select 1--1; select 2", MYSQL, ["select 1--1", "select 2"]),
        ("select 1 # a; b\n; select 2", MYSQL, ["select 1 # a; b", "select 2"]),
        ("select 1 # 2; select 3", POSTGRESQL, ["select 1 # 2", "select 3"]),
        ("/*! create table t(a int) */; select 1", MYSQL, ["/*! create table t(a int) */", "select 1"]),
        ("select $$ a; b $$; select 2", MYSQL, ["select $$ a", "b $$", "select 2"]),
    ],
)
def test_statements(sql: str, dialect: Dialect, wanted: list[str]) -> None:
    """Each database's own quotes and comments hide semicolons; another's do not."""
    assert texts(sql, dialect) == wanted


@pytest.mark.parametrize(
    ("sql", "dialect", "wanted"),
    [
        (
            "select $1, '$2', \"$3\", $$ $4 $$ -- $5\n, $12::int, a$6, /* $7 */ $8",
            POSTGRESQL,
            ["1", "12", "8"],
        ),
        ("select ?, '?', `?`, \"?\" -- ?\n, ? # ?\n", MYSQL, [None, None]),
        ("select :a, ':b', a::c, @x := 1, :d_1 /* :e */", MYSQL, ["a", "d_1"]),
        ("select $a, '$b', $$ $c $$, x$d, $e1 -- $f", DUCKDB, ["a", "e1"]),
    ],
)
def test_placeholders(sql: str, dialect: Dialect, wanted: list[str | None]) -> None:
    """A placeholder counts in code only."""
    assert names(sql, dialect) == wanted


def test_filled() -> None:
    """What stands for a placeholder gets into its place, and nothing else changes."""
    (statement,) = statements("  select $1 + $22,\n '$1'", POSTGRESQL)
    assert statement.filled(lambda place: f"<{place.name}>") == "select <1> + <22>,\n '$1'"


@given(st.lists(st.sampled_from(["\n", "select 1;", "/* a\n b */", "-- x\n"]), max_size=12).map("".join))
def test_lines(sql: str) -> None:
    """A statement's line is the one in which its code begins."""
    wanted = [sql.count("\n", 0, match.start()) + 1 for match in re.finditer("select", sql)]
    assert [statement.line for statement in statements(sql, POSTGRESQL)] == wanted


def test_comment_lines() -> None:
    """Annotations are comments on lines of their own; what looks like one within a text is none."""
    sql = "-- one\n  -- two \nselect '\n-- three\n' -- four\n$$\n-- five\n$$ /*\n-- six\n*/\n-- seven"
    assert list(comment_lines(sql, POSTGRESQL)) == ["-- one", "-- two", "-- seven"]
