"""The fast path is the engine's answer, or none: both are really asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from executor.flows.expressions import paths
from executor.flows.expressions.evaluation import Evaluation, Failure
from executor.flows.expressions.places import CHOICE

KEYS = [
    "a",
    "b",
    "k_1",
    "$",
    "0",
    "1",
    "2",
    "-1",
    "é",
    "a b",
    "",
    "length",
    "error",
    "then",
    "toJSON",
    "__proto__",
    "constructor",
    "toString",
    "default",
]
NUMBERS = [
    "0",
    "-0",
    "1",
    "1.0",
    "-1.5e3",
    "1E400",
    "-1e400",
    "1e-400",
    "12345678901234567890",
    "9007199254740993",
    "0.1",
]
STRINGS = [
    '""',
    '"0"',
    '"a"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"😀"',
    '"\\/\\n"',
    '"null"',
    '"\u2028"',
]
SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r\n "])


def texts(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Arrays and objects as JSON text: any white space, escaped keys, the same key twice."""
    key = st.builds(
        lambda key, ascii: json.dumps(key, ensure_ascii=ascii), st.sampled_from(KEYS), st.booleans()
    )
    member = st.builds(lambda s, k, t, v: f"{s}{k}{t}:{s}{v}{t}", SPACE, key, SPACE, children)
    element = st.builds(lambda s, v, t: f"{s}{v}{t}", SPACE, children, SPACE)
    return st.one_of(
        st.builds(lambda s, many: "[" + (",".join(many) or s) + "]", SPACE, st.lists(element, max_size=3)),
        st.builds(lambda s, many: "{" + (",".join(many) or s) + "}", SPACE, st.lists(member, max_size=5)),
    )


scalars = st.one_of(
    st.sampled_from([*NUMBERS, *STRINGS, "true", "false", "null"]),
    st.text(max_size=4).map(json.dumps),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
documents = st.builds(lambda s, v, t: s + v + t, SPACE, st.recursive(scalars, texts, max_leaves=12), SPACE)


def quoted(key: str) -> list[str]:
    """Ways to write a key in brackets."""
    return [f"[{json.dumps(key, ensure_ascii=False)}]", f"['{key}']"]


links = st.one_of(
    st.sampled_from(KEYS).flatmap(
        lambda key: st.sampled_from([f".{key}", f"?.{key}", *quoted(key), f"?.[{json.dumps(key)}]"])
    ),
    st.sampled_from(["[0]", "[1]", "?.[0]", "[9]", "[00]", "[1.5]", "[-1]", ".a", "?.a", ".b", "['a']"]),
)
roots = st.sampled_from(
    [
        "previous_result",
        "result",
        "error",
        "results.a",
        "results?.a",
        "results['a']",
        "results.nope",
        "flow_input",
        "nope",
    ]
)
ways = st.builds(lambda root, links: root + "".join(links), roots, st.lists(links, max_size=4))


def by_engine(expr: str, document: str, boolean: bool) -> bytes | None:
    """The engine's answer; None if it fails."""
    request = {
        "expr": expr,
        "boolean": boolean,
        "names": {"previous_result": document, "flow_input": "{}"},
        "result_bytes": 1 << 20,
    }
    sees = {"result": True, "error": True, "results": True, "calls": True}
    asked: dict[tuple[str, str], bytes] = {("result", "a"): document.encode()}
    try:
        return Evaluation(memory_mb=64).run(request | sees, lambda what, key: asked.get((what, key)))
    except Failure:
        return None


def by_path(expr: str, document: str) -> bytes | None:
    """The fast path's answer; raises NotPlain."""
    plain = paths.parse(expr)
    if plain is None or (plain.root and not CHOICE.sees(plain.root)):
        raise paths.NotPlain
    if plain.kind == "literal":
        return plain.key.encode()
    text = {"a": document, "nope": "null", "previous_result": document, "flow_input": "{}"}[plain.key]
    return paths.follow(plain, text.encode())


@settings(max_examples=500, deadline=None)
@given(ways, documents, st.booleans())
@example("error.x", "null", False)
@example("error?.x", "[]", False)
@example("results.a?.b.c.d", '{"b":null}', False)
@example("result?.a.b.c", "null", False)
@example("result.a", '{"a":1,"a":{"b":2}}', False)
@example("result[0]", '{"0":5}', False)
@example("result['0']", "[5]", False)
@example("result", "-0.0", True)
@example("result", "1e-400", True)
@example("result", "1e400", True)
@example("result.b", '{"a":' + "1" * 5000 + ',"b":2}', False)
@example("result.then", '{"then":1}', False)
def test_a_path_gives_what_the_engine_gives(expr: str, document: str, boolean: bool) -> None:
    """For any JSON and any path: as JavaScript reads the text that the fast path gives, or NotPlain."""
    engine = by_engine(expr, document, boolean)
    try:
        value = by_path(expr, document)
    except paths.NotPlain:
        event("left to the engine")
        return
    event("answered by path")
    if boolean:
        assert paths.encoded(value, True) == engine
    else:
        read = "null" if value is None else value.decode()
        assert by_engine("previous_result", read, False) == engine


@settings(max_examples=300, deadline=None)
@given(documents, st.lists(st.sampled_from(["a", "b", "k_1", "0", "1"]), max_size=3))
def test_own_members_are_answered_by_path(document: str, keys: list[str]) -> None:
    """Where Python too finds each key in an object, the fast path answers, and with the same value."""
    found: Any = json.loads(document, parse_int=float)
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return
        found = found[key]
    given = by_path("result" + "".join(f"['{key}']" for key in keys), document)
    assert given is not None
    assert json.loads(given, parse_int=float) == found


@pytest.mark.parametrize(
    "expr",
    [
        "results", "results.a.toString", "result .a", "result.a;", "result.a()", "result[a]", "result[00]",
        'result["\\x61"]', "result.a + 1", "result.a?.5:1", "(result)", "x" * 1000, "variable('a' + 'b')", "variable(x)", "-1", "1.5",
        "'text'", "result?.", "result.", "results[a]", "result.ä", "result[`a`]", "result//", "1e3", "00", "12345678901", "await result",
        "results.a.__proto__", "result.constructor", "result.length", "result.a.length.b", "result?.['valueOf']", "",
    ],
)  # fmt: skip
def test_not_plain(expr: str) -> None:
    """Whatever is more than a path is the engine's."""
    assert paths.parse(expr) is None


@pytest.mark.parametrize(("expr", "document"), [("result.a", '"text"'), ("result[0]", '"text"'), ("result.a", "5"), ("result.a", "null"), ("result.a.b", "{}"), ("result.a", "[" * 9000 + "]" * 9000), ("result.a", '{"a":[' + "[" * 9000 + "]" * 9000 + "]}"), ("result.a", '{"a":NaN}'), ("result.a", '{"a":'), ("result.a", "")])  # fmt: skip
def test_left_to_the_engine(expr: str, document: str) -> None:
    """Lengths, methods, errors, and what Python cannot read."""
    with pytest.raises(paths.NotPlain):
        by_path(expr, document)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("true", b"true"),
        (" null ", b"null"),
        ("42", b"42"),
        ("variable('p')", b"V"),
        ('resource("p")?.host', b'"h"'),
    ],
)
def test_literals_and_calls(expr: str, expected: bytes) -> None:
    """Literals are their own value; a call of one quoted path is one question."""
    plain = paths.parse(expr)
    assert plain is not None
    if plain.kind == "literal":
        assert plain.key.encode() == expected
    else:
        assert plain.key == "p"
        assert paths.follow(plain, b"V" if plain.kind == "variable" else b'{"host":"h"}') == expected
