"""The OpenFlow document as types: every field, its default, and what unknown ones do."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from executor.flows.document import (
    BranchAll,
    BranchOne,
    ForLoop,
    Identity,
    InnerFlow,
    Javascript,
    Module,
    PathScript,
    RawScript,
    Static,
    WhileLoop,
    every_module,
    read_flow,
    with_ids,
)
from executor.script import compact_json
from tests.flows.documents import IDENTITY, LANGUAGES, LIMITS, flow, forloop, module, rawscript, read

CASES = Path(__file__).parent.parent / "conformance" / "openflow.json"


def conformance_flows() -> list[tuple[str, Any]]:
    found = []
    for case in json.loads(CASES.read_text("utf-8")):
        found.append((case["id"], case["flow"]))
        for path, fixture in case.get("fixtures", {}).get("flows", {}).items():
            found.append((f"{case['id']}-{path}", fixture.get("value", fixture)))
    return found


def only(document: Any) -> Module:
    return read(document).modules[0]


@pytest.mark.parametrize(
    ("name", "document"), conformance_flows(), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_conformance_flow_reads_and_is_kept_as_it_is(name: str, document: Any) -> None:
    """All their modules have ids, so giving ids changes nothing."""
    assert with_ids(document) == document
    parsed = read(document)
    assert [m.id for m in parsed.modules] == [m["id"] for m in document["modules"]]


def test_a_module_s_settings_have_the_documented_defaults() -> None:
    """Section 1.9 and 1.10: nothing is on unless it is said."""
    found = only(flow(module(IDENTITY)))
    assert isinstance(found.value, Identity)
    assert (found.stop_after_if, found.stop_after_all_iters_if, found.skip_if) == (None, None, None)
    assert (found.sleep, found.timeout, found.priority, found.summary) == (None, None, None, None)
    assert (found.retry.constant.attempts, found.retry.exponential.attempts) == (0, 0)
    assert (found.retry.exponential.multiplier, found.retry.exponential.random_factor) == (1, 0)
    assert (found.continue_on_error, found.delete_after_use, found.mock.enabled) == (False, False, False)
    assert (found.cache_ttl, found.suspend.required_events, found.suspend.timeout) == (0, 0, 1800)
    assert dict(found.transforms) == {}


def test_every_setting_of_a_module_is_read() -> None:
    """Each under its own name, with its own type."""
    found = only(
        flow(
            module(
                IDENTITY,
                summary="s",
                stop_after_if={"expr": "1", "skip_if_stopped": True, "error_message": ""},
                stop_after_all_iters_if={"expr": "2"},
                skip_if={"expr": "3"},
                sleep={"type": "javascript", "expr": "4"},
                retry={
                    "constant": {"attempts": 1, "seconds": 2},
                    "exponential": {"attempts": 3, "multiplier": 4, "seconds": 5.5, "random_factor": 100},
                    "retry_if": {"expr": "5"},
                },
                timeout=6,
                continue_on_error=True,
                cache_ttl=7,
                mock={"enabled": True, "return_value": [None]},
                suspend={
                    "required_events": 8,
                    "timeout": 9,
                    "resume_form": {"schema": {"x": 1}},
                    "user_auth_required": True,
                    "self_approval_disabled": False,
                    "hide_cancel": True,
                    "continue_on_disapprove_timeout": True,
                },
                delete_after_use=True,
                priority=100,
            )
        )
    )
    stop, every = found.stop_after_if, found.stop_after_all_iters_if
    assert stop
    assert every
    assert (stop.expr, stop.skip_if_stopped, stop.error_message) == ("1", True, "")
    assert (every.expr, every.skip_if_stopped, every.error_message) == ("2", False, None)
    assert found.skip_if
    assert found.skip_if.expr == "3"
    assert found.sleep == Javascript(type="javascript", expr="4")
    assert (found.retry.constant.attempts, found.retry.constant.seconds) == (1, 2)
    exponential = found.retry.exponential
    assert (exponential.attempts, exponential.multiplier, exponential.seconds) == (3, 4, 5.5)
    assert exponential.random_factor == 100
    assert found.retry.retry_if
    assert found.retry.retry_if.expr == "5"
    assert found.timeout == Static(type="static", value=6)
    assert (found.continue_on_error, found.cache_ttl, found.mock.return_value) == (True, 7, [None])
    gate = found.suspend
    assert (gate.required_events, gate.timeout, gate.user_auth_required) == (8, 9, True)
    assert (gate.hide_cancel, gate.continue_on_disapprove_timeout) == (True, True)
    assert gate.resume_form
    assert gate.resume_form.form_schema == {"x": 1}
    assert (found.delete_after_use, found.priority) == (True, 100)


def test_every_setting_of_a_flow_is_read() -> None:
    """And has its default when it is not there."""
    found = read(
        flow(
            failure_module={"value": rawscript()},
            preprocessor_module={"value": {"type": "script", "path": "f/a/b"}},
            same_worker=True,
            skip_expr="1",
            early_return="b",
            flow_env={"A B": "x"},
            cache_ttl=2,
            priority=3,
            tag="t",
            concurrent_limit=4,
            concurrency_time_window_s=5,
            concurrency_key="k",
            debounce_delay_s=6,
            debounce_key="d",
        )
    )
    assert found.failure_module
    assert found.preprocessor_module
    assert (found.failure_module.id, found.preprocessor_module.id) == ("failure", "preprocessor")
    assert (found.same_worker, found.skip_expr, found.early_return) == (True, "1", "b")
    assert (found.flow_env, found.cache_ttl, found.priority, found.tag) == ({"A B": "x"}, 2, 3, "t")
    assert (found.concurrent_limit, found.concurrency_time_window_s, found.concurrency_key) == (4, 5, "k")
    assert (found.debounce_delay_s, found.debounce_key) == (6, "d")
    bare = read(flow())
    assert (bare.modules, bare.failure_module, bare.preprocessor_module) == ((), None, None)
    assert (bare.same_worker, bare.skip_expr, bare.early_return, bare.flow_env) == (False, None, None, {})
    assert (bare.cache_ttl, bare.priority, bare.tag, bare.concurrent_limit) == (0, None, None, None)


def test_a_rawscript() -> None:
    """Its language is the runtime's own name, whatever alias was written; a blank tag is none."""
    value = only(
        flow(
            module(
                rawscript(language="python", content="x", lock="", path="f/a/b", tag=" ", concurrent_limit=0)
            )
        )
    ).value
    assert isinstance(value, RawScript)
    assert (value.language, value.content, value.lock, value.path) == ("python3", "x", "", "f/a/b")
    assert (value.tag, value.concurrent_limit, value.is_trigger) == (None, None, False)


