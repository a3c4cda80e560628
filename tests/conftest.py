"""What all tests share."""

from __future__ import annotations

import pytest

from executor import telemetry

telemetry.configure("warning")


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"
