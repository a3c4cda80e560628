"""Inner flows that wait for room under their concurrency key (docs/openflow.md section 1.9).

They may be as many as a workspace likes: so they do not ask by themselves. One reading at a time tells all
those of a workspace how many of each key may try, who has waited longest first.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

from sqlalchemy import Connection

from executor.jobs.concurrency import Share, room_under
from executor.jobs.job import now_us
from executor.jobs.queue import LOOK_AGAIN_US
from executor.storage.database import Database, insist

KEYS_AT_ONCE = 200
"""Of so many keys one reading finds out."""
SHARE_OF_TIME = 0.05
"""Looking after the keys of one workspace takes no more of the time than this."""

Waiters = deque[asyncio.Future[None]]


class KeyQueues:
    """Those that wait, in this process, by workspace and by what they share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, dict[Share, Waiters]] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    def is_waited_for(self, workspace_id: str, share: Share) -> bool:
        """Whether somebody waits already, and is to go first."""
        return share in self._waiting.get(workspace_id, {})

    async def wait(self, workspace_id: str, share: Share, *, again: bool = False) -> None:
        """Return when trying to begin is right; who has to wait `again` goes before the others."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(workspace_id, {}).setdefault(share, deque())
        if again:
            waiters.appendleft(turn)
        else:
            waiters.append(turn)
        if workspace_id not in self._watching:
            self._watching[workspace_id] = asyncio.create_task(self._watch(workspace_id))
        await turn  # if it is cancelled, the next look passes it over

    async def _watch(self, workspace_id: str) -> None:
        """Look again and again, until nobody of the workspace waits any more."""
        shares = self._waiting[workspace_id]
        pause_s = LOOK_AGAIN_US / 1e6
        try:
            while shares:
                await asyncio.sleep(pause_s)
                began = time.monotonic()
                await self._look(workspace_id, shares)
                pause_s = max(LOOK_AGAIN_US / 1e6, (time.monotonic() - began) / SHARE_OF_TIME)
        finally:
            del self._watching[workspace_id]
            if not shares:
                del self._waiting[workspace_id]

    async def _look(self, workspace_id: str, shares: dict[Share, Waiters]) -> None:
        for share in list(shares):
            while shares[share] and shares[share][0].done():
                shares[share].popleft()
            if not shares[share]:
                del shares[share]
        asked = list(shares)
        for at in range(0, len(asked), KEYS_AT_ONCE):
            some = asked[at : at + KEYS_AT_ONCE]
            for share, room in zip(some, await self._rooms(workspace_id, some), strict=True):
                self._let_try(shares, share, room)

    async def _rooms(self, workspace_id: str, shares: list[Share]) -> list[int]:
        def act(connection: Connection) -> list[int]:
            now = now_us()
            return [room_under(connection, workspace_id, share, now) for share in shares]

        return await insist(partial(self._database.read, act))

    def _let_try(self, shares: dict[Share, Waiters], share: Share, room: int) -> None:
        waiters = shares[share]
        while room > 0 and waiters:
            turn = waiters.popleft()
            if not turn.done():  # or its run has ended
                turn.set_result(None)
                room -= 1
        if not waiters:
            del shares[share]
