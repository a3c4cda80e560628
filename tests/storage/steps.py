"""What a statement costs, counted and not timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection


def steps(db: Connection, act: Callable[[], object]) -> int:
    """What SQLite does for `act`, in hundreds of its instructions."""
    count = 0

    def more() -> None:
        nonlocal count
        count += 1

    driver: Any = db.connection.driver_connection
    driver.set_progress_handler(more, 100)
    try:
        act()
    finally:
        driver.set_progress_handler(None, 0)
    return count
