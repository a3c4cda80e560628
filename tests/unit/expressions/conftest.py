"""One pool of real child processes for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from executor.flows.expressions.pool import Expressions
from tests.unit.expressions.values import TIMEOUT_S


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As everywhere, but for a whole module: its pool lives in one event loop."""
    return "asyncio"


@pytest.fixture(scope="module")
async def expressions(anyio_backend: str) -> AsyncIterator[Expressions]:
    """A pool with one child and a short time limit."""
    async with Expressions(timeout_s=TIMEOUT_S, children=1) as pool:
        yield pool
