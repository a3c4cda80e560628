"""At most so many jobs of one key at once, or so many starts in a window (docs/openflow.md section 1.9).

A job over its limit waits in the queue and holds nothing. What has started counts until it has ended,
a flow run that waits for an approval too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, and_, bindparam, case, func, or_, select, tuple_

from executor.storage.tables import jobs

NAMED = re.compile(r"\$workspace|\$args\[([^\]]*)\]")


@dataclass(frozen=True)
class Share:
    """What a job has to share with all others of its key."""

    key: str
    limit: int
    window_s: int | None

    @classmethod
    def of(
        cls,
        limit: int | None,
        window_s: float | None,
        asked: str | None,
        *,
        workspace_id: str,
        kind: str,
        path: str | None,
        args: Mapping[str, Any],
    ) -> Share | None:
        """What a script or flow (the `kind`) says of itself, for a job with these arguments; None without limit."""
        if limit is None:
            return None
        return cls(key_of(asked, workspace_id, kind, path, args), limit, int(window_s or 0) or None)

    @property
    def columns(self) -> dict[str, Any]:
        """What the job's row says of it."""
        return {
            "concurrency_key": self.key,
            "concurrency_limit": self.limit,
            "concurrency_window_s": self.window_s,
        }


def room_under(connection: Connection, workspace_id: str, share: Share, now: int) -> int:
    """How many more jobs of the key may start; negative where others have allowed themselves more."""
    values = {"workspace": workspace_id, "key": share.key, "window": share.window_s or 0, "now": now}
    return share.limit - int(connection.execute(TAKEN, values).scalar_one())


def _taken(workspace_id: Any, key: Any, window: Any, now: Any) -> Any:
    """How many started jobs of a key count: those that began in its window, or those that have not ended.

    Keys are their workspace's, so that nobody holds up others by theirs. Each count reads as many entries of
    `ix_jobs_key` as it counts, however many jobs of the key there have been: states are named for that.
    """
    other = jobs.alias("other")
    started = select(func.count()).where(other.c.workspace_id == workspace_id, other.c.concurrency_key == key)
    begun = started.where(
        other.c.state.in_(("queued", "running", "completed")),
        other.c.started_at > now - window * 1_000_000,
    )
    going = started.where(other.c.state.in_(("queued", "running")), other.c.started_at > 0)
    return case((window > 0, begun.scalar_subquery()), else_=going.scalar_subquery())


TAKEN = select(
    _taken(
        bindparam("workspace"),
        bindparam("key"),
        bindparam("window", type_=BigInteger),
        bindparam("now", type_=BigInteger),
    )
)


def may_start(workspace_id: Any, role: Any, now: Any) -> Any:
    """The condition that a due job of the workspace and role is not held back by its key's limit.

    All may be parameters. Which limits are reached is found out once for all jobs that wait.
    """
    window = func.coalesce(jobs.c.concurrency_window_s, 0)
    limits = (
        select(
            jobs.c.concurrency_key.label("key"),
            jobs.c.concurrency_limit.label("most"),
            window.label("window_s"),
        )
        .where(jobs.c.workspace_id == workspace_id, held_back(role, now))
        .distinct()
        .cte("limits")
    )
    taken = _taken(workspace_id, limits.c.key, limits.c.window_s, now)
    reached = select(limits.c.key, limits.c.most, limits.c.window_s).where(taken >= limits.c.most)
    return or_(
        jobs.c.concurrency_key.is_(None),
        jobs.c.started_at.is_not(None),  # it goes on, it does not start
        tuple_(jobs.c.concurrency_key, jobs.c.concurrency_limit, window).not_in(reached),
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


def key_of(asked: str | None, workspace_id: str, kind: str, path: str | None, args: Mapping[str, Any]) -> str:
    """The key that a job counts under: the one asked for, filled in, or one of its own path.

    `$workspace` and `$args[a.b]` stand for the workspace and for an argument; one that is missing is empty.
    """

    def filled(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return workspace_id
        value: Any = args
        for name in match.group(1).split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return "" if value is None else str(value)

    if asked is None:
        return f"{workspace_id}/{kind}/{path or ''}"
    return NAMED.sub(filled, asked)
