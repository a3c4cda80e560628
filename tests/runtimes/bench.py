"""Runs conformance cases in real containers, as the service would, without its database.

A language of a database server is asked on a real one: `servers` starts it, its cases get the
connection as their argument `database`.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from executor.cli.examples import images_in, with_images
from executor.containers import docker_parts, make_sandbox
from executor.runtimes import Runtimes, scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.script import Isolation, Script, resolve_limits
from executor.settings import Settings
from tests.runtimes.cases import Case
from tests.runtimes.judge import Seen
from tests.servers.database import DatabaseServer, running

GRACE_S = 5.0
SERVER_OF = {"postgresql": "postgresql", "mysql": "mariadb"}
"""The languages whose scripts talk to a server, and its kind."""


class Servers:
    """The database servers of a session, each started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, DatabaseServer] = {}

    def of(self, language: str) -> DatabaseServer | None:
        """The server that this language's scripts talk to, None for a language without one."""
        if (kind := SERVER_OF.get(language)) is None:
            return None
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(running(kind))
        return self._running[kind]


@asynccontextmanager
async def sandbox(settings: Settings, runtimes: Runtimes, folder: Path) -> AsyncIterator[Sandbox]:
    """A sandbox on the engine that the settings name; its containers are gone at the end."""
    parts = docker_parts(settings, runtimes)
    await parts.settle()
    folder.chmod(0o711)
    made = make_sandbox(parts, folder, f"test-{uuid.uuid4()}", "test")
    try:
        yield made
    finally:
        await made.close(30)
        parts.engine.close()


async def filled(made: Sandbox, script: str) -> str:
    """The script with `{image:LANGUAGE}` replaced by the name of that language's image here."""
    languages = scan().by_name
    return with_images(script, {name: await made.image_of(languages[name]) for name in images_in(script)})


async def ask(made: Sandbox, case: Case, settings: Settings, server: DatabaseServer | None = None) -> Seen:
    """Run one case's script; with a server its connection is the argument `database`."""
    args = case.args_text
    if server is not None:
        args = json.dumps({**case.args, "database": server.connection()}, ensure_ascii=False).encode()
    log: list[str] = []
    began = time.monotonic()
    cancellation = Cancellation(GRACE_S)

    async def claimed(_: Isolation) -> None:
        nonlocal began
        began = time.monotonic()
        if case.cancel_after_s is not None:
            asyncio.get_running_loop().call_later(case.cancel_after_s, cancellation.ask)

    order = Order(
        name=f"executor-test-{uuid.uuid4()}",
        runtime=case.runtime,
        script=Script(case.runtime.name, await filled(made, case.script), args, case.env),
        limits=resolve_limits(case.limits, settings.limits),
        cancellation=cancellation,
        listener=Listener(claimed=claimed, log=log.append),
        reach=() if server is None else server.reach,
    )
    outcome = await made.run(order)
    return Seen(outcome, "".join(log), time.monotonic() - began)
