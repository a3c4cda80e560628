"""Builders of OpenFlow documents, and how tests read them."""

from __future__ import annotations

from typing import Any

import pytest

from executor.errors import BadInput
from executor.flows.document import Flow, FlowLimits, read_flow, with_ids

LIMITS = FlowLimits(depth=50, modules=5000, iterations=100_000)
NAMES = ("python3", "bash", "deno", "go", "postgresql", "mysql", "duckdb", "docker")
LANGUAGES = {**{name: name for name in NAMES}, "python": "python3", "typescript": "deno"}


def module(value: Any, **settings: Any) -> dict[str, Any]:
    return {"id": "a", "value": value, **settings}


def flow(*modules: Any, **settings: Any) -> dict[str, Any]:
    return {"modules": list(modules), **settings}


def rawscript(**fields: Any) -> dict[str, Any]:
    return {"type": "rawscript", "language": "python3", "content": "", "input_transforms": {}, **fields}


def forloop(*modules: Any, **fields: Any) -> dict[str, Any]:
    return {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": []},
        "modules": list(modules),
        **fields,
    }


def read(document: Any, limits: FlowLimits = LIMITS) -> Flow:
    return read_flow(with_ids(document), languages=LANGUAGES.get, limits=limits, supported=NAMES)


def refused(document: Any, limits: FlowLimits = LIMITS) -> BadInput:
    """The complaint about a document, which has a place that it also names first, and a remedy."""
    with pytest.raises(BadInput) as caught:
        read(document, limits)
    error = caught.value
    assert error.field
    assert error.detail.startswith(f"{error.field}: ")
    assert error.remedy
    return error


IDENTITY: dict[str, Any] = {"type": "identity"}
