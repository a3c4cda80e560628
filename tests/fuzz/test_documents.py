"""OpenFlow documents: those of the conformance suite, changed; a flow or a complaint with its place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from executor.errors import BadInput
from executor.flows.document import Flow, FlowLimits, every_module, read_flow, with_ids
from executor.flows.expressions.paths import parse
from executor.flows.gated import gated_at
from tests.fuzz.mutation import mutated, random, seeded
from tests.service import LocalService, local_service

SUITE = Path(__file__).parents[1] / "conformance" / "openflow.json"
DOCUMENTS = [case["flow"] for case in json.loads(SUITE.read_text("utf-8"))]
LIMITS = FlowLimits(depth=50, modules=5000, iterations=1000)


def check(document: Any) -> None:
    """It is read, and read again the same, or one complaint names the place."""
    try:
        whole = with_ids(document)
        flow = read_flow(whole, languages=lambda name: name, limits=LIMITS)
    except BadInput as error:
        assert error.field is not None
        assert error.field.startswith("value")
        assert 0 < len(error.detail) < 3000
        return
    assert isinstance(flow, Flow)
    again = read_flow(json.loads(json.dumps(whole)), languages=lambda name: name, limits=LIMITS)
    assert again == flow
    modules = list(every_module(flow))
    assert len({module.id for _, module in modules}) <= len(modules)
    for place, _ in modules:
        gated_at(flow.modules, place, "")


def test_the_documents_are_valid_to_begin_with() -> None:
    """Else their mutations would be mutations of nothing."""
    assert len(DOCUMENTS) > 100
    accepted = 0
    for document in DOCUMENTS:
        read_flow(with_ids(document), languages=lambda name: name, limits=LIMITS)
        accepted += 1
    assert accepted == len(DOCUMENTS)


@seeded(500)
@given(mutated(DOCUMENTS))
def test_a_changed_document_is_a_flow_or_one_complaint(document: Any) -> None:
    """With its place in the document."""
    check(document)


@pytest.mark.long
@random(20_000)
@given(mutated(DOCUMENTS))
def test_a_randomly_changed_document_is_a_flow_or_one_complaint(document: Any) -> None:
    """The same, with other changes each time."""
    check(document)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path, queue_max=100_000) as running:
        yield running


@pytest.mark.anyio
async def test_the_service_takes_a_changed_document_or_says_what_is_wrong(service: LocalService) -> None:
    """201, or 400 with the field; what it took, it also shows and ends."""
    changed: list[Any] = []

    @seeded(150)
    @given(mutated(DOCUMENTS))
    def collect(document: Any) -> None:
        changed.append(document)

    collect()
    statuses = []
    for document in changed:
        try:
            body = json.dumps({"value": document}, allow_nan=False)
        except ValueError:
            continue
        path = "/api/w/main/jobs/run/preview_flow?scheduled_in_secs=9999"
        response = await service.http.post(path, content=body, timeout=10)
        statuses.append(response.status_code)
        if response.status_code == 201:
            shown = await service.job(response.text)
            assert shown["raw_flow"]["modules"] is not None
            cancelled = await service.http.post(f"/api/w/main/jobs_u/queue/cancel/{response.text}", json={})
            assert cancelled.status_code == 200
        else:
            assert response.status_code == 400, response.text
            assert response.json()["field"].startswith(("value", "body")), response.text
    assert {201, 400} == set(statuses)


def expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["expr"]] if isinstance(value.get("expr"), str) else []
        return own + [found for inner in value.values() for found in expressions(inner)]
    return [found for inner in value for found in expressions(inner)] if isinstance(value, list) else []


def test_expressions_of_the_suite_are_read_without_the_engine_or_left_to_it() -> None:
    """The parser of plain expressions takes any text."""
    found = [text for document in DOCUMENTS for text in expressions(document)]
    assert sum(parse(text) is not None for text in found) > 20
