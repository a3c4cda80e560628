"""What users store in a workspace: scripts, flows, variables, resources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredScript:
    """One version of a script; `hash` names it."""

    path: str
    hash: str
    language: str
    content: str
    lock: str | None = None
    tag: str | None = None
    priority: int | None = None
    cache_ttl_s: float | None = None
    timeout_s: float | None = None


class NotStored(Exception):
    """There is no such variable or resource."""


class Library:
    """Reads what a workspace has stored."""

    async def script(self, workspace_id: str, path: str, hash: str | None) -> StoredScript | None:
        """A script, the version `hash` or the latest."""
        return None

    async def flow(self, workspace_id: str, path: str) -> str | None:
        """A flow's document, JSON."""
        return None

    async def variable(self, workspace_id: str, path: str) -> str:
        """A variable's value; raises NotStored."""
        raise NotStored(path)

    async def resource(self, workspace_id: str, path: str) -> bytes:
        """A resource's value as JSON, with what it names resolved; raises NotStored."""
        raise NotStored(path)
