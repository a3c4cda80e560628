"""Conditions on texts that mean the same on every database.

Not LIKE, to which upper and lower case are the same on SQLite, and not functions that only one has.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, func


def begins_with(column: Any, start: str) -> ColumnElement[bool]:
    """The column's text begins with `start`."""
    return func.substr(column, 1, len(start)) == start


def ends_with(column: Any, end: str) -> ColumnElement[bool]:
    """The column's text ends with `end`."""
    start = func.length(column) - len(end) + 1  # databases differ in what lies before the first character
    return and_(start > 0, func.substr(column, start) == end)


def has_part(column: Any, part: str) -> ColumnElement[bool]:
    """The column's text contains `part`."""
    without: ColumnElement[str] = func.replace(column, part, "")
    found: ColumnElement[bool] = without != column
    return found