def test_script_and_flow_steps() -> None:
    """By path; a script also by hash."""
    steps = read(
        flow(
            module({"type": "script", "path": "hub/1/x", "hash": "0aF", "tag_override": ""}),
            module({"type": "script", "path": "f/a/b"}),
            module({"type": "flow", "path": "f/a/c", "input_transforms": {"x": {"type": "static"}}}),
        )
    ).modules
    first, second, third = (step.value for step in steps)
    assert isinstance(first, PathScript)
    assert isinstance(second, PathScript)
    assert isinstance(third, InnerFlow)
    assert (first.path, first.hash, first.tag_override, second.hash) == ("hub/1/x", "0aF", None, None)
    assert third.path == "f/a/c"
    assert dict(steps[2].transforms) == {"x": Static(type="static", value=None)}


def test_loops() -> None:
    """Absent flags are false; a bare parallelism stands for a static one; a while-loop has none."""
    bare = only(flow(module(forloop()))).value
    full = only(flow(module(forloop(parallel=True, skip_failures=True, parallelism=2)))).value
    while_loop = only(flow(module({"type": "whileloopflow", "modules": [], "parallelism": "ignored"}))).value
    assert isinstance(bare, ForLoop)
    assert isinstance(full, ForLoop)
    assert isinstance(while_loop, WhileLoop)
    assert (bare.parallel, bare.skip_failures, bare.parallelism) == (False, False, None)
    assert (full.parallel, full.skip_failures) == (True, True)
    assert full.parallelism == Static(type="static", value=2)
    assert while_loop.skip_failures is False


