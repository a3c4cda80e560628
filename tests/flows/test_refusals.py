"""What is wrong with a document is said once, with its place in the document's own names and a remedy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from executor.errors import BadInput
from executor.flows.document import FlowLimits, read_flow
from tests.flows.documents import IDENTITY, LANGUAGES, flow, forloop, module, rawscript, read, refused

M = "value.modules[0]"


def setting(**settings: Any) -> dict[str, Any]:
    return flow(module(IDENTITY, **settings))


def step(value: Any) -> dict[str, Any]:
    return flow(module(value))


def branchone(*branches: Any) -> dict[str, Any]:
    return step({"type": "branchone", "branches": list(branches)})


def args(**transforms: Any) -> dict[str, Any]:
    return step(rawscript(input_transforms=transforms))


WRONG: list[tuple[Any, str, str]] = [
    (None, "value", "an object belongs here, not null"),
    ([], "value", "an object belongs here, not an array"),
    ("x" * 1000, "value", f'not "{"x" * 60}…"'),
    ({}, "value.modules", "is missing"),
    ({"modules": None}, "value.modules", "is missing"),
    ({"modules": {}}, "value.modules", "an array belongs here, not an object"),
    (flow(5), M, "an object belongs here, not 5"),
    (flow({"id": "a"}), f"{M}.value", "is missing"),
    (flow({"id": 5, "value": IDENTITY}), f"{M}.id", "a text belongs here, not 5"),
    (flow({"id": "a\nb", "value": IDENTITY}), f"{M}.id", "an acceptable text"),
    (step([]), f"{M}.value", "an object with a type belongs here, not an array"),
    (step({}), f"{M}.value.type", "is missing"),
    (step({"type": 5}), f"{M}.value.type", "5 is not a module type"),
    (step({"type": "aiagent"}), f"{M}.value.type", '"aiagent" is not a module type'),
    (step({"type": "RawScript"}), f"{M}.value.type", '"RawScript" is not a module type'),
    (step({"type": "rawscript", "language": "bash"}), f"{M}.value.content", "is missing"),
    (step(rawscript(content=["x"])), f"{M}.value.content", "a text belongs here, not an array"),
    (step(rawscript(language="bun")), f"{M}.value.language", 'the language "bun" has no runtime here'),
    (step(rawscript(language=5)), f"{M}.value.language", "a text belongs here"),
    (step(rawscript(lock=True)), f"{M}.value.lock", "a text belongs here, not true"),
    (step(rawscript(concurrent_limit=-1)), f"{M}.value.concurrent_limit", "a number of at least 0"),
    (step({"type": "script"}), f"{M}.value.path", "is missing"),
    (step({"type": "script", "path": ""}), f"{M}.value.path", "an acceptable text"),
    (step({"type": "script", "path": "a", "hash": "xyz"}), f"{M}.value.hash", "an acceptable text"),
    (step({"type": "flow", "path": 1}), f"{M}.value.path", "a text belongs here"),
    (step({"type": "forloopflow", "modules": []}), f"{M}.value.iterator", "is missing"),
    (step(forloop(iterator=[1])), f"{M}.value.iterator", "an object with a type belongs here"),
    (step(forloop(parallelism=0)), f"{M}.value.parallelism", "a number above 0 belongs here, not 0"),
    (step(forloop(parallelism=True)), f"{M}.value.parallelism", "a number or an input transform"),
    (step(forloop(skip_failures="no")), f"{M}.value.skip_failures", "true or false belongs here"),
    (step(forloop({"value": 3})), f"{M}.value.modules[0].value", "an object with a type belongs here"),
    (step({"type": "whileloopflow"}), f"{M}.value.modules", "is missing"),
    (step({"type": "branchall", "branches": {}}), f"{M}.value.branches", "an array belongs here"),
    (step({"type": "branchall", "branches": [{}]}), f"{M}.value.branches[0].modules", "is missing"),
    (branchone({"modules": []}), f"{M}.value.branches[0].expr", "is missing"),
    (
        branchone({"expr": "1", "modules": []}, {"expr": 1, "modules": []}),
        f"{M}.value.branches[1].expr",
        "a text belongs here, not 1",
    ),
    (args(x={"type": "ai"}), f"{M}.value.input_transforms.x.type", '"ai" is not a transform type'),
    (args(x={"value": 1}), f"{M}.value.input_transforms.x.type", "is missing"),
    (args(value=5), f"{M}.value.input_transforms.value", "an object with a type belongs here, not 5"),
    (args(value={"type": "x"}), f"{M}.value.input_transforms.value.type", "is not a transform type"),
    (args(x={"type": "javascript", "expr": 1}), f"{M}.value.input_transforms.x.expr", "a text belongs here"),
    (
        args(**{'a "b"': {"type": "javascript", "expr": 1}}),
        f'{M}.value.input_transforms["a \\"b\\""].expr',
        "a text belongs here",
    ),
    (
        args(**{"<static>": {"type": "javascript", "expr": 1}}),
        f'{M}.value.input_transforms["<static>"].expr',
        "a text belongs here",
    ),
    (
        args(input_transforms={"type": "javascript", "expr": 1}),
        f"{M}.value.input_transforms.input_transforms.expr",
        "a text belongs here",
    ),
    (
        step({"type": "flow", "path": "a", "input_transform": {"x": 1}}),
        f"{M}.value.input_transform.x",
        "an object with a type belongs here",
    ),
    (setting(priority=101), f"{M}.priority", "a number of at most 100 belongs here, not 101"),
    (setting(priority=-1), f"{M}.priority", "a number of at least 0"),
    (setting(priority=1.5), f"{M}.priority", "a whole number belongs here, not 1.5"),
    (setting(priority=True), f"{M}.priority", "a whole number belongs here, not true"),
    (setting(timeout=-1), f"{M}.timeout", "a number above 0 belongs here, not -1"),
    (setting(timeout="1"), f"{M}.timeout", "a number or an input transform belongs here"),
    (setting(sleep=1), f"{M}.sleep", "an object with a type belongs here, not 1"),
    (setting(cache_ttl=-1), f"{M}.cache_ttl", "a number of at least 0"),
    (setting(cache_ttl=10**400), f"{M}.cache_ttl", "a number"),
    (setting(retry=[]), f"{M}.retry", "an object belongs here"),
    (setting(retry={"constant": {"attempts": -1}}), f"{M}.retry.constant.attempts", "a number of at least 0"),
    (setting(retry={"constant": {"attempts": 70000}}), f"{M}.retry.constant.attempts", "of at most 65535"),
    (
        setting(retry={"exponential": {"random_factor": 101}}),
        f"{M}.retry.exponential.random_factor",
        "of at most 100",
    ),
    (setting(retry={"retry_if": {}}), f"{M}.retry.retry_if.expr", "is missing"),
    (setting(stop_after_if={}), f"{M}.stop_after_if.expr", "is missing"),
    (
        setting(stop_after_all_iters_if={"expr": "1", "error_message": 1}),
        f"{M}.stop_after_all_iters_if.error_message",
        "a text belongs here",
    ),
    (setting(skip_if="x"), f"{M}.skip_if", "an object belongs here"),
    (setting(mock={"enabled": 1}), f"{M}.mock.enabled", "true or false belongs here, not 1"),
    (setting(suspend={"required_events": 0.5}), f"{M}.suspend.required_events", "a whole number"),
    (setting(suspend={"timeout": -1}), f"{M}.suspend.timeout", "a number of at least 0"),
    (
        setting(suspend={"user_groups_required": {"type": "static", "value": []}}),
        f"{M}.suspend.user_groups_required",
        "would widen who may approve",
    ),
    (
        setting(suspend={"self_approval_disabled": True}),
        f"{M}.suspend.self_approval_disabled",
        "would widen who may approve",
    ),
    (flow(failure_module={"value": IDENTITY}), "value.failure_module.value.type", 'cannot be "identity"'),
    (flow(preprocessor_module={"value": forloop()}), "value.preprocessor_module.value.type", "cannot be"),
    (flow(failure_module=3), "value.failure_module", "an object belongs here"),
    (flow(flow_env={"A": 1}), "value.flow_env.A", "a text belongs here, not 1"),
    (flow(same_worker="yes"), "value.same_worker", "true or false belongs here"),
    (flow(priority="high"), "value.priority", "a whole number belongs here"),
]


@pytest.mark.parametrize(
    ("document", "field", "said"), WRONG, ids=[f"{n}-{field[:60]}" for n, (_, field, _) in enumerate(WRONG)]
)
def test_a_mistake_is_named_by_its_place(document: Any, field: str, said: str) -> None:
    """Never by the tags that tell pydantic's unions apart."""
    error = refused(document)
    assert error.field == field
    assert said in error.detail
    assert len(error.detail) < 600


