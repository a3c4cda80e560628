"""A hostile expression costs at most its child, and never the service."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from executor.flows.expressions.places import CHOICE
from executor.flows.expressions.pool import Expressions
from tests.unit.expressions.values import TIMEOUT_S, Values, children, detail, failure, value

pytestmark = pytest.mark.anyio

ENDLESS = [
    "for (;;);",
    "for (;;) { try { null.x } catch {} }",
    "/(a+)+$/.test('a'.repeat(40) + 'b')",
    "/(?:.*.*)*x/.test('a'.repeat(30000))",
    "[3, 2, 1].sort(() => { for (;;); })",
    "({ get x() { for (;;); } })",
    "({ toJSON() { for (;;); } })",
    "({ then() { for (;;); } })",
    "new Proxy({}, { ownKeys() { for (;;); } })",
    "const again = () => queueMicrotask(again); again(); return new Promise(() => {})",
    "throw { toJSON() { for (;;); } }",
    "new Array(2 ** 32 - 1).join('xx')",
    "throw new Proxy(new Error('x'), { get() { for (;;); } })",
    "}}); for (;;); (async () => {{",
    "eval('for (;;);')",
    "const seen = []; for (;;) { try { variable('u/test/' + seen.length) } catch { seen.length++ } }",
]
TOO_MUCH = [
    "const all = []; for (;;) all.push({ a: [1, 2, 3] })",
    "let s = 'x'; for (;;) s += s",
    "'x'.repeat(2 ** 28)",
    "'x'.padEnd(2 ** 29)",
    "new Array(5e7).fill(7).sort()",
    "Array.from({ length: 1e9 }, (_, i) => i)",
    "new Uint8Array(2 ** 40)",
    "const all = []; for (;;) all.push(new Uint8Array(1e6))",
    "2n ** (2n ** 40n)",
    "[...Array(1e8).keys()]",
    "JSON.stringify(Array(1e7).fill('xxxxxxxx'))",
    "let a = []; for (;;) a = [a]",
    "const m = new Map(); for (let i = 0; ; i++) m.set(i, {})",
    "'x'.repeat(5e7)",  # a result of 50 MB
    "Array(3e6).fill(1)",  # a result of 6 MB of text, but too big an array of arguments
    "throw new Error('x'.repeat(2 ** 28))",
    "const again = () => Promise.resolve().then(again); return again()",
    "for (let i = 0; ; i++) results['id' + i]",
    "results['x'.repeat(1e6)]",
    "variable('x'.repeat(1e5))",
]
BOUNDS = (
    "out of memory",
    "the result is over 1048576 bytes",
    "invalid array buffer length",
    "string too long",
    "BigInt is too large",
    "more than 10000 values were asked for",
    "characters is too long",
)
TOO_DEEP = [
    "(function f() { return f() })()",
    "let a = []; for (let i = 0; i < 2e5; i++) a = [a]; return a",
    "let a = {}; for (let i = 0; i < 2e5; i++) a = { a }; return JSON.stringify(a)",
    "JSON.parse('['.repeat(3e5))",
    "eval('('.repeat(3e5))",
    "new RegExp('('.repeat(1e5))",
    "let f = x => x; for (let i = 0; i < 1e5; i++) { const g = f; f = x => g(x) } return f(1)",
    "const p = { get x() { return this.x } }; return p.x",
    "const o = { toString() { return `${o}` } }; return `${o}`",
    "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x",
    "const e = new Error(); Object.defineProperty(e, 'message', { get() { return `${e.message}` } }); throw e",
]
TAMPERING = {
    "Object.prototype.toJSON = () => 1; return { a: 2 }": 1,
    "Object.prototype.toJSON = () => 1; return 'text'": "text",
    "Array.prototype.toJSON = () => 'mine'; return [1]": "mine",
    "JSON.stringify = () => 'forged'; JSON.parse = null; return [1]": [1],
    "String.prototype.slice = null; Array.prototype.push = null; return 's'": "s",
    "Promise.prototype.then = () => 0; return 4": 4,
    "globalThis.Promise = null; return (async () => 4)()": 4,
    "Object.defineProperty(Object.prototype, '0', { get: () => 9, set() {} }); return [results.a.l[0], 1]": [
        10,
        1,
    ],
    "Object.defineProperty(Object.prototype, 'value', { get: () => 9 }); return [results.zero, results.nope]": [
        0,
        None,
    ],
    "Object.prototype.get = () => 9; return Object.keys(results).length": 3,
    "Reflect.get = Reflect.apply = null; globalThis.Error = null; globalThis.Object = null; return results.zero": 0,
    "Object.freeze(globalThis); return flow_input.n": 2,
    "for (const key of Object.getOwnPropertyNames(globalThis)) { try { delete globalThis[key] } catch {} } return 1": 1,
    "Object.setPrototypeOf(Object.getPrototypeOf(async () => {}), null); return 1": 1,
}


@pytest.fixture(autouse=True)
async def lives(expressions: Expressions) -> None:
    """After whatever the last test did, an evaluation works."""
    assert await value(expressions, "1 + 1") == 2


@pytest.mark.parametrize("expr", ENDLESS)
async def test_endless(expr: str, expressions: Expressions) -> None:
    """The time limit ends it."""
    begun = time.monotonic()
    assert (await failure(expressions, expr)).timed_out
    assert TIMEOUT_S <= time.monotonic() - begun < TIMEOUT_S + 10
    assert await value(expressions, "1 + 1") == 2


@pytest.mark.parametrize("expr", TOO_MUCH)
async def test_too_much(expr: str) -> None:
    """Memory and the result are bounded; the child goes on, or another one does."""
    async with Expressions(timeout_s=20, children=1, result_bytes=1 << 20) as pool:
        said = await detail(pool, expr)
        assert any(bound in said for bound in BOUNDS), said
        assert await value(pool, "1 + 1") == 2


@pytest.mark.parametrize("expr", TOO_DEEP)
async def test_too_deep(expr: str, expressions: Expressions) -> None:
    """The stack is bounded: an error, and no crash."""
    said = await detail(expressions, expr)
    assert "died" not in said
    assert await value(expressions, "1 + 1") == 2


@pytest.mark.parametrize("expr", TAMPERING)
async def test_tampering(expr: str, expressions: Expressions) -> None:
    """An expression can spoil its own result and nothing else."""
    assert await value(expressions, expr) == TAMPERING[expr]


@pytest.mark.parametrize("thrown", ["null", "undefined", "Symbol('s')", "1n", "() => 1", "new Proxy({}, { getPrototypeOf() { throw 1 } })", "{ toJSON() { throw 1 } }", "Object.create(null)", "new Date(NaN)"])  # fmt: skip
async def test_thrown_values_of_every_kind(thrown: str, expressions: Expressions) -> None:
    """Each has a description, and none forges more than that."""
    assert await detail(expressions, f"throw {thrown}")


async def test_a_deep_value_in_the_scope(expressions: Expressions) -> None:
    """What the engine cannot read is an error of the expression; handed on whole it is no trouble."""
    deep = b"[" * 200_000 + b"]" * 200_000
    scope = Values({"flow_input": deep, "previous_result": None}, {"deep": deep})
    for expr in ("(flow_input)", "results.deep.x", "results.deep[0][0]"):
        assert "Maximum call stack size" in await detail(expressions, expr, scope)
    for expr in ("flow_input", "results.deep"):
        assert await expressions.evaluate(expr, scope, CHOICE) == deep


async def test_big_values_pass_and_bounded_ones_do_not() -> None:
    """A result of 20 MB is handed on, and looked into by path; JavaScript has no room for it, and says so."""
    big = json.dumps({"rows": ["x" * 1000] * 20_000, "n": 1}).encode()
    scope = Values(results={"big": big})
    async with Expressions(timeout_s=30, children=1) as pool:
        assert len(await value(pool, "results.big.rows", scope)) == 20_000
        assert await value(pool, "results.big.n", scope) == 1
        assert "out of memory" in await detail(pool, "results.big.rows.map(x => x + x)", scope)
        assert "the result is over 8388608 bytes" in await detail(pool, "'x'.repeat(9e6)", scope)
        assert await value(pool, "1 + 1") == 2


async def test_questions_are_bounded() -> None:
    """An endless loop over variables does not keep the database busy."""

    class Counting(Values):
        calls = 0

        async def variable(self, path: str) -> bytes:
            self.calls += 1
            return b"1"

    scope = Counting()
    async with Expressions(timeout_s=60, children=1) as pool:
        assert "more than 10000 values" in await detail(pool, "for (;;) variable('u/a/b')", scope)
    assert scope.calls == 10_000


async def test_a_child_has_nothing() -> None:
    """No environment, no files beyond its pipes, no privileges, bounded memory, no processes."""
    before = children()
    async with Expressions() as pool:
        assert await value(pool, "1 + 1") == 2
        (pid,) = children() - before
        check_confined(pid)


def check_confined(pid: int) -> None:
    """Assert that the process has nothing."""
    process = Path(f"/proc/{pid}")
    assert (process / "environ").read_bytes() == b""
    assert sorted(os.listdir(process / "fd")) == ["0", "1", "2"]
    assert os.readlink(process / "cwd") == "/"
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert status["NoNewPrivs"] == "1"
    if os.geteuid() == 0:
        assert status["Uid"].split() == ["65532"] * 4
        assert status["Gid"].split() == ["65532"] * 4
        assert status["Groups"].split() == []
        assert int(status["CapEff"], 16) == 0
    limits = (process / "limits").read_text()
    for name, most in [("open files", 3), ("processes", 0), ("core file size", 0), ("file size", 0)]:
        assert re.search(rf"^Max {name} +{most} +{most} ", limits, re.MULTILINE), limits
    found = re.search(r"^Max address space +(\d+) +(\d+) ", limits, re.MULTILINE)
    assert found
    assert int(found[2]) < 1 << 30
