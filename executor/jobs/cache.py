"""Results that need not be computed again: of scripts and flows with `cache_ttl` (docs/openflow.md section 1.9)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, false, insert, select, update

from executor.jobs import store
from executor.jobs.job import Job
from executor.script import compact_json
from executor.storage.tables import cached_results, jobs


@dataclass(frozen=True)
class Kept:
    """The result of a job that has ended well, for calls with this key until a time in microseconds."""

    job_id: str
    key: str
    now: int
    expires_at: int

    @classmethod
    def of(cls, job: Job, now: int) -> Kept | None:
        """What a job asks for; None if its result is not to be kept."""
        if job.cache_key is None or job.cache_ttl_s is None:
            return None
        return cls(job.id, job.cache_key, now, now + job.cache_ttl_s * 1_000_000)


def script_key(kind: str, script: Sequence[str | None], args: Mapping[str, bytes]) -> str:
    """What a script's result depends on: what it is, its hash or its path and content, and every argument."""
    texts = sorted((name, text.decode()) for name, text in args.items())
    return hashlib.sha256(compact_json([kind, list(script), texts])).hexdigest()


def flow_key(path: str | None, value: Any, args: Any) -> str:
    """What a flow's result depends on: its path, its document and its input."""
    whole = json.dumps([path, value, args], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def find(connection: Connection, workspace_id: str, key: str, now: int) -> bytes | None:
    """The result that stands for this call, as JSON; None if there is none that is fresh."""
    job_id = connection.execute(
        select(cached_results.c.job_id)
        .join(jobs, jobs.c.id == cached_results.c.job_id)
        .where(
            cached_results.c.workspace_id == workspace_id,
            cached_results.c.key == key,
            cached_results.c.expires_at > now,
            jobs.c.deleted == false(),
        )
    ).scalar_one_or_none()
    return None if job_id is None else store.result(connection, job_id)


def keep(connection: Connection, workspace_id: str, kept: Kept) -> None:
    """Let a result stand for the same call, unless one does already: using it does not renew it."""
    if find(connection, workspace_id, kept.key, kept.now) is not None:
        return
    values = {"job_id": kept.job_id, "expires_at": kept.expires_at}
    same = and_(cached_results.c.workspace_id == workspace_id, cached_results.c.key == kept.key)
    if not connection.execute(update(cached_results).where(same).values(**values)).rowcount:
        connection.execute(insert(cached_results).values(workspace_id=workspace_id, key=kept.key, **values))
