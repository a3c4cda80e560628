"""Workspaces: the tenants of an instance, each with a policy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from executor.errors import BadInput, Conflict, NotFound
from executor.settings import LimitBounds
from executor.storage.database import Database
from executor.storage.tables import new_key, workspaces
from executor.workspace.policy import Policy, bounded_by, check_policy

DEFAULT = "main"
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


@dataclass(frozen=True)
class Workspace:
    """A tenant; `created_at` in microseconds since 1970, UTC."""

    id: str
    name: str
    policy: Policy
    created_at: int
    key: bytes = field(repr=False)
    """Signs the URLs of approvals; never leaves the service."""


class Workspaces:
    """The instance's workspaces, cached: they are few, read by every request, and rarely change."""

    def __init__(self, database: Database, bounds: LimitBounds) -> None:
        self._database = database
        self._bounds = bounds
        self._cache: dict[str, Workspace] = {}

    async def load(self, now: int) -> None:
        """Read the workspaces; make the default one if there is none."""
        for workspace in await self._database.read(_all):
            self._cache[workspace.id] = workspace
        if DEFAULT not in self._cache:
            await self._store(Workspace(DEFAULT, DEFAULT, Policy(), now, new_key()))

    async def create(self, workspace_id: str, name: str | None, policy: Policy, now: int) -> Workspace:
        """Make a workspace. Raises BadInput for a wrong id or policy, Conflict if it exists."""
        if not ID.fullmatch(workspace_id):
            raise BadInput(
                f"id: {workspace_id!r} cannot be a workspace's id",
                field="id",
                remedy="use at most 50 of a-z, 0-9, - and _, a letter or digit first",
            )
        check_policy(policy, self._bounds)
        workspace = Workspace(workspace_id, name or workspace_id, policy, now, new_key())
        try:
            await self._store(workspace)
        except IntegrityError:
            raise Conflict(
                f"id: a workspace {workspace_id!r} exists already", field="id", remedy="choose another id"
            ) from None
        return workspace

    async def _store(self, workspace: Workspace) -> None:
        await self._database.write(_insert, workspace)
        self._cache[workspace.id] = workspace

    def get(self, workspace_id: str) -> Workspace:
        """A workspace by its id; raises NotFound."""
        try:
            return self._cache[workspace_id]
        except KeyError:
            raise NotFound(
                f"no workspace {workspace_id!r}",
                field="workspace",
                remedy="create it with POST /api/workspaces/create, or use `main`",
            ) from None

    def list(self) -> list[Workspace]:
        """All workspaces by id."""
        return sorted(self._cache.values(), key=lambda workspace: workspace.id)

    def bounds(self, workspace_id: str) -> LimitBounds:
        """Defaults and maxima of the limits of the workspace's jobs."""
        workspace = self._cache.get(workspace_id)
        return bounded_by(self._bounds, workspace.policy.limits) if workspace else self._bounds

    def share(self, workspace_id: str) -> int | None:
        """How many of the workspace's jobs may run at once; None: as many as there are slots."""
        workspace = self._cache.get(workspace_id)
        return workspace.policy.concurrency if workspace else None


def _all(connection: Connection) -> list[Workspace]:
    return [_workspace(row) for row in connection.execute(select(workspaces))]


def _insert(connection: Connection, workspace: Workspace) -> None:
    connection.execute(
        insert(workspaces).values(
            id=workspace.id,
            name=workspace.name,
            policy=workspace.policy.model_dump_json(),
            created_at=workspace.created_at,
            key=workspace.key,
        )
    )


def _workspace(row: Row[tuple[str, str, str, int, bytes]]) -> Workspace:
    return Workspace(row.id, row.name, Policy.model_validate_json(row.policy), row.created_at, row.key)
