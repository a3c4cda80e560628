"""Scripts by version: every statement about them. A version never changes; a newer one replaces it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select, update

from executor.errors import BadInput, Conflict
from executor.script import compact_json
from executor.storage.tables import scripts
from executor.workspace.paths import check_path

HASH_DIGITS = 16
LATER = ("concurrent_limit", "concurrency_window_s", "concurrency_key")
"""What versions could not say at first: one that does not say it keeps the name that it had."""


@dataclass(frozen=True)
class NewScript:
    """A version to be. `schema` is JSON text; times in seconds; `parent_hash` is the version it replaces."""

    path: str
    language: str
    content: str
    summary: str = ""
    description: str = ""
    schema: str | None = None
    lock: str | None = None
    tag: str | None = None
    priority: int | None = None
    cache_ttl_s: float | None = None
    timeout_s: float | None = None
    parent_hash: str | None = None
    concurrent_limit: int | None = None
    concurrency_window_s: float | None = None
    concurrency_key: str | None = None


@dataclass(frozen=True)
class ScriptVersion(NewScript):
    """A stored version; `archived`: another one has replaced it. `created_at` in microseconds."""

    archived: bool = False
    created_by: str = ""
    created_at: int = 0
    hash: str = ""


def hash_of(new: NewScript) -> str:
    """A version's name: the same for the same script after the same predecessor, wherever it is stored."""
    said = {name: value for name, value in asdict(new).items() if value is not None or name not in LATER}
    return hashlib.sha256(compact_json(said)).hexdigest()[:HASH_DIGITS]


def create(connection: Connection, workspace_id: str, new: NewScript, by: str, now: int) -> str:
    """Store a version and give its hash; it is the current one at its path from now on.

    Raises BadInput for a wrong path or an unknown `parent_hash`, Conflict if the path is taken or the
    parent was replaced already: the versions of a script are a line.
    """
    check_path(new.path)
    current = at_path(connection, workspace_id, new.path)
    if new.parent_hash is not None:
        _check_parent(connection, workspace_id, new.parent_hash)
    if current is not None and current.hash != new.parent_hash:
        raise Conflict(
            f"path: a script exists already at {new.path}, version {current.hash}",
            field="path",
            remedy="send its hash as parent_hash to replace it, or choose another path",
        )
    hash = hash_of(new)
    if by_hash(connection, workspace_id, hash) is not None:
        raise Conflict(
            f"content: this very version exists already, as {hash}", field="content", remedy="use it"
        )
    if new.parent_hash is not None:
        parent = and_(scripts.c.workspace_id == workspace_id, scripts.c.hash == new.parent_hash)
        connection.execute(update(scripts).where(parent).values(archived=True))
    connection.execute(
        insert(scripts).values(
            workspace_id=workspace_id, hash=hash, created_by=by, created_at=now, **asdict(new)
        )
    )
    return hash


def _check_parent(connection: Connection, workspace_id: str, parent_hash: str) -> None:
    parent = by_hash(connection, workspace_id, parent_hash)
    if parent is None:
        raise BadInput(
            f"parent_hash: there is no version {parent_hash!r} of a script",
            field="parent_hash",
            remedy="use the hash that scripts/get gives",
        )
    if parent.archived:
        raise Conflict(
            f"parent_hash: version {parent_hash} was replaced already",
            field="parent_hash",
            remedy="use the hash of the latest version",
        )


def at_path(connection: Connection, workspace_id: str, path: str) -> ScriptVersion | None:
    """The current version at a path."""
    return _one(connection, workspace_id, and_(scripts.c.path == path, scripts.c.archived.is_(False)))


def by_hash(connection: Connection, workspace_id: str, hash: str) -> ScriptVersion | None:
    """A version, replaced or not."""
    return _one(connection, workspace_id, scripts.c.hash == hash.lower())


def _one(connection: Connection, workspace_id: str, where: Any) -> ScriptVersion | None:
    row = connection.execute(select(scripts).where(scripts.c.workspace_id == workspace_id, where)).first()
    return None if row is None else _version(row)


def _version(row: Row[Any]) -> ScriptVersion:
    values: dict[str, Any] = dict(row._mapping)
    del values["workspace_id"]
    return ScriptVersion(**values)