def test_the_remedy_lists_what_there_is() -> None:
    """Step types, transform types, languages."""
    assert "forloopflow, whileloopflow" in str(refused(step({"type": "aiagent"})).remedy)
    assert refused(args(x={"type": "ai"})).remedy == "use one of static, javascript"
    assert "python3, bash, deno" in str(refused(step(rawscript(language="bun"))).remedy)


def test_only_the_first_of_many_mistakes_is_told() -> None:
    """And how many more there are."""
    error = refused(step({"type": "rawscript", "language": 5, "content": 6, "lock": 7}))
    assert error.field == f"{M}.value.language"
    assert error.detail.endswith("(and 2 more)")


def test_whole_numbers_may_be_written_with_a_point() -> None:
    """JSON has one kind of number."""
    assert read(setting(priority=2.0, retry={"constant": {"attempts": 3.0}})).modules[0].priority == 2


def test_a_module_without_id_is_refused_when_read() -> None:
    """Ids are given before, once; were they given here, each reading would find others."""
    with pytest.raises(BadInput) as caught:
        read_flow({"modules": [{"value": IDENTITY}]}, languages=LANGUAGES.get, limits=FlowLimits(1, 1, 1))
    assert caught.value.field == f"{M}.id"


def test_depth_is_limited() -> None:
    """In levels of modules; the complaint names the module that is one too deep."""
    limits = FlowLimits(depth=3, modules=100, iterations=1)
    deepest = flow(module(forloop(module(forloop(module(IDENTITY))))))
    assert read(deepest, limits)
    error = refused(flow(module(forloop(*deepest["modules"]))), limits)
    assert error.field == f"{M}.value.modules[0].value.modules[0].value.modules[0]"
    assert "over 3 levels" in error.detail
    assert "EXECUTOR_FLOW_DEPTH_MAX" in str(error.remedy)


