"""docs/security.md: every claim names a test, and every test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
CLAIMS = [
    line
    for part in re.findall(r"<!-- claims -->\n(.*?)<!-- /claims -->", PAGE, re.DOTALL)
    for line in part.splitlines()
]
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
NAMED = sorted(set(TEST_ID.findall(PAGE)))


@cache
def functions(path: str) -> frozenset[str]:
    """The tests at the top of a file."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_claim_names_the_test_that_proves_it() -> None:
    """One line, one claim, at least one test; nothing else is between the marks."""
    assert PAGE.count("<!-- claims -->") == PAGE.count("<!-- /claims -->") >= 9
    assert len(CLAIMS) > 50
    assert [line for line in CLAIMS if not (line.startswith("* ") and TEST_ID.search(line))] == []


@pytest.mark.parametrize(("path", "name"), NAMED, ids=["::".join(named) for named in NAMED])
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    """As a function of that file."""
    assert (ROOT / path).is_file()
    assert name in functions(path)


def test_whatever_looks_like_a_test_is_one() -> None:
    """A name with a mistake in its form would be looked up by nobody."""
    assert PAGE.count(".py::") == len(TEST_ID.findall(PAGE)) + 1  # one is the example's