def test_branches() -> None:
    """A branchall is parallel unless it says no; a branchone's default may be absent."""
    one = only(flow(module({"type": "branchone", "branches": [{"expr": "e", "modules": []}]}))).value
    every = only(flow(module({"type": "branchall", "branches": [{"modules": []}]}))).value
    turns = only(
        flow(
            module(
                {"type": "branchall", "parallel": False, "branches": [{"modules": [], "skip_failure": True}]}
            )
        )
    ).value
    assert isinstance(one, BranchOne)
    assert isinstance(every, BranchAll)
    assert isinstance(turns, BranchAll)
    assert (one.branches[0].expr, one.default) == ("e", ())
    assert (every.parallel, every.branches[0].skip_failure) == (True, False)
    assert (turns.parallel, turns.branches[0].skip_failure) == (False, True)


@pytest.mark.parametrize("name", ["input_transforms", "input_transform"])
def test_transforms(name: str) -> None:
    """Static or javascript, under either name; an absent value is null, an absent expr empty."""
    value = rawscript()
    del value["input_transforms"]
    value[name] = {
        "a": {"type": "static", "value": {"z": 1.0, "a": 12345678901234567890, "é": None}},
        "b": {"type": "static"},
        "c": {"type": "javascript", "expr": " x "},
        "d": {"type": "javascript"},
    }
    found = only(flow(module(value))).transforms
    static = found["a"]
    assert isinstance(static, Static)
    assert static.as_json.decode() == '{"z":1.0,"a":12345678901234567890,"é":null}'
    assert found["b"] == Static(type="static", value=None)
    assert [found[key] for key in "cd"] == [
        Javascript(type="javascript", expr=" x "),
        Javascript(type="javascript", expr=""),
    ]


def test_null_is_absent_wherever_a_field_is_optional() -> None:
    """Editors write nulls for what is switched off."""
    settings = dict.fromkeys(Module.model_fields.keys() - {"id", "value"})
    fields = dict.fromkeys(RawScript.model_fields.keys() - {"type", "language", "content"})
    nulls = only(flow(module(rawscript(**fields), **settings)))
    assert nulls == only(flow(module(rawscript())))


def test_unknown_fields_are_ignored_and_kept() -> None:
    """At every level; the raw document is not changed by reading it."""
    document = flow(
        module({**rawscript(), "x": 1}, x={"y": [1]}, retry={"x": 1}, assets=[1], apply_preprocessor=True),
        module({**IDENTITY, "flow": "?", "modules": [{"value": 3}], "input_transforms": 4}),
        x=None,
        notes=[{}],
    )
    before = copy.deepcopy(document)
    kept = with_ids(document)
    parsed = read(document)
    assert document == before
    assert compact_json(kept) == compact_json(before)
    assert len(parsed.modules) == 2


def test_every_module_is_listed_with_its_place() -> None:
    """Outer ones before inner ones, the handlers last."""
    inner = module({"type": "branchall", "branches": [{"modules": []}, {"modules": [module(IDENTITY)]}]})
    document = flow(
        module(forloop(inner)),
        module(
            {
                "type": "branchone",
                "branches": [{"expr": "", "modules": [module(IDENTITY)]}],
                "default": [module({"type": "whileloopflow", "modules": [module(IDENTITY)]})],
            }
        ),
        failure_module={"value": rawscript()},
    )
    assert [place for place, _ in every_module(read(document))] == [
        "value.modules[0]",
        "value.modules[0].value.modules[0]",
        "value.modules[0].value.modules[0].value.branches[1].modules[0]",
        "value.modules[1]",
        "value.modules[1].value.branches[0].modules[0]",
        "value.modules[1].value.default[0]",
        "value.modules[1].value.default[0].value.modules[0]",
        "value.failure_module",
    ]


def test_a_flow_cannot_be_changed() -> None:
    """Several walks may share it."""
    parsed = read(flow(module(IDENTITY)))
    with pytest.raises(ValidationError, match="frozen"):
        parsed.same_worker = True  # type: ignore[misc]
    assert isinstance(parsed.modules, tuple)


def test_a_document_may_be_called_otherwise() -> None:
    """Places begin with what the caller calls it."""
    parsed = read_flow(flow(module(IDENTITY)), languages=LANGUAGES.get, limits=LIMITS, where="x")
    assert [place for place, _ in every_module(parsed, "x")] == ["x.modules[0]"]
