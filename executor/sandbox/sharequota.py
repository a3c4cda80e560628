"""How much of the host the shared directories of one workspace's runs may hold.

A run keeps its directory while it waits, for an approval say, and nothing bounds how many wait. So a new
run of a workspace gets none while those of the others are full enough; whoever has one keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from executor.errors import SharedFull
from executor.sandbox.hardening import MIB
from executor.sandbox.shared import SharedDirectories, SharedDirectory

OwnerOf = Callable[[str], Awaitable[str | None]]
"""The workspace of a run that has not ended; None for any other."""


class WorkspaceShares:
    """The shared directories of all runs, with a bound for those of each workspace: `bytes_max` together."""

    def __init__(self, directories: SharedDirectories, bytes_max: int) -> None:
        self._directories = directories
        self._bytes_max = bytes_max
        self._owners: dict[str, str] = {}

    async def open(self, run_id: str, workspace_id: str) -> SharedDirectory:
        """The run's directory: found again if it has one, else a new one.

        Raises SharedFull where the workspace's other runs hold too much for a new one, NoSharedDirectory.
        """
        if run_id not in self._owners:
            held = await asyncio.to_thread(self._held, workspace_id)
            if held >= self._bytes_max:
                raise SharedFull(
                    f"the runs of workspace {workspace_id} that have not ended hold {held // MIB} MiB in their "
                    f"shared directories, {self._bytes_max // MIB} may be held before another run gets one; "
                    "end some of them, or raise EXECUTOR_SHARED_TOTAL_MB"
                )
            self._owners[run_id] = workspace_id
        return await self._directories.open(run_id)

    def rest(self, run_id: str) -> None:
        """The run only waits from now on; its directory is there when it goes on. Never blocks."""
        if run_id in self._owners:
            self._directories.rest(run_id)

    def close(self, run_id: str) -> None:
        """The run is over: delete its directory soon; never blocks."""
        self._owners.pop(run_id, None)
        self._directories.close(run_id)

    async def sweep(self, owner_of: OwnerOf) -> int:
        """At the start: delete what no living run owns, remember whose the others are; the number deleted."""

        async def is_alive(run_id: str) -> bool:
            owner = await owner_of(run_id)
            if owner is not None:
                self._owners[run_id] = owner
            return owner is not None

        return await self._directories.sweep(is_alive)

    def _held(self, workspace_id: str) -> int:
        runs = [run_id for run_id, owner in list(self._owners.items()) if owner == workspace_id]
        return sum(map(self._directories.held, runs))
