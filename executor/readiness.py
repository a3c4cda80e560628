"""What `/ready` looks at: whether a job that is handed in now can run, and why not.

Nothing is taken for granted from earlier: the engine is asked, the database is written to, and where
containers and rows are kept there must be room. Each look has a time limit, so that something that
hangs is a no and not a request without an answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from executor.api.context import Check
from executor.errors import EngineError, ExecutorError
from executor.jobs.desk import Desk
from executor.runtimes import Runtime, Runtimes
from executor.sandbox.egress import Egress
from executor.sandbox.engine import Engine
from executor.sandbox.run import Sandbox
from executor.settings import MIB
from executor.storage.database import Database

LOOK_S = 5.0
"""How long one look may take: longer than a busy engine needs, shorter than a prober's patience."""
ROOM_BYTES = 32 * MIB
"""With less than this free, rows and containers' files can fail to be written at any moment.

ext4 counts as free up to 16 MiB that it keeps for itself.
"""

Found = tuple[bool, str]


class Looks:
    """One look at a time, for all who have asked before it began, and then a pause as long as it took.

    Anybody may ask, and a look costs calls to the engine and a write: however many ask, however often,
    looking takes at most half of the time.
    """

    def __init__(self, look: Callable[[], Awaitable[list[Check]]]) -> None:
        self._look = look
        self._alone = asyncio.Lock()
        self._next: asyncio.Task[list[Check]] | None = None
        self._tasks: set[asyncio.Task[list[Check]]] = set()
        self._not_before = 0.0

    async def __call__(self) -> list[Check]:
        """What the next look finds."""
        if self._next is None:
            self._next = asyncio.create_task(self._when_free())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        return await asyncio.shield(self._next)

    async def _when_free(self) -> list[Check]:
        now = asyncio.get_running_loop().time
        async with self._alone:
            await asyncio.sleep(self._not_before - now())
            self._next = None  # who asks from here on is told by the look after this one
            began = now()
            try:
                return await self._look()
            finally:
                self._not_before = 2 * now() - began


async def checks(
    sandbox: Sandbox, database: Database, runtimes: Runtimes, desk: Desk, data_dir: Path
) -> list[Check]:
    """All looks, made at the same time."""
    looks: dict[str, Callable[[], Awaitable[Found]]] = {
        "engine": partial(_engine, sandbox.engine),
        "database": partial(_database, database),
        "room": partial(_room, sandbox.engine, data_dir),
    }
    looks |= {f"image {runtime.name}": partial(_images, sandbox, runtime) for runtime in runtimes}
    if sandbox.egress is not None and any(runtime.manifest.network == "egress" for runtime in runtimes):
        looks["image holder"] = partial(_holder_image, sandbox.engine, sandbox.egress)
    found = await asyncio.gather(*(_check(name, look) for name, look in looks.items()))
    return [*found, Check("accepting", not desk.closed, "stopping" if desk.closed else "taking jobs")]


async def _check(name: str, look: Callable[[], Awaitable[Found]]) -> Check:
    try:
        async with asyncio.timeout(LOOK_S):
            ok, detail = await look()
    except TimeoutError:
        return Check(name, False, f"no answer within {LOOK_S:g} s")
    except (ExecutorError, OSError) as error:
        return Check(name, False, str(error))
    return Check(name, ok, detail)


async def _engine(engine: Engine) -> Found:
    info = await engine.info()
    return True, info.about or f"{info.name} {info.version}, {info.runtime}, cgroup v{info.cgroup_version}"


async def _database(database: Database) -> Found:
    await database.prove()
    return True, database.engine.dialect.name


async def _room(engine: Engine, data_dir: Path) -> Found:
    places = {"the data directory": data_dir}
    with suppress(EngineError):  # which is the affair of the look at the engine
        root = Path((await engine.info()).root)
        if root.is_absolute() and root.is_dir():  # else it is on another machine
            places["the engine's directory"] = root
    return room(places)


def room(places: Mapping[str, Path]) -> Found:
    """Whether bytes and files can still be written at all these places."""
    short, told = [], []
    for name, place in places.items():
        free = os.statvfs(place)
        blocks = free.f_bfree if os.geteuid() == 0 else free.f_bavail  # root may use what is reserved
        free_bytes = blocks * free.f_frsize
        has_files = free.f_ffree > 0 or free.f_files == 0  # some file systems count no files
        told.append(f"{free_bytes // MIB} MiB in {name}")
        if free_bytes < ROOM_BYTES or not has_files:
            what = f"{free_bytes // MIB} MiB" if has_files else "no file"
            short.append(f"{name} {place} has room for {what} only; free some")
    return not short, "; ".join(short) or ", ".join(told)


async def _images(sandbox: Sandbox, runtime: Runtime) -> Found:
    tags = [await sandbox.image_of(stage) for stage in runtime.stages]
    missing = [tag for tag in tags if not await sandbox.engine.has_image(tag)]
    if missing:
        return False, f"{missing[0]} is missing; run `executor images build`"
    return True, ", ".join(tags)


async def _holder_image(engine: Engine, egress: Egress) -> Found:
    tag = await egress.image_tag()
    if not await engine.has_image(tag):
        return False, f"{tag} is missing; run `executor images build`"
    return True, tag
