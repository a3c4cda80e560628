"""Variables: every statement about them. A secret's value is encrypted before it comes here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from executor.errors import Conflict, NotFound
from executor.storage.tables import variables
from executor.workspace.paths import check_path


@dataclass(frozen=True)
class Variable:
    """A named text; `value` of a secret is encrypted. `edited_at` in microseconds."""

    workspace_id: str
    path: str
    value: str
    is_secret: bool
    description: str
    edited_by: str
    edited_at: int


def create(connection: Connection, variable: Variable) -> None:
    """Store a new variable; raises BadInput for a wrong path, Conflict if it is taken."""
    check_path(variable.path)
    _check_free(connection, variable.workspace_id, variable.path)
    connection.execute(insert(variables).values(**asdict(variable)))


def change(connection: Connection, workspace_id: str, path: str, values: Mapping[str, Any]) -> None:
    """Set some columns; raises NotFound, and for a new `path` as `create` does."""
    if "path" in values and values["path"] != path:
        check_path(values["path"])
        _check_free(connection, workspace_id, values["path"])
    if not connection.execute(update(variables).where(_at(workspace_id, path)).values(**values)).rowcount:
        raise not_found(path)


def get(connection: Connection, workspace_id: str, path: str) -> Variable | None:
    """The variable at a path."""
    row = connection.execute(select(variables).where(_at(workspace_id, path))).first()
    return None if row is None else Variable(**row._mapping)


def any_secret(connection: Connection) -> Variable | None:
    """One of the instance's secrets, with which a key can be tried."""
    row = connection.execute(select(variables).where(variables.c.is_secret).limit(1)).first()
    return None if row is None else Variable(**row._mapping)


def not_found(path: str) -> NotFound:
    """What is raised where a variable has to be and is not."""
    return NotFound(
        f"path: there is no variable at {path!r}", field="path", remedy="create it with POST variables/create"
    )


def _at(workspace_id: str, path: str) -> ColumnElement[bool]:
    return (variables.c.workspace_id == workspace_id) & (variables.c.path == path)


def _check_free(connection: Connection, workspace_id: str, path: str) -> None:
    if get(connection, workspace_id, path) is not None:
        raise Conflict(
            f"path: a variable exists already at {path}",
            field="path",
            remedy="change it with POST variables/update",
        )
