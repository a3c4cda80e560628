"""Whatever is sent, reading it gives a flow or one complaint."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from executor.errors import BadInput
from executor.flows.document import Flow, FlowLimits, every_module, read_flow, with_ids
from executor.flows.document.model import STEP_TYPES
from executor.script import compact_json
from tests.flows.documents import LANGUAGES

LIMITS = FlowLimits(depth=8, modules=100, iterations=1)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)  # with lone surrogates
    | st.sampled_from(["python3", "static", "javascript", "x", -1, 0, 1, 2.0, 10**400, b"x", "<static>"])
)
keys = st.sampled_from(["type", "value", "modules", "x"]) | st.text(max_size=3)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.integers(), inner, max_size=4),
    max_leaves=15,
)


def record(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=optional)


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4)
count = st.integers(0, 99)
seconds = st.integers(0, 99) | st.floats(0, 99)
flag = st.booleans()
transform = st.fixed_dictionaries({"type": st.just("static")}, optional={"value": st.integers() | text}) | (
    st.fixed_dictionaries({"type": st.just("javascript")}, optional={"expr": text})
)
positive = transform | st.integers(1, 9)
condition = record({"expr": text}, skip_if_stopped=flag, error_message=text | st.none())
retry = record(
    {},
    constant=record({}, attempts=count, seconds=seconds),
    exponential=record({}, attempts=count, multiplier=seconds, seconds=seconds, random_factor=count),
    retry_if=condition,
)
suspend = record(
    {}, required_events=count, timeout=seconds, resume_form=record({}, schema=st.just({})), hide_cancel=flag
)
mock = record({}, enabled=flag, return_value=text)
transforms = st.dictionaries(text, transform, max_size=3)
of_script = {"input_transforms": transforms, "is_trigger": flag, "tag": text}
rawscript = record(
    {"type": st.just("rawscript"), "language": st.sampled_from(list(LANGUAGES)), "content": text}, **of_script
)
script = record({"type": st.just("script"), "path": text}, hash=st.just("0a1b"), **of_script)
leaf = rawscript | script | record({"type": st.just("flow"), "path": text}) | st.just({"type": "identity"})


def module(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return record(
        {"value": value},
        id=text,
        summary=text,
        stop_after_if=condition,
        stop_after_all_iters_if=condition,
        skip_if=condition,
        sleep=transform,
        retry=retry,
        timeout=positive,
        mock=mock,
        suspend=suspend,
        priority=count,
        cache_ttl=seconds,
        continue_on_error=flag,
    )


def step(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    body = st.lists(module(inner), max_size=2)
    for_loop = {"type": st.just("forloopflow"), "iterator": transform, "modules": body}
    one = {
        "type": st.just("branchone"),
        "branches": st.lists(record({"expr": text, "modules": body}), max_size=2),
    }
    every = {"type": st.just("branchall"), "branches": st.lists(record({"modules": body}), max_size=2)}
    return (
        record(for_loop, parallel=flag, parallelism=positive, skip_failures=flag)
        | record({"type": st.just("whileloopflow"), "modules": body}, skip_failures=flag)
        | record(one, default=body)
        | record(every, parallel=flag)
    )


flows = record(
    {"modules": st.lists(module(st.recursive(leaf, step, max_leaves=4)), max_size=3)},
    failure_module=module(rawscript | script),
    preprocessor_module=module(rawscript | script),
    flow_env=st.dictionaries(text, text, max_size=2),
    same_worker=flag,
    skip_expr=text,
    priority=count,
    concurrent_limit=count,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Everything in a document: what holds it, and under which key."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        holder = stack.pop()
        members = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, inner in members:
            found.append((holder, key))
            if isinstance(inner, dict | list):
                stack.append(inner)
    return found


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A sound flow in which something was left out or replaced."""
    document = copy.deepcopy(draw(flows))
    for _ in range(draw(st.integers(1, 2))):
        holder, key = draw(st.sampled_from(places(document) or [({"x": 1}, "x")]))
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(anything)
    return document


@settings(max_examples=150, deadline=None)
@given(flows)
def test_a_sound_flow_is_read_and_read_again_the_same(document: Any) -> None:
    """Every module is there and has an id; the stored document is strict JSON, and all that a flow is."""
    stored = with_ids(document)
    compact_json(stored)
    flow = read_flow(stored, languages=LANGUAGES.get, limits=LIMITS)
    assert all(module.id for _, module in every_module(flow))
    steps = sum(repr(document).count(f"'type': '{name}'") for name in STEP_TYPES)
    assert len(list(every_module(flow))) == steps
    assert read_flow(with_ids(stored), languages=LANGUAGES.get, limits=LIMITS) == flow


@settings(max_examples=300, deadline=None)
@given(spoilt() | anything)
def test_anything_is_a_flow_or_one_complaint(document: Any) -> None:
    """Nothing else ever comes out, and what was sent is not changed."""
    before = repr(document)
    flow, complaint = None, None
    try:
        flow = read_flow(with_ids(document), languages=LANGUAGES.get, limits=LIMITS)
    except BadInput as error:
        complaint = error
    assert repr(document) == before
    if complaint is None:
        assert isinstance(flow, Flow)
        return
    assert complaint.field
    assert complaint.field.startswith("value")
    assert complaint.detail.startswith(f"{complaint.field}: ")
    assert complaint.detail.isprintable()
    assert complaint.remedy
