"""Which names an expression sees (docs/openflow.md section 2.3), and what `results` is (2.2, 2.4)."""

from __future__ import annotations

from typing import Any

import pytest

from executor.flows.expressions import places
from executor.flows.expressions.places import Place
from executor.flows.expressions.pool import Expressions
from tests.unit.expressions.values import PREVIOUS, Values, detail, value

pytestmark = pytest.mark.anyio

STEP = "flow_input results previous_result error resume resumes approvers variable resource flow_env"
SEEN: list[tuple[Place, str]] = [
    (places.INPUT, f"{STEP} params"),
    (places.FAILURE_INPUT, f"{STEP} params started_at flow_job_id"),
    (places.CHOICE, f"{STEP} result"),
    (places.STOP, "result previous_result results flow_input all_iters variable resource flow_env"),
    (places.RETRY, "result previous_result error flow_input"),
    (places.SLEEP, "result previous_result flow_input"),
    (places.SKIP_FLOW, "flow_input WM_SCHEDULED_FOR"),
]
ALL = sorted({name for _, names in SEEN for name in names.split()})


@pytest.mark.parametrize(("place", "names"), SEEN)
async def test_names_of_a_place(place: Place, names: str, expressions: Expressions) -> None:
    """The names of the table are there, and no other: those are ReferenceErrors."""
    seen = (
        "["
        + ",".join(
            f"(() => {{ try {{ {name}; return '{name}' }} catch (e) {{ return e.name }} }})()" for name in ALL
        )
        + "]"
    )
    expected = [name if name in names.split() else "ReferenceError" for name in ALL]
    assert await value(expressions, seen, place=place) == expected
    for name in set(ALL) - set(names.split()):
        assert (
            await detail(expressions, f"{name}.x", place=place)
            == f"ReferenceError: {name} is not defined at 1:1"
        )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("params", {}),
        ("resume", None),
        ("resumes", []),
        ("approvers", []),
        ("flow_env", {}),
        ("started_at", None),
        ("error", PREVIOUS["error"]),
    ],
)
@pytest.mark.parametrize("form", ["{}", "({})"])
async def test_values_that_nobody_gave(name: str, expected: Any, form: str, expressions: Expressions) -> None:
    """A name that the scope has no value for is empty, by path and by engine."""
    assert await value(expressions, form.format(name), place=places.FAILURE_INPUT) == expected


@pytest.mark.parametrize("previous", [None, 5, "text", [1], {}, {"error": {"name": "X"}}, {"error": None}])
async def test_error_is_the_previous_results(previous: Any, expressions: Expressions) -> None:
    """`error` is the property of that name, and undefined if there is none."""
    scope = Values({"flow_input": {}, "previous_result": previous})
    expected = previous.get("error") if isinstance(previous, dict) else None
    assert await value(expressions, "error", scope) == expected
    assert await value(expressions, "[error]", scope) == [expected]
    has = isinstance(previous, dict) and "error" in previous
    assert await value(expressions, "typeof error", scope) == ("object" if has else "undefined")


UNKNOWN = {
    "results.nope": None,
    "results?.nope": None,
    "results['nope']": None,
    'results?.["nope"]': None,
    "results.nope ?? 'f'": "f",
    "results.nope === null": True,
    "results['no' + 'pe']": None,
    "const {a, nope} = results; return [a.o.p, nope]": ["q", None],
    "const {nope = 1, ...rest} = results; return [nope, Object.keys(rest)]": [None, ["a", "b-c", "zero"]],
    "'nope' in results": False,
    "'a' in results": True,
    "Object.keys(results)": ["a", "b-c", "zero"],
    "Object.entries(results).length": 3,
    "Object.hasOwn(results, 'a')": True,
    "results.hasOwnProperty('nope')": False,
    "const seen = []; for (const id in results) seen.push(id); return seen": ["a", "b-c", "zero"],
    "JSON.parse(JSON.stringify(results))['b-c']": "dash",
    "({...results}).zero": 0,
    "results": {"a": {"l": [10, 20], "o": {"p": "q"}}, "b-c": "dash", "zero": 0},
    "results.nope?.deep.er": None,
    "results['a\\u0000']": None,
    "results['\\ud800']": None,
    "results.a = 5; return results.a": 5,
    "results.fresh = 1; return [results.fresh, Object.keys(results).includes('fresh')]": [1, True],
    "delete results.a; return 'gone'": "gone",
}


@pytest.mark.parametrize("expr", UNKNOWN)
async def test_results_by_id(expr: str, expressions: Expressions) -> None:
    """An unknown id is null in every form; known ones can be listed."""
    assert await value(expressions, expr) == UNKNOWN[expr]


async def test_only_what_is_touched_is_asked_for(expressions: Expressions) -> None:
    """Listing ids fetches no result, and a result is fetched once."""
    scope = Values()
    await value(expressions, "[Object.keys(results), 'a' in results]", scope)
    assert scope.asked == []
    await value(expressions, "[results.a, results.a.l, result.l]", scope)
    assert scope.asked == ["a"]


async def test_names_can_be_shadowed_and_changed(expressions: Expressions) -> None:
    """They are ordinary variables of an outer scope."""
    assert await value(expressions, "const result = 1, results = 2; return [result, results]") == [1, 2]
    assert await value(
        expressions, "flow_input.n = 9; flow_input.more = 1; return [flow_input.n, flow_input.more]"
    ) == [9, 1]
    assert await value(expressions, "flow_input = 3; return flow_input") == 3
    assert await value(expressions, "result === previous_result") is True


@pytest.mark.parametrize("size", [10, 5_000, 100_000, 1_000_000])
async def test_values_of_every_size(size: int, expressions: Expressions) -> None:
    """Small values go along, bigger ones on demand, into big ones a child looks: the answer is the same."""
    scope = Values(
        {"flow_input": {"text": "x" * size, "after": [1]}, "previous_result": None},
        {"big": {"t": "y" * size, "k": 1}},
    )
    assert await value(expressions, "flow_input.after[0]", scope) == 1
    assert await value(expressions, "(flow_input).text.length", scope) == size
    assert await value(expressions, "results.big.k", scope) == 1
    assert len(await value(expressions, "results.big.t", scope)) == size
    assert await value(expressions, "results.big.t.length", scope) == size
    assert await value(expressions, "results.big?.nope", scope) is None
