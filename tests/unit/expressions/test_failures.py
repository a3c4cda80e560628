"""A failed expression says what failed, and where in its text (docs/openflow.md section 2.6)."""

from __future__ import annotations

import pytest

from executor.errors import Reason
from executor.flows.expressions.pool import Expressions
from tests.unit.expressions.values import Values, detail, failure, value

pytestmark = pytest.mark.anyio

DETAILS = {
    "flow_input.a.b.c": "TypeError: cannot read property 'b' of undefined at 1:1",
    "results.nope.x": "TypeError: cannot read property 'x' of null at 1:1",
    "1 +\n  flow_input.a.b": "TypeError: cannot read property 'b' of undefined at 2:3",
    "\n\n  nope": "ReferenceError: nope is not defined at 3:3",
    "let a = 1;\nreturn a.b.c;": "TypeError: cannot read property 'c' of undefined at 2:8",
    "flow_input.list.map(x => x.y.z)": "TypeError: cannot read property 'z' of undefined at 1:26",
    "flow_input.list.nope()": "TypeError: not a function at 1:17",
    "JSON.parse('{')": "SyntaxError: Expected property name or '}' in JSON at position 1 (line 1 column 2) at 1:6",
    "variable('none')": "Error: Variable none not found at 1:1",
    "throw new RangeError('own')": "RangeError: own at 1:11",
    "throw 'text'": "text",
    "throw {code: 1}": '{"code":1}',
    "1n": "TypeError: BigInt are forbidden in JSON.stringify",
    "new Promise(() => {})": "Error: the promise that the expression gave is never settled",
    "Promise.reject(new Error('later'))": "Error: later at 1:20",
    # no JavaScript
    "1 +": "SyntaxError: unexpected token in expression: ']' at 1:4",
    "a b": "SyntaxError: Unexpected identifier 'b' at 1:3",
    "let x = ;": "SyntaxError: unexpected token in expression: ';' at 1:9",
    "return 1;\n}": "SyntaxError",
    "'abc": "SyntaxError: unexpected end of string at 1:1",
    # texts that would close our own brackets
    "1), (2": "SyntaxError",
    "1], [2": "SyntaxError",
    "}); (async () => {": "SyntaxError",
    "}}); (async () => {{": "SyntaxError",
    "*/ 1 /*": "SyntaxError",
}


@pytest.mark.parametrize("expr", DETAILS)
async def test_the_detail(expr: str, expressions: Expressions) -> None:
    """Name, message and position, after the sentence that quotes the expression."""
    said = await detail(expressions, expr)
    if DETAILS[expr] == "SyntaxError":
        assert said.startswith("SyntaxError: ")
    else:
        assert said == DETAILS[expr]


async def test_a_cyclic_result(expressions: Expressions) -> None:
    """What has no JSON is an error."""
    assert "TypeError: circular reference" in await detail(expressions, "const a = {}; a.a = a; return a")


async def test_the_time_limit_has_its_own_text(expressions: Expressions) -> None:
    """It says the limit, and its reason is `timeout`; that of the others is `bad_input`."""
    failed = await failure(expressions, "for (;;);")
    assert failed.message == "The expression of evaluation `for (;;);` took too long to execute (>1000ms)"
    assert (failed.timed_out, failed.reason) == (True, Reason.TIMEOUT)
    failed = await failure(expressions, "nope")
    assert (failed.timed_out, failed.reason) == (False, Reason.BAD_INPUT)


async def test_long_texts_are_cut(expressions: Expressions) -> None:
    """Nobody's message fills a database."""
    said = await detail(expressions, "throw new Error('x'.repeat(1e6))")
    assert said.startswith("Error: xxx")
    assert "x…" in said
    assert len(said) < 5000


async def test_the_scopes_own_trouble_is_not_the_expressions(expressions: Expressions) -> None:
    """An exception of the scope reaches the caller, and the next evaluation works."""

    class Broken(Values):
        async def result(self, step_id: str) -> bytes | None:
            raise TimeoutError("the database is away")

    for expr in ("results.a", "(results.a)"):
        with pytest.raises(TimeoutError, match="the database is away"):
            await value(expressions, expr, Broken())
    assert await value(expressions, "1 + 1") == 2
