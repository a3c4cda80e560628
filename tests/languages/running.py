"""Runs SQL scripts in the real sandbox, within reach of a test's own database server."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.runtimes import scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.script import Failed, Isolation, Returned, Script, resolve_limits
from executor.settings import Settings
from tests.runtimes.bench import GRACE_S, sandbox
from tests.runtimes.judge import Seen
from tests.servers.database import DatabaseServer

RUNTIMES = scan()


@dataclass(frozen=True)
class SqlScripts:
    """Runs scripts of one language with a server's connection object as their argument `database`."""

    language: str
    sandbox: Sandbox
    server: DatabaseServer | None = None

    async def run(
        self,
        content: str,
        args: Mapping[str, Any] | None = None,
        *,
        limits: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        cancel_after_s: float | None = None,
        name: str | None = None,
        **connection: Any,
    ) -> Seen:
        """Run a script, in a container called `name`; further keywords change the connection object."""
        given = dict(args or {})
        if self.server is not None:
            given.setdefault("database", self.server.connection(**connection))
        runtime = RUNTIMES.by_name[self.language]
        cancellation, log = Cancellation(GRACE_S), list[str]()
        began = time.monotonic()

        async def claimed(_: Isolation) -> None:
            nonlocal began
            began = time.monotonic()
            if cancel_after_s is not None:
                asyncio.get_running_loop().call_later(cancel_after_s, cancellation.ask)

        order = Order(
            name=name or f"executor-test-{uuid.uuid4()}",
            runtime=runtime,
            script=Script(runtime.name, content, json.dumps(given).encode(), env or {}),
            limits=resolve_limits(limits or {}, Settings().limits),
            cancellation=cancellation,
            listener=Listener(claimed=claimed, log=log.append),
            reach=() if self.server is None else self.server.reach,
        )
        outcome = await self.sandbox.run(order)
        return Seen(outcome, "".join(log), time.monotonic() - began)

    async def result(self, content: str, args: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The result of a script that must succeed."""
        seen = await self.run(content, args, **more)
        assert isinstance(seen.outcome, Returned), seen.outcome
        return json.loads(seen.outcome.value)

    async def failure(self, content: str, args: Mapping[str, Any] | None = None, **more: Any) -> Failed:
        """The failure of a script that must fail."""
        seen = await self.run(content, args, **more)
        assert isinstance(seen.outcome, Failed), seen.outcome
        return seen.outcome


@asynccontextmanager
async def sql_scripts(
    language: str, folder: Path, server: DatabaseServer | None = None
) -> AsyncIterator[SqlScripts]:
    """Scripts of this language on the real engine; their containers are gone at the end."""
    async with sandbox(Settings(), RUNTIMES, folder) as made:
        yield SqlScripts(language, made, server)
