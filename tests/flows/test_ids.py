"""Ids are given once, at submission, to the raw document."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from executor.errors import BadInput
from executor.flows.document import every_module, with_ids
from tests.flows.documents import IDENTITY, flow, forloop, module, rawscript, read

BARE: dict[str, Any] = {"value": IDENTITY}


def nested(bare: Any) -> dict[str, Any]:
    return flow(
        bare,
        module(forloop(bare, module({"type": "whileloopflow", "modules": [bare]}))),
        module({"type": "branchone", "branches": [{"expr": "1", "modules": [bare]}], "default": [bare]}),
        module({"type": "branchall", "branches": [{"modules": [bare]}, {"modules": [bare]}]}),
    )


@pytest.mark.parametrize("bare", [BARE, {**BARE, "id": None}, {**BARE, "id": ""}])
def test_a_module_without_id_gets_six_characters_of_its_own(bare: dict[str, Any]) -> None:
    """Wherever it is; a name that JavaScript takes after a dot, and no two the same."""
    document = nested(bare)
    before = copy.deepcopy(document)
    ids = [m.id for _, m in every_module(read(document))]
    given = [i for i in ids if i != "a"]
    assert len(given) == 7
    assert len(set(given)) == 7
    assert all(re.fullmatch("[a-z][a-z0-9]{5}", i) for i in given)
    assert document == before, "the document that was sent is not changed"


def test_a_second_time_changes_nothing() -> None:
    """The stored document has its ids for good, so that a replay finds the same."""
    once = with_ids(nested(BARE))
    assert with_ids(once) == once


def test_ids_that_are_there_are_kept() -> None:
    """Twice the same too: the later one's result is seen by that name."""
    assert [m.id for m in read(flow(module(IDENTITY), module(IDENTITY))).modules] == ["a", "a"]


def test_handlers_get_the_ids_that_they_should_have() -> None:
    """Unless they have one."""
    found = read(flow(failure_module={"value": rawscript()}, preprocessor_module=module(rawscript())))
    assert found.failure_module
    assert found.preprocessor_module
    assert (found.failure_module.id, found.preprocessor_module.id) == ("failure", "a")


@pytest.mark.parametrize(
    "document",
    [
        None,
        3,
        [],
        {},
        {"modules": {}},
        {"modules": [3, None, []], "failure_module": 5},
        {"modules": [{"id": "a", "value": 3}, {"id": "b", "value": {"type": {}, "modules": [BARE]}}]},
        {"modules": [{"id": "a", "value": {"type": "branchall", "branches": [3, {"modules": 4}, {}]}}]},
        {"modules": [{"id": "a", "value": {"type": "forloopflow", "modules": {"value": {}}}}]},
    ],
)
def test_what_is_not_shaped_like_a_module_is_left_alone(document: Any) -> None:
    """What is wrong with it, reading says."""
    assert with_ids(document) == document


def test_what_contains_itself_is_refused() -> None:
    """Before it is copied."""
    modules: list[Any] = []
    modules.append({"id": "a", "value": {"type": "forloopflow", "modules": modules}})
    with pytest.raises(BadInput, match="levels deep"):
        with_ids({"modules": modules})
