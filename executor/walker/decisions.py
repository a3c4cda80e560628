"""What a run has decided, by place: each thing once, however often it is walked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from weakref import finalize

from executor.flows.values import Args
from executor.jobs import runs
from executor.jobs.job import Job
from executor.jobs.runs import BIG_BYTES, Record
from executor.storage.database import Database, insist
from executor.walker.gathered import Gathered
from executor.walker.room import Room

FULL = "full"
"""What the journal has under the place of a job that the run had no room for."""


class Decisions:
    """The journal of one walk: entries that were stored before, and those that it adds."""

    def __init__(self, run: Job, record: Record, gathered: Gathered, database: Database, room: Room) -> None:
        self._run = run
        self._record = record
        self._journal = record.journal
        self._gathered = gathered
        self._database = database
        self._room = room

    async def once(self, path: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
        """What `act` gave when this run came to `path` first."""
        if path in self._journal:
            return await self._decided(path)
        value = await act()
        self._journal[path] = value
        if len(value) > BIG_BYTES:  # a run may have thousands of them: whoever wants it again, reads it
            await self._gathered.store_if_many()
            self._gathered.note(path, value)
            await self._gathered.store()
            self._journal[path] = None
        else:
            self._gathered.note(path, value)
            await self._gathered.store_if_many()
        return value

    async def _decided(self, path: str) -> bytes:
        known = self._journal[path]
        if known is None:
            known = await insist(partial(self._database.read, runs.note, self._run.id, path))
        if known is None:
            raise AssertionError(f"BUG: {path} of run {self._run.id} has no entry")
        return known

    # ------------------------------------------------------------ room, which is not the same in every walk

    def no_room(self, path: str) -> str | None:
        """Why the run may have no job at this place."""
        if (why := self._refusal(path)) is not None or path in self._record.jobs:
            return why
        why = self._room.refusal(self._run.id)
        return None if why is None else self._refused(path, why)

    def hold(self, path: str, args: Args) -> str | None:
        """Count arguments of a step as held, for as long as they are in memory; why they cannot be."""
        if (why := self._refusal(path)) is not None or args.size <= BIG_BYTES:
            return why
        run_id, size = self._run.id, args.size
        if path not in self._record.jobs and (why := self._room.refusal_of(run_id, size)) is not None:
            return self._refused(path, why)
        self._room.hold(run_id, size)
        finalize(args, self._room.let_go, run_id, size).atexit = False
        return None

    def _refusal(self, path: str) -> str | None:
        why = self._journal.get(f"{path}/{FULL}")
        return None if why is None else why.decode()

    def _refused(self, path: str, why: str) -> str:
        self._journal[f"{path}/{FULL}"] = why.encode()
        self._gathered.note(f"{path}/{FULL}", why.encode())
        return why
