"""Flows by version: every statement about them. The highest version at a path is the one that runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from executor.errors import Conflict, NotFound
from executor.storage.tables import flows
from executor.workspace.paths import check_path


@dataclass(frozen=True)
class NewFlow:
    """A flow to be stored. `value`, the OpenFlow document with its ids, and `schema` are JSON texts."""

    path: str
    value: str
    summary: str = ""
    description: str = ""
    schema: str | None = None
    tag: str | None = None


@dataclass(frozen=True)
class StoredFlow(NewFlow):
    """A version of a flow; `edited_at` in microseconds."""

    version: int = 0
    edited_by: str = ""
    edited_at: int = 0


def create(connection: Connection, workspace_id: str, new: NewFlow, by: str, now: int) -> None:
    """Store a flow's first version; raises BadInput for a wrong path, Conflict if it is taken."""
    check_path(new.path)
    if latest(connection, workspace_id, new.path) is not None:
        raise _taken(new.path, "update it")
    _insert(connection, workspace_id, new, 1, by, now)


def replace(connection: Connection, workspace_id: str, path: str, new: NewFlow, by: str, now: int) -> None:
    """Store a further version of the flow at `path`, which moves to `new.path` with all its versions.

    Raises BadInput for a wrong path, NotFound if there is no flow, Conflict if the new path is taken.
    """
    check_path(new.path)
    current = latest(connection, workspace_id, path)
    if current is None:
        raise not_found(path)
    if new.path != path:
        if latest(connection, workspace_id, new.path) is not None:
            raise _taken(new.path, "choose another path")
        here = (flows.c.workspace_id == workspace_id) & (flows.c.path == path)
        connection.execute(update(flows).where(here).values(path=new.path))
    _insert(connection, workspace_id, new, current.version + 1, by, now)


def latest(connection: Connection, workspace_id: str, path: str) -> StoredFlow | None:
    """The version at a path that runs."""
    row = connection.execute(
        select(flows)
        .where(flows.c.workspace_id == workspace_id, flows.c.path == path)
        .order_by(flows.c.version.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    values: dict[str, Any] = dict(row._mapping)
    del values["workspace_id"]
    return StoredFlow(**values)


def not_found(path: str) -> NotFound:
    """What is raised where a flow has to be and is not."""
    return NotFound(
        f"path: there is no flow at {path!r}", field="path", remedy="create it with POST flows/create"
    )


def _insert(connection: Connection, workspace_id: str, new: NewFlow, version: int, by: str, now: int) -> None:
    values = {"workspace_id": workspace_id, "version": version, "edited_by": by, "edited_at": now}
    connection.execute(insert(flows).values(**asdict(new), **values))


def _taken(path: str, remedy: str) -> Conflict:
    return Conflict(f"path: a flow exists already at {path}", field="path", remedy=remedy)
