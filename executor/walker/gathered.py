"""What a walk has done and not stored yet, and its way into the database.

Many entries go in one transaction, which names the run's lease. What is on its way is written to its
end, also when the walk is given up meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from executor.jobs import runs
from executor.jobs.desk import Desk
from executor.jobs.job import Job, NewJob
from executor.jobs.runs import Batch
from executor.storage.database import insist

FLUSH_S = 0.1
BATCH_MAX = 200


class Gathered:
    """The entries of one walk. Whatever stores raises LeaseLost when the run is not ours any more."""

    def __init__(self, run: Job, desk: Desk) -> None:
        self.batch = Batch()
        self.unstored: set[str] = set()
        """Jobs whose big result is here, and nowhere in memory as a value."""
        self._run = run
        self._desk = desk
        self._ends: list[str] = []
        """Flow jobs whose end is here; until it is stored, readers are served from memory."""
        self._writing: set[asyncio.Task[None]] = set()
        self._storing = asyncio.Lock()

    def note(self, path: str, value: bytes) -> None:
        """An entry of the journal."""
        self.batch.add_note(self._run.id, path, value)

    def has_ended(self, flow_job: str) -> None:
        """The end of a flow job is here."""
        self._ends.append(flow_job)

    async def store_if_many(self) -> None:
        """Store, if enough has been gathered to be worth a transaction; not faster than the database takes it.

        So a walk of many branches, which only ever wait here, leaves the event loop to others now and then.
        """
        while self.batch.weight >= BATCH_MAX:
            if self._writing:
                await asyncio.wait(self._writing)
            else:
                await self.store()

    async def store(self) -> None:
        """Store what has been gathered."""
        # Taken at once: of many tasks that find the batch full, only the first has something to write.
        await self._to_its_end(self._store(self.take(), self.take_ends()))

    async def store_and_add(self, new: NewJob) -> None:
        """Store what has been gathered together with a script that is to run now, and start that."""
        await self._to_its_end(self._store_and_add(self.take(), self.take_ends(), new))

    async def _store(self, batch: Batch, ends: list[str]) -> None:
        async with self._storing:  # in the order in which the batches were taken
            if len(batch):
                write = self._desk.database.write_in_turn
                whose = self._run.workspace_id
                await insist(partial(write, whose, runs.write, self._run, batch, rows=batch.rows))
            self._stored(batch, ends)

    async def _store_and_add(self, batch: Batch, ends: list[str], new: NewJob) -> None:
        async with self._storing:
            await self._desk.add_step(self._run, batch, new)
            self._stored(batch, ends)

    def _stored(self, batch: Batch, ends: list[str]) -> None:
        self.unstored.difference_update(row["job_id"] for row in batch.results)
        for job in ends:
            self._desk.flow_statuses.pop(job, None)
            self._desk.changed(job)

    async def _to_its_end(self, writing: Coroutine[Any, Any, None]) -> None:
        """Write, to the end also when the walk is given up meanwhile: what is half begun would be lost."""
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.shield(task)

    async def settle(self) -> None:
        """Wait for what is on its way to the database."""
        while self._writing:
            await asyncio.gather(*self._writing)

    async def keep_storing(self) -> None:
        """Store what has been gathered every moment, so that readers see it; until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.store()

    def take(self) -> Batch:
        """What has been gathered, for a transaction of the caller's."""
        batch, self.batch = self.batch, Batch()
        return batch

    def take_ends(self) -> list[str]:
        """The flow jobs whose ends were gathered."""
        ends, self._ends = self._ends, []
        return ends