def test_the_number_of_modules_is_limited() -> None:
    """Handlers and modules inside others count."""
    limits = FlowLimits(depth=3, modules=3, iterations=1)
    most = flow(module(forloop(module(IDENTITY))), failure_module={"value": rawscript()})
    assert read(most, limits)
    error = refused({**most, "modules": [*most["modules"], module(IDENTITY)]}, limits)
    assert error.field == "value"
    assert "over 3 modules" in error.detail
    assert "EXECUTOR_FLOW_MODULES_MAX" in str(error.remedy)


def test_as_many_and_as_deep_as_the_instance_allows() -> None:
    """5,000 modules, and 50 levels of loops."""
    assert len(read(flow(*[module(IDENTITY)] * 5000)).modules) == 5000
    assert refused(flow(*[module(IDENTITY)] * 5001)).field == "value"
    document = flow(module(IDENTITY))
    for _ in range(49):
        document = flow(module(forloop(*document["modules"])))
    assert read(document)
    assert "over 50 levels" in refused(flow(module(forloop(*document["modules"])))).detail


def deep() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def itself() -> Any:
    value: dict[str, Any] = {}
    value["x"] = [value, value]
    return value


def bomb() -> Any:
    value: list[Any] = [1]
    for _ in range(50):
        value = [value] * 10
    return value


NO_JSON: dict[str, tuple[Callable[[], Any], str]] = {
    "deep": (deep, "over 190 levels deep"),
    "itself": (itself, "over 190 levels deep"),
    "bomb": (bomb, "over 1000000 values"),
    "long": (lambda: [0] * 1_000_001, "over 1000000 values"),
    "nan": (lambda: float("nan"), "nan is not a number that JSON has"),
    "inf": (lambda: float("inf"), "inf is not a number that JSON has"),
    "key": (lambda: {5: 1}, "the key 5 is not a text"),
    "null key": (lambda: {None: 1}, "the key null is not a text"),
    "surrogate key": (lambda: {"\ud800": 1}, "is not Unicode text"),
    "surrogate": (lambda: "\udfff", "is not Unicode text"),
    "bytes": (lambda: b"x", "a Python bytes is not a JSON value"),
    "set": (lambda: {"x": {1, 2}}, "a Python set is not a JSON value"),
    "digits": (lambda: 10**5000, "the number has too many digits"),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_json_cannot_say_is_refused_fast(name: str) -> None:
    """In known and in unknown fields alike: the document is stored as it came."""
    make, said = NO_JSON[name]
    for document in (make(), flow(x=make()), args(x={"type": "static", "value": make()})):
        begin = time.thread_time()
        error = refused(document)
        assert said in error.detail
        assert len(error.detail) < 600
        assert time.thread_time() - begin < 2


def test_a_megabyte_is_read_in_well_under_a_second() -> None:
    """4,500 modules with arguments of both kinds (measured: about 0.1 s)."""
    transforms = {
        "x": {"type": "javascript", "expr": "flow_input.x"},
        "y": {"type": "static", "value": [1, {}]},
    }
    document = flow(*[module(rawscript(content="x" * 60, input_transforms=transforms)) for _ in range(4500)])
    begin = time.thread_time()
    read(document)
    assert time.thread_time() - begin < 1


MANY: dict[str, Callable[[], Any]] = {
    "modules": lambda: flow(*[3] * 400_000),
    "mistakes": lambda: flow(*[module(rawscript(language=3, content=4, lock=5), retry=5, sleep=4)] * 5000),
    "transforms": lambda: args(**{f"x{n}": 3 for n in range(200_000)}),
    "env": lambda: flow(flow_env={f"x{n}": 3 for n in range(200_000)}),
}


@pytest.mark.parametrize("name", MANY)
def test_a_hundred_thousand_mistakes_are_refused_fast(name: str) -> None:
    """Nobody collects them all."""
    document = MANY[name]()
    begin = time.thread_time()
    refused(document)
    assert time.thread_time() - begin < 2
