"""Workspaces: the tenants of an instance, each with a policy."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from executor.errors import BadInput, Conflict, NotFound
from executor.reach import USUAL_LIMITS, EgressLimits, Reach
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

    def __init__(
        self,
        database: Database,
        bounds: LimitBounds,
        reach: tuple[Reach, ...] = (),
        egress: EgressLimits = USUAL_LIMITS,
    ) -> None:
        self._database = database
        self._bounds = bounds
        self._reach = reach  # where a policy does not say what may be reached
        self._egress = egress
        self.on_change: Callable[[str], Awaitable[None]] | None = None
        self.unfit: Callable[[str], Awaitable[str | None]] | None = None
        """Says why this host cannot run a runtime class; None: nobody knows."""
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
        await self._check(policy)
        workspace = Workspace(workspace_id, name or workspace_id, policy, now, new_key())
        try:
            await self._store(workspace)
        except IntegrityError:
            raise Conflict(
                f"id: a workspace {workspace_id!r} exists already", field="id", remedy="choose another id"
            ) from None
        return workspace

    async def set_policy(self, workspace_id: str, policy: Policy) -> Workspace:
        """Give a workspace another policy. Raises NotFound, and BadInput for a wrong policy.

        What jobs may reach changes at once, for running ones too; the rest counts for jobs to come.
        """
        workspace = replace(self.get(workspace_id), policy=policy)
        await self._check(policy)
        await self._database.write(_update_policy, workspace)
        self._cache[workspace_id] = workspace
        if self.on_change is not None:
            await self.on_change(workspace_id)
        return workspace

    async def _check(self, policy: Policy) -> None:
        check_policy(policy, self._bounds)
        wanted = policy.runtime_class
        if wanted is None or self.unfit is None or (why := await self.unfit(wanted)) is None:
            return
        raise BadInput(
            f"policy.runtime_class: {wanted!r} cannot be had on this host: {why}",
            field="policy.runtime_class",
            remedy="install the runtime, name another one, or leave it out",
        )

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

    def reach(self, workspace_id: str) -> tuple[Reach, ...]:
        """What the workspace's jobs with egress may reach: its policy's networks, else the instance's."""
        workspace = self._cache.get(workspace_id)
        if workspace is None or workspace.policy.networks is None:
            return self._reach
        return tuple(network.reach for network in workspace.policy.networks)

    def runtime_class(self, workspace_id: str) -> str | None:
        """The OCI runtime that the workspace's containers must have; None: the host's best."""
        workspace = self._cache.get(workspace_id)
        return workspace.policy.runtime_class if workspace else None

    def egress_limits(self, workspace_id: str) -> EgressLimits:
        """How much the workspace's jobs may ask of the network: what its policy says, if that is less."""
        workspace = self._cache.get(workspace_id)
        return self._egress.lowered(workspace.policy.egress.model_dump()) if workspace else self._egress

    def images(self, workspace_id: str) -> tuple[str, ...] | None:
        """Patterns of the images that the workspace's jobs may name; None: those of the instance."""
        workspace = self._cache.get(workspace_id)
        patterns = workspace.policy.images if workspace else None
        return None if patterns is None else tuple(patterns)


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


def _update_policy(connection: Connection, workspace: Workspace) -> None:
    stored = workspace.policy.model_dump_json()
    connection.execute(update(workspaces).where(workspaces.c.id == workspace.id).values(policy=stored))


def _workspace(row: Row[tuple[str, str, str, int, bytes]]) -> Workspace:
    return Workspace(row.id, row.name, Policy.model_validate_json(row.policy), row.created_at, row.key)
