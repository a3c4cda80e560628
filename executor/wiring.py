"""Builds the service from its parts; the only file that names concrete classes."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection
from starlette.datastructures import State

from executor import datadir, telemetry
from executor.api.app import build
from executor.api.connection import ConnectionLimits, protocol
from executor.api.context import Context
from executor.api.rates import Rates
from executor.containers import Parts, docker_parts, make_sandbox, make_shared, make_slots
from executor.errors import ExecutorError
from executor.flows.document import FlowLimits
from executor.flows.expressions.pool import Expressions
from executor.garbage import collect_seldom
from executor.jobs import runs, store
from executor.jobs.desk import Desk
from executor.jobs.job import Job, now_us
from executor.readiness import Looks, checks
from executor.runtimes import Runtimes, scan
from executor.sandbox.blank import Bounds
from executor.sandbox.compiling import order_of
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.programs import Programs
from executor.sandbox.run import Sandbox
from executor.sandbox.shared import SharedDirectories
from executor.sandbox.sharequota import WorkspaceShares
from executor.script import Script, resolve_limits
from executor.settings import MIB, Settings
from executor.storage.database import Database
from executor.walker import Walker
from executor.walker.keys import KeyQueues
from executor.walker.room import Room
from executor.walker.world import Surroundings
from executor.worker import Worker
from executor.workspace.audit import SWEEP_S, Audit
from executor.workspace.library import Library
from executor.workspace.tokens import Right, Token, Tokens, sign_for_job
from executor.workspace.workspaces import DEFAULT, Workspaces

REAP_EVERY_S = 30.0
SETTLE_S = 10.0
KEEP_ALIVE_S = 75
"""How long a client's connection may idle; longer than proxies keep theirs, so that they hang up first."""
TOKEN_AFTER_S = 120.0
"""A job's token may outlast its time limit by this: a container's start, a graceful end."""


