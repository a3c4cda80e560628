"""At most so many jobs of one key at once, or so many starts in a window (docs/openflow.md section 1.9).

A job over its limit waits in the queue and holds nothing. What has started counts until it has ended,
a flow run that waits for an approval too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, func, literal, or_, select

from executor.storage.tables import jobs

NAMED = re.compile(r"\$workspace|\$args\[([^\]]*)\]")


@dataclass(frozen=True)
class Share:
    """What a job has to share with all others of its key."""

    key: str
    limit: int
    window_s: int | None

    @property
    def columns(self) -> dict[str, Any]:
        """What the job's row says of it."""
        return {
            "concurrency_key": self.key,
            "concurrency_limit": self.limit,
            "concurrency_window_s": self.window_s,
        }


def has_room(connection: Connection, share: Share, now: int) -> bool:
    """Whether another job of the key may start."""
    other = jobs.alias("other")
    taken = connection.execute(
        select(func.count())
        .select_from(other)
        .where(other.c.concurrency_key == share.key, other.c.started_at.is_not(None))
        .where(_counts(other, literal(share.window_s or 0), now))
    ).scalar_one()
    return bool(taken < share.limit)


def _counts(other: Any, window: Any, now: Any) -> Any:
    """The condition that a started job counts: in a window, or as long as it has not ended."""
    return case(
        (window > 0, other.c.started_at > now - window * 1_000_000),
        else_=other.c.state != "completed",
    )


def may_start(now: Any) -> Any:
    """The condition that a queued job is not held back by its key's limit at a time, which may be a parameter."""
    other = jobs.alias("other")
    counts = _counts(other, func.coalesce(jobs.c.concurrency_window_s, 0), now)
    taken = (
        select(func.count())
        .select_from(other)
        .where(other.c.concurrency_key == jobs.c.concurrency_key, other.c.started_at.is_not(None), counts)
        .correlate(jobs)
        .scalar_subquery()
    )
    return or_(
        jobs.c.concurrency_key.is_(None),
        jobs.c.started_at.is_not(None),  # it goes on, it does not start
        taken < jobs.c.concurrency_limit,
    )


def held_back(role: Any, now: Any) -> Any:
    """The condition that a job is due and waits for its key."""
    return and_(
        jobs.c.state == "queued",
        jobs.c.role == role,
        jobs.c.scheduled_for <= now,
        jobs.c.concurrency_key.is_not(None),
        jobs.c.started_at.is_(None),
    )


def key_of(asked: str | None, workspace_id: str, kind: str, path: str | None, args: dict[str, Any]) -> str:
    """The key that a job counts under: the one asked for, filled in, or one of its own path.

    `$workspace` and `$args[a.b]` stand for the workspace and for an argument; one that is missing is empty.
    """

    def filled(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return workspace_id
        value: Any = args
        for name in match.group(1).split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return "" if value is None else str(value)

    if asked is None:
        return f"{workspace_id}/{kind}/{path or ''}"
    return NAMED.sub(filled, asked)
