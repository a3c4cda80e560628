"""Resources, named JSON values such as a database's address: every statement about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from executor.errors import Conflict, NotFound
from executor.storage.tables import resources
from executor.workspace.paths import check_path


@dataclass(frozen=True)
class Resource:
    """A named value, `value`, in JSON; `edited_at` in microseconds."""

    workspace_id: str
    path: str
    value: bytes
    resource_type: str
    description: str
    edited_by: str
    edited_at: int


def create(connection: Connection, resource: Resource) -> None:
    """Store a new resource; raises BadInput for a wrong path, Conflict if it is taken."""
    check_path(resource.path)
    _check_free(connection, resource.workspace_id, resource.path)
    connection.execute(insert(resources).values(**asdict(resource)))


def change(connection: Connection, workspace_id: str, path: str, values: Mapping[str, Any]) -> None:
    """Set some columns; raises NotFound, and for a new `path` as `create` does."""
    if "path" in values and values["path"] != path:
        check_path(values["path"])
        _check_free(connection, workspace_id, values["path"])
    if not connection.execute(update(resources).where(_at(workspace_id, path)).values(**values)).rowcount:
        raise not_found(path)


def get(connection: Connection, workspace_id: str, path: str) -> Resource | None:
    """The resource at a path."""
    row = connection.execute(select(resources).where(_at(workspace_id, path))).first()
    return None if row is None else Resource(**row._mapping)


def not_found(path: str) -> NotFound:
    """What is raised where a resource has to be and is not."""
    return NotFound(
        f"path: there is no resource at {path!r}", field="path", remedy="create it with POST resources/create"
    )


def _at(workspace_id: str, path: str) -> ColumnElement[bool]:
    return (resources.c.workspace_id == workspace_id) & (resources.c.path == path)


def _check_free(connection: Connection, workspace_id: str, path: str) -> None:
    if get(connection, workspace_id, path) is not None:
        raise Conflict(
            f"path: a resource exists already at {path}",
            field="path",
            remedy="change it with POST resources/update",
        )