@dataclass
class Service:
    """A service that can be started once: its settings and, while it runs, its parts."""

    settings: Settings
    token: str
    token_is_new: bool
    runtimes: Runtimes
    make_parts: Callable[[Settings, Runtimes], Parts] = docker_parts
    stopping_since: float | None = None
    worker: Worker | None = None
    walker: Walker | None = None
    desk: Desk | None = None
    shared: SharedDirectories | None = None
    sandbox: Sandbox | None = None

    @classmethod
    def of(cls, settings: Settings) -> Service:
        """Read the languages and the token; nothing runs yet."""
        datadir.prepare(settings)
        runtimes = scan(settings.runtimes)
        token, is_new = datadir.admin_token(settings)
        return cls(settings, token, is_new, runtimes)

    def serve(self) -> None:
        """Serve HTTP until SIGTERM or SIGINT; running jobs may end first, for `drain_s` seconds.

        Raises ExecutorError when it cannot start.
        """
        app = build(self.running)
        Server(http_config(app, self.settings), self, app.state).run()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Context]:
        """The service's parts, started in order and stopped in reverse."""
        settings = self.settings
        async with AsyncExitStack() as stack:
            stack.enter_context(datadir.exclusive(settings))
            database = Database(settings.resolved_database_url())
            stack.callback(database.close)
            await database.migrate()
            workspaces = Workspaces(database, settings.limits, settings.reach, settings.egress_limits)
            await workspaces.load(now_us())
            library = await Library.open(database, settings)
            tokens = Tokens(database)
            await tokens.load()
            audit = Audit(database, settings.audit_days)
            audit.start()
            stack.push_async_callback(audit.close)
            desk = self.desk = Desk(database, settings.queue_max)
            parts = self.make_parts(settings, self.runtimes)
            stack.callback(parts.engine.close)
            await parts.settle()
            programs = Programs(datadir.programs(settings), settings.programs_mb * MIB)
            programs.sweep()
            slots = make_slots(datadir.slots(settings)) if settings.pool_max else None
            sandbox = self.sandbox = make_sandbox(
                parts,
                datadir.containers(settings),
                datadir.instance(settings),
                str(uuid.uuid4()),
                programs,
                datadir.tools(settings),
                Bounds.of_host(settings.pool_max, settings.pool_memory_share),
                slots,
            )
            sandbox.cleanup.sweep_folders()
            shared = self.shared = make_shared(
                settings, parts, datadir.shared(settings), datadir.instance(settings)
            )
            shares = WorkspaceShares(shared, settings.shared_total_mb * MIB)
            await shares.sweep(partial(database.read, runs.owner))
            workspaces.unfit = parts.engine.unfit
            if (egress := sandbox.egress) is not None:
                workspaces.on_change = lambda workspace: egress.change(
                    workspace, workspaces.reach(workspace), workspaces.egress_limits(workspace)
                )
            worker = self.worker = self._worker(desk, sandbox, workspaces, library, shares)
            requeued = await database.write(requeue_orphans, worker.worker_id)
            await database.write(store.due_after_all, now_us())
            if requeued:
                telemetry.log.info("jobs of a dead worker wait again", count=requeued)
            walker = self.walker = await self._walker(stack, desk, workspaces, library, shares, worker)
            desk.starter, desk.walks = worker, walker
            working = [
                asyncio.create_task(worker.work()),
                asyncio.create_task(walker.work()),
                asyncio.create_task(
                    again_and_again(SWEEP_S, lambda: audit.sweep(now_us()), "old acts could not be forgotten")
                ),
                asyncio.create_task(
                    again_and_again(
                        REAP_EVERY_S, lambda: sandbox.cleanup.reap(nobody), "containers could not be listed"
                    )
                ),
                asyncio.create_task(warm(sandbox, self.runtimes, workspaces)),
                asyncio.create_task(collect_seldom()),
            ]
            stack.push_async_callback(shared.settle, SETTLE_S)
            if slots is not None:
                stack.callback(slots.close)
            stack.push_async_callback(sandbox.close, SETTLE_S)
            stack.push_async_callback(self._stop, working)
            telemetry.log.info("serving", host=settings.host, port=settings.port, worker=worker.worker_id)
            yield Context(
                settings=settings,
                desk=desk,
                workspaces=workspaces,
                library=library,
                runtimes=self.runtimes,
                tokens=tokens,
                audit=audit,
                rates=Rates(settings),
                token=self.token,
                image_of=sandbox.image_of,
                checks=Looks(partial(checks, sandbox, database, self.runtimes, desk, settings.data_dir)),
            )

    def _worker(
        self,
        desk: Desk,
        sandbox: Sandbox,
        workspaces: Workspaces,
        library: Library,
        shares: WorkspaceShares,
    ) -> Worker:
        settings = self.settings
        return Worker(
            sandbox.worker,
            desk,
            sandbox,
            self.runtimes,
            concurrency=settings.concurrency,
            cancel_grace_s=settings.cancel_grace_s,
            engine_wait_s=settings.engine_wait_s,
            base_url=settings.resolved_base_url(),
            workspace_share=workspaces.share,
            workspace_reach=workspaces.reach,
            workspace_egress=workspaces.egress_limits,
            workspace_images=workspaces.images,
            runtime_class=workspaces.runtime_class,
            default_timeout_s=lambda workspace_id: workspaces.bounds(workspace_id).timeout_s.default,
            resolve=library.resolved,
            tell_secrets=library.tell_secrets,
            token_of=partial(token_of, workspaces),
            open_shared=shares.open,
        )

    async def _walker(
        self,
        stack: AsyncExitStack,
        desk: Desk,
        workspaces: Workspaces,
        library: Library,
        shares: WorkspaceShares,
        worker: Worker,
    ) -> Walker:
        limits = FlowLimits.of(self.settings)
        around = Surroundings(
            desk,
            library,
            await stack.enter_async_context(Expressions()),
            workspaces.bounds,
            limits,
            KeyQueues(desk.database),
            shares.close,
            shares.rest,
            worker.expect,
            Room(self.settings.flow_jobs_max, self.settings.flow_mb * MIB),
        )
        return Walker(worker.worker_id, around)

    def stop_taking(self) -> None:
        """Refuse new jobs and start none; safe in a signal handler."""
        self.stopping_since = self.stopping_since or time.monotonic()
        if self.desk is not None:
            self.desk.close()
        if self.worker is not None:
            self.worker.stop_starting()
        if self.walker is not None:
            self.walker.stop_starting()

    async def _stop(self, working: list[asyncio.Task[None]]) -> None:
        self.stop_taking()
        await asyncio.wait(working[:2], timeout=SETTLE_S)  # the queues' loops: they take no further job
        if self.walker is not None:
            await self.walker.drain()
        if self.worker is not None and self.stopping_since is not None:
            spent = time.monotonic() - self.stopping_since
            await self.worker.drain(max(0.0, self.settings.drain_s - spent))
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def http_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the service is served."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.drain_s) + 1,
        lifespan="off",  # it would turn a wrong setting into a traceback; see Server.serve
        access_log=False,
        http=protocol(ConnectionLimits.of(settings)),
        h11_max_incomplete_event_size=settings.header_kb * 1024,
        proxy_headers=settings.proxies is not None,
        forwarded_allow_ips=(settings.proxies or "").split(),
        server_header=False,
    )


