"""Runs jobs in this process: takes a slot, a lease, the sandbox, and records the end.

A job's life here is `_run`: from a committed lease to its one final state. If the process dies on
the way, the lease shows it, and the next start's sweep puts the job back into the queue.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from executor import telemetry
from executor.errors import EngineError, EngineTransient, ExecutorError, Reason, SharedFull, Unavailable
from executor.jobs import cache, store
from executor.jobs.desk import Desk, log_of_run
from executor.jobs.dispatch import Dispatch, Dispatched
from executor.jobs.ending import Ending, after, canceled, ending, infrastructure, labels_of, without_secrets
from executor.jobs.environment import environment
from executor.jobs.job import Job, OutputKind, Status, now_us
from executor.jobs.leases import Completion, LastWord, LeaseLost, ReturnToQueue, give_up
from executor.jobs.live import LiveJob
from executor.jobs.outage import Outage
from executor.jobs.slots import Slots
from executor.reach import EgressLimits, Reach
from executor.runtimes import Runtimes
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.run import Sandbox
from executor.sandbox.shared import SharedDirectory
from executor.script import Failed, Isolation, Outcome, Script, Usage
from executor.storage.database import insist
from executor.workspace.references import Unresolved

ATTEMPTS_MAX = 3
"""Runs of one script that may be lost to our own trouble before the job fails."""
RETRY_US = 1_000_000
NOTE_S = 0.1
"""A script that runs for so long has its container stored while it runs; of others their end tells."""
GIVE_BACK_S = 10.0
"""How long jobs that are cut off at the end may take to be put back into the queue."""

Resolve = Callable[[str, bytes, Mapping[str, str], Collection[str], Callable[[str], None]], Awaitable[bytes]]
"""`executor.workspace.library.Library.resolved`; raises Unresolved."""
TellSecrets = Callable[[str, Collection[str], Callable[[str], None]], Awaitable[None]]
"""`executor.workspace.library.Library.tell_secrets`."""


class Worker(Dispatched):
    """`executor.jobs.runners.Starter`: at most `concurrency` jobs at once, fewer per workspace by policy."""

    def __init__(
        self,
        worker_id: str,
        desk: Desk,
        sandbox: Sandbox,
        runtimes: Runtimes,
        *,
        concurrency: int,
        cancel_grace_s: float,
        engine_wait_s: float,
        base_url: str,
        workspace_share: Callable[[str], int | None],
        workspace_reach: Callable[[str], tuple[Reach, ...]],
        workspace_egress: Callable[[str], EgressLimits],
        workspace_images: Callable[[str], tuple[str, ...] | None],
        runtime_class: Callable[[str], str | None],
        default_timeout_s: Callable[[str], float],
        resolve: Resolve,
        tell_secrets: TellSecrets,
        token_of: Callable[[Job], str],
        open_shared: Callable[[str, str], Awaitable[SharedDirectory]] | None = None,
    ) -> None:
        self.worker_id = worker_id
        self._desk = desk
        self._sandbox = sandbox
        self._runtimes = runtimes
        self._cancel_grace_s = cancel_grace_s
        self._outage = Outage(engine_wait_s)
        self._base_url = base_url
        self._workspace_reach = workspace_reach
        self._workspace_egress = workspace_egress
        self._workspace_images = workspace_images
        self._runtime_class = runtime_class
        self._default_timeout_s = default_timeout_s
        self._open_shared = open_shared
        self._resolve = resolve
        self._tell_secrets = tell_secrets
        self._token_of = token_of
        slots = Slots(concurrency, workspace_share)
        self._dispatch = Dispatch("script", worker_id, desk.database, slots, self.start)
        self._tasks: set[asyncio.Task[None]] = set()

    def expect(self, workspace_id: str, language: str, count: int, shared: bool) -> None:
        """So many jobs of the language will soon come from the workspace, with a run's directory or without."""
        runtime = self._runtimes.find(language)
        if runtime is not None:
            self._sandbox.expect(runtime, workspace_id, count, shared=shared)

    def start(self, job: Job, args: bytes, log_chars: int | None = None) -> None:
        """Run a leased job in a task of its own; `log_chars`, where known, are in its log already."""
        changed = self._desk.changed
        of_run = log_of_run(job.run_id or job.id)
        live = LiveJob(job.id, lambda: changed(job.id), lambda: changed(of_run), job.workspace_id)
        self._desk.live[job.id] = live  # before anybody else's turn: who cancels it from now on finds it
        self._in_background(self._run(job, args, live, log_chars), name=f"job {job.id}")

    def _in_background(self, act: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(act, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ one job

    async def _run(self, job: Job, args: bytes, live: LiveJob, log_chars: int | None) -> None:
        """See a leased job to its end, or give the lease back."""
        telemetry.jobs_running.inc()
        keeping = asyncio.create_task(live.keep(self._desk.database))
        try:
            word = await self._one_run(job, args, live, log_chars)
            live.close()
            await keeping
            await self._give_up(job, word, live)
        except LeaseLost:
            telemetry.log.warning("lease lost; the run is dropped", job=job.id, attempt=job.attempt)
        finally:
            keeping.cancel()
            live.close()
            self._desk.live.pop(job.id, None)
            self._desk.changed(job.id)
            self._desk.changed(log_of_run(job.run_id or job.id))
            self.unreserve(job.workspace_id)
            telemetry.jobs_running.dec()

    async def _give_up(self, job: Job, word: LastWord, live: LiveJob) -> None:
        """Store the run's end; one that cannot be stored for a bug of ours is stored as that."""
        now = now_us()
        write = self._desk.database.write
        try:
            word = await insist(partial(write, give_up, job, word, live.waiting(), now))
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not stay without an end
            telemetry.log.exception("BUG: a run's end could not be stored", job=job.id)
            word = Completion(infrastructure(f"the end could not be stored: {type(error).__name__}"))
            word = await insist(partial(write, give_up, job, word, [], now))
        if isinstance(word, Completion):
            live.ended = (after(job, word.end, now), word.end.result)
            count(job, word.end)
        else:
            self.queued(job.workspace_id, word.not_before)

    async def _one_run(self, job: Job, args: bytes, live: LiveJob, log_chars: int | None) -> LastWord:
        """Run the job's script once; give what is to be stored of it, together with its last output."""
        try:
            await self._continue_output(job, live, log_chars)
            self._desk.changed(job.id)
            end = await self._end_of(job, args, live)
            return Completion(end, live.isolation)
        except LeaseLost:
            raise
        except asyncio.CancelledError:  # we are stopping: somebody else runs it
            return ReturnToQueue(job.scheduled_for, ran=live.isolation is not None)
        except (EngineTransient, Unavailable) as error:
            return await self._after_loss(job, live, error)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave a job without an end
            telemetry.log.exception("BUG: a run failed in an unforeseen way", job=job.id)
            return Completion(infrastructure(f"{type(error).__name__}: {error}"), live.isolation)

    async def _continue_output(self, job: Job, live: LiveJob, log_chars: int | None) -> None:
        """Output follows what is there: of a lost run, or what its submission says."""
        if log_chars is not None:
            live.texts["log"].stored = log_chars
            return
        kinds: tuple[OutputKind, ...] = ("log", "stream") if job.attempt > 1 else ("log",)
        for kind in kinds:
            _, live.texts[kind].stored = await insist(partial(self._desk.stored_output, job.id, kind))
        if job.attempt > 1:
            live.tell("log", f"--- RUN {job.attempt}: the one before was lost ---\n")

    async def _end_of(self, job: Job, args: bytes, live: LiveJob) -> Ending:
        """Run the job's script; raises EngineTransient if it is unknown whether it ran."""
        runtime = self._runtimes.find(job.language)
        if runtime is None:
            return infrastructure(f"this instance has no runtime for {job.language!r} any more")
        if job.canceled_by is not None:  # asked for before our predecessor died
            return canceled(job.canceled_by, job.canceled_reason or "")
        if (kept := await self._kept_result(job)) is not None:
            return kept
        token = self._token_of(job)
        live.redactor.add(token)
        if job.secrets is not None:
            await self._tell_secrets(job.workspace_id, json.loads(job.secrets), live.redactor.add)
        env = environment(job, self._base_url, token)
        named = runtime.resources_of(job.content)
        try:
            args = await self._resolve(job.workspace_id, args, env, named, live.redactor.add)
        except Unresolved as error:
            return ending(Failed(Reason.BAD_INPUT, str(error)), job.limits.timeout_s, job.step_id)
        cancellation = Cancellation(self._cancel_grace_s, live.cancel_asked)
        order = Order(
            name=f"executor-{job.id}-{secrets.token_hex(4)}",  # the one of an earlier try may still be removed
            runtime=runtime,
            script=Script(job.language, job.content, args, env),
            limits=job.limits,
            cancellation=cancellation,
            listener=Listener(
                claimed=lambda isolation: self._claimed(job, live, isolation),
                log=live.log,
                stream=lambda text: live.tell("stream", text),
            ),
            workspace=job.workspace_id,
            reach=self._workspace_reach(job.workspace_id),
            egress_limits=self._workspace_egress(job.workspace_id),
            images=self._workspace_images(job.workspace_id),
            runtime_class=self._runtime_class(job.workspace_id),
        )
        try:
            outcome = await self._run_order(job, order)
        except EngineTransient:
            raise
        except (EngineError, SharedFull) as error:
            return infrastructure(str(error))
        if live.cancel_asked.is_set():
            return await self._canceled(job, outcome.usage)
        if isinstance(outcome, Failed) and outcome.reason is Reason.CANCELLED:
            raise EngineTransient(outcome.message)  # its stream was lost, nobody asked for the end
        end = ending(self._of_instance(job, outcome), job.limits.timeout_s, job.step_id)
        return end if end.status is Status.SUCCESS else without_secrets(end, live.redactor)

    def _of_instance(self, job: Job, outcome: Outcome) -> Outcome:
        """The outcome; a time limit that nobody has asked for is called the instance's."""
        if not isinstance(outcome, Failed) or outcome.reason is not Reason.TIMEOUT:
            return outcome
        if outcome.timeout_s is not None or job.limits.timeout_s != self._default_timeout_s(job.workspace_id):
            return outcome
        return replace(outcome, message=outcome.message.replace("job-specific", "instance-wide job"))

    async def _kept_result(self, job: Job) -> Ending | None:
        """The end of a script whose result is kept from an earlier job; a walk has looked already."""
        if job.cache_key is None or job.run_id is not None:
            return None
        find = partial(cache.find, workspace_id=job.workspace_id, key=job.cache_key, now=now_us())
        text = await insist(partial(self._desk.database.read, find))
        return None if text is None else Ending(Status.SUCCESS, text, labels=labels_of(text))

    async def _run_order(self, job: Job, order: Order) -> Outcome:
        """Run it, with its run's shared directory if it is to have that.

        What the script has written there is on the disk before its end is known to anybody.
        """
        if not job.shared or job.run_id is None or self._open_shared is None:
            return await self._sandbox.run(order)
        shared = await self._open_shared(job.run_id, job.workspace_id)
        outcome = await self._sandbox.run(replace(order, shared=shared))
        await shared.sync()
        return outcome

    async def _claimed(self, job: Job, live: LiveJob, isolation: Isolation) -> None:
        """The script is about to run there, under the lease that was committed when it began."""
        live.isolation = isolation
        asyncio.get_running_loop().call_later(NOTE_S, self._note_container, job, live, isolation)

    def _note_container(self, job: Job, live: LiveJob, isolation: Isolation) -> None:
        if not live.closed:
            self._in_background(self._noted(job, isolation), name=f"note of job {job.id}")

    async def _noted(self, job: Job, isolation: Isolation) -> None:
        """Store where a script runs that takes a while."""
        with suppress(Unavailable):  # its end will say so too
            await self._desk.database.write(store.note_container, job, isolation)
            self._desk.changed(job.id)

    async def _after_loss(self, job: Job, live: LiveJob, error: ExecutorError) -> LastWord:
        """The run was lost, or could not begin: the job waits again, unless that happened too often."""
        if live.cancel_asked.is_set():
            return Completion(await self._canceled(job), live.isolation)
        ran = live.isolation is not None or not self._outage.is_bearable(error)
        what = "a run was lost" if ran else "a run could not begin"
        telemetry.log.warning(what, job=job.id, attempt=job.attempt, error=str(error))
        if ran and job.attempt >= ATTEMPTS_MAX:
            return Completion(infrastructure(str(error)), live.isolation)
        if not ran and not live.texts["log"].length:
            live.tell("log", f"--- WAITS for the container engine: {error} ---\n")
        return ReturnToQueue(now_us() + RETRY_US, ran)

    async def _canceled(self, job: Job, usage: Usage = Usage()) -> Ending:
        """Who cancelled the job, and why, is in its row."""
        stored = await insist(lambda: self._desk.get(job.workspace_id, job.id))
        return canceled(stored.canceled_by or "unknown", stored.canceled_reason or "", usage)

    # ------------------------------------------------------------ the end

    async def drain(self, timeout_s: float) -> None:
        """Let what runs end within `timeout_s` seconds, put the rest back into the queue."""
        self.stop_starting()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GIVE_BACK_S)


def count(job: Job, end: Ending) -> None:
    """Tell the metrics of a job's end."""
    telemetry.jobs_ended.labels(job.language, end.status.value, end.reason or "").inc()
    telemetry.job_seconds.labels(job.language).observe((now_us() - (job.started_at or now_us())) / 1e6)
