"""Every form follows JavaScript (docs/openflow.md section 2.2)."""

from __future__ import annotations

from typing import Any

import pytest

from executor.flows.expressions.places import CHOICE
from executor.flows.expressions.pool import Expressions
from tests.unit.expressions.values import Values, value

pytestmark = pytest.mark.anyio

FORMS: dict[str, Any] = {
    # one expression
    "1 + 1": 2,
    "  flow_input.n\n": 2,
    "flow_input.list.length": 3,
    "results.a.l.length": 2,
    "results?.a.l.map(x => x + 1)": [11, 21],
    "results['b-c'] + results['a'].o.p": "dashq",
    "`${flow_input.s}`": "text",
    "flow_input.n > 1 ? 'y' : 'n'": "y",
    "flow_input.list.filter(x => { return x > 1; })": [3, 2],
    "(() => { return 5; })()": 5,
    "Object.keys(flow_input.o)": ["k"],
    "[...flow_input.list].sort()": [1, 2, 3],
    "/a;return b/.test('a;return b')": True,
    "1, 2": 2,
    "previous_result.l[1] // the second; return it": 20,
    "/* let */ flow_input.n /* ; */": 2,
    # an object, not a block
    "{a: 1}": {"a": 1},
    "{}": {},
    "{...flow_input.o, b: [1]}": {"k": "v", "b": [1]},
    # a function body, and its value is what it returns
    "return flow_input.n": 2,
    "let x = 1; return x + 1": 2,
    "const {n} = flow_input\nreturn n": 2,
    "if (flow_input.n) { return 'yes' } else { return 'no' }": "yes",
    "try { flow_input.no.way } catch (e) { return e.name }": "TypeError",
    "let sum = 0; for (const x of flow_input.list) { sum += x } return sum": 6,
    "function twice(x) { return 2 * x }\nreturn twice(4)": 8,
    "flow_input.n;": None,
    "let x = 1": None,
    "": None,
    "   \n": None,
    "// nothing": None,
    # what stands in a string, a template or a comment decides nothing and stays as it is
    "'return 1; let x'": "return 1; let x",
    '"if (a) { variable(x) }"': "if (a) { variable(x) }",
    "`;return ${1 + 1};`": ";return 2;",
    "'await results.a'": "await results.a",
    "'it\\'s; ' + \"return \"": "it's; return ",
    "'// no comment'": "// no comment",
    # await does no harm, promises are awaited
    "await flow_input.n": 2,
    "(await results.a).l": [10, 20],
    "return await variable('u/test/greeting')": "hello",
    "Promise.resolve({a: 1})": {"a": 1},
    "async () => 1": None,
    "(async () => { await null; return 7 })()": 7,
    "const x = await Promise.all([1, Promise.resolve(2)]); return x": [1, 2],
    "({ then: (give) => give(3) })": 3,
    # values become JSON
    "undefined": None,
    "flow_input.missing": None,
    "NaN": None,
    "[Infinity, -Infinity, -0]": [None, None, 0],
    "new Date(0)": "1970-01-01T00:00:00.000Z",
    "Array(3)": [None, None, None],
    "x => x": None,
    "({f() {}, u: undefined, n: null})": {"n": None},
    "[() => 1, undefined, Symbol()]": [None, None, None],
    "new Map([[1, 2]])": {},
    "({toJSON: () => 'own'})": "own",
    "'\\u0000'": "\0",
    "'\\ud800'": "\ud800",
    "'é\u2028😀'": "é\u2028😀",
    # calls
    "variable('u/test/greeting') + '!'": "hello!",
    "resource('u/test/db').host": "h",
    "try { variable('none') } catch (e) { return e.message }": "Variable none not found",
    # nothing of a host
    "[typeof console, typeof require, typeof process, typeof fetch, typeof setTimeout, typeof ask, typeof tell]": [
        "undefined"
    ]
    * 7,
    "import('/etc/passwd').then(() => 'read', e => 'refused')": "refused",
}


@pytest.mark.parametrize("expr", FORMS)
async def test_a_form(expr: str, expressions: Expressions) -> None:
    """It gives what JavaScript gives."""
    assert await value(expressions, expr) == FORMS[expr]


@pytest.mark.parametrize(
    ("expr", "truth"),
    [
        ("flow_input.n", True),
        ("flow_input.missing", False),
        ("results.zero", False),
        ("results.nothere", False),
        ("results.a", True),
        ("''", False),
        ("NaN", False),
        ("[]", True),
        ("-0.0", False),
        ("Promise.resolve(false)", False),
        ("flow_input.n > 1; return 0", False),
        ("x => x", True),
        ("1n", True),
        ("false", False),
    ],
)
async def test_a_predicate(expr: str, truth: bool, expressions: Expressions) -> None:
    """It is coerced as by Boolean()."""
    answer = await expressions.evaluate(expr, Values(), CHOICE, as_boolean=True)
    assert answer == (b"true" if truth else b"false")


async def test_nothing_persists(expressions: Expressions) -> None:
    """Each evaluation has a context of its own."""
    await value(
        expressions, "globalThis.left = 1; Object.prototype.left = 1; Array.prototype.map = null; return 1"
    )
    assert await value(expressions, "[typeof left, typeof {}.left, [1].map(x => x)]") == [
        "undefined",
        "undefined",
        [1],
    ]


async def test_integers_that_javascript_does_not_touch(expressions: Expressions) -> None:
    """A plain path hands the JSON text on; the engine has doubles."""
    scope = Values({"flow_input": b'{"id": 12345678901234567890, "f": 1.0}', "previous_result": b"1"})
    assert await expressions.evaluate("flow_input.id", scope, CHOICE) == b"12345678901234567890"
    assert await expressions.evaluate("flow_input.f", scope, CHOICE) == b"1.0"
    assert await expressions.evaluate("(flow_input.id)", scope, CHOICE) == b"12345678901234567000"
    assert await expressions.evaluate("(flow_input.f)", scope, CHOICE) == b"1"