class Server(uvicorn.Server):
    """uvicorn, told to drain the worker as soon as the signal comes, not after the last request."""

    def __init__(self, config: uvicorn.Config, service: Service, state: State) -> None:
        super().__init__(config)
        self._service = service
        self._state = state

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve while the service's parts run; signals are ours from the first part's start to the last one's end."""
        with self.capture_signals():
            async with self._service.running() as context:
                self._state.context = context
                await super().serve(sockets)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Called in the signal handler: stop taking jobs, then let the requests finish.

        A second signal ends the requests at once. uvicorn's own handler would also make the process
        die of the signal after an orderly end, which supervisors take for a failure.
        """
        self._service.stop_taking()
        self.force_exit = self.should_exit
        self.should_exit = True


def token_of(workspaces: Workspaces, job: Job) -> str:
    """The token of a job that starts: for its workspace, and no longer than it can run."""
    over = now_us() + round((job.limits.timeout_s + TOKEN_AFTER_S) * 1e6)
    token = Token("", job.created_by, Right.RUN, (job.workspace_id,), expires_at=over, job_id=job.id)
    return sign_for_job(workspaces.get(job.workspace_id).key, token)


def requeue_orphans(connection: Connection, worker_id: str) -> int:
    """Put what a dead worker was running back into the queue; give the number of jobs."""
    orphans = store.orphans(connection, [worker_id])
    for job in orphans:
        store.release(connection, job, job.scheduled_for)
    return len(orphans)


async def nobody(_: str) -> bool:
    """Whether another worker lives: this data directory has one service at a time."""
    return False


async def again_and_again(pause_s: float, act: Callable[[], Awaitable[object]], failed: str) -> None:
    """Act now and after each pause; a failure is logged in the words `failed`. Runs until cancelled."""
    while True:
        try:
            await act()
        except ExecutorError as error:
            telemetry.log.warning(failed, error=str(error))
        await asyncio.sleep(pause_s)


async def warm(sandbox: Sandbox, runtimes: Runtimes, workspaces: Workspaces) -> None:
    """Fill the pool: first one container of each language whose image is there, for the default limits."""
    if sandbox.pool is None:
        return
    limits = resolve_limits({}, workspaces.bounds(DEFAULT))
    for runtime in runtimes:
        order = Order("", runtime, Script(runtime.name, ""), limits, Cancellation(0))
        try:
            await sandbox.warm(order)
            if runtime.compiler is not None:
                await sandbox.warm(order_of(order, Listener()))
        except ExecutorError as error:
            telemetry.log.warning("a language cannot wait booted", language=runtime.name, error=str(error))
    sandbox.pool.start()
