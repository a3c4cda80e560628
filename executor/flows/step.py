"""One module of a flow, from what holds it back to what its result is called.

`Step.run` is a module's life, in the order of docs/openflow.md sections 1.9 and 1.10: the gate and
the sleep of the module before, `skip_if`, the module itself with its retries, and the early stop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from executor.errors import Reason
from executor.flows import gate
from executor.flows.document import InputTransform, Module, StopAfterIf
from executor.flows.retries import wait_s
from executor.flows.status import ModuleStatus
from executor.flows.transforms import StepFailed, View, decided
from executor.flows.values import End, Stop, Value, failed
from executor.flows.world import Place, World

if TYPE_CHECKING:
    from executor.flows.walk import FlowWalk

Kind = Callable[["Step"], Awaitable[End]]
MANY = ("forloopflow", "whileloopflow", "branchall")
"""Modules of many results: their early stop looks at all of them."""
FORGET = "forget"
"""What the journal has under a step with `delete_after_use`."""


@dataclass(frozen=True)
class Behind:
    """What a module finds before it: the module, how it ended, and what follows from it."""

    module: Module | None
    end: End


@dataclass(frozen=True)
class Step:
    """One module at one place of one walk; `attempt` counts its retries."""

    walk: FlowWalk
    module: Module
    status: ModuleStatus
    base_path: str
    behind: Behind
    kinds: Mapping[str, Kind]
    view: View
    attempt: int = 0
    is_begun: bool = False
    """The time before it is over, and whether to skip it is known."""
    is_skipped: bool = False

    @property
    def world(self) -> World:
        """The outside."""
        return self.walk.world

    @property
    def path(self) -> str:
        """Its place in the run, this attempt's own."""
        return f"{self.base_path}#{self.attempt}" if self.attempt else self.base_path

    @property
    def previous(self) -> Value:
        """The previous step's result."""
        return self.view.previous

    def place(self, below: str = "", *, job_path: str | None = None) -> Place:
        """The place of a job of this step."""
        return Place(
            self.path + below, self.walk.job, self.module.id, job_path or self.walk.job_path(self.module.id)
        )

    def has_job(self, job: str, is_running: bool) -> None:
        """The module has a script's job, which runs or waits for its turn."""
        self.status.type = "InProgress" if is_running else "WaitingForExecutor"
        self.status.job, self.status.progress = job, None
        self.walk.changed()

    async def run(self) -> End:
        """Run the module and close it."""
        if self.module.delete_after_use:
            await self._mark_forgotten()
        try:
            step = await self._let_through()
        except gate.Refused as refusal:
            return replace(await self._close(refusal.end), caught=False)
        end = await step._with_retries()
        if end.value.job is None:
            await self._keep(end)
        return await step._close(end)

    async def _mark_forgotten(self) -> None:
        """Say which jobs are to be scrubbed when the run has ended, whoever ends it."""

        async def act() -> bytes:
            return self.module.id.encode()

        await self.world.once(f"{self.base_path}/{FORGET}", act)

    async def _let_through(self) -> Step:
        """Wait for the gate of the module before; the step that sees the approvals."""
        before = self.behind.module
        if before is None:
            return self
        approvals = await gate.passed(self, before)
        return replace(self, view=replace(self.view, approvals=approvals))

    async def _begun(self) -> Step:
        """Let the time pass that the module before asked for, then decide whether to skip this one.

        Both once; but an attempt that fails at it, fails, and the next one tries it again.
        """
        if self.is_begun:
            return self
        before = self.behind.module
        if before is not None and before.sleep is not None and not self.behind.end.skipped:
            await self._sleep(before.sleep)
        return replace(self, is_begun=True, is_skipped=await self._must_skip())

    async def _sleep(self, seconds: InputTransform) -> None:
        async def wake() -> bytes:
            text = await self.view.seconds_after(seconds, self.previous)
            return str(self.world.now() + int(_seconds(text) * 1e6)).encode()

        await until(self.world, int(await self.decided("sleep", wake)))

    async def _must_skip(self) -> bool:
        condition = self.module.skip_if
        if condition is None:
            return False

        async def act() -> bytes:
            return b"1" if await self.view.holds(condition.expr) else b"0"

        return await self.decided("skip", act) == b"1"

    async def decided(self, name: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
        """What `act` gave, or its StepFailed, when this attempt of the step asked for `name` first."""
        return await decided(self.world, f"{self.path}/{name}", act)

    # ------------------------------------------------------------ runs and retries

    async def _with_retries(self) -> End:
        """Run the module, again as often as its retry policy says."""
        step = self
        self.walk.status.forget_retries()
        while True:
            try:
                step = await step._begun()
                end = await step._attempt()
            except StepFailed as failure:
                end = failure.end.of_step(self.module.id)
            if end.ok or end.final or end.stop is not None:
                return end
            wake = await step._next_try(end)
            if wake is None:
                return end
            self._note_retry(step.attempt + 1, end.job)
            await until(self.world, wake)
            self.status.begin_again()
            step = replace(step, attempt=step.attempt + 1)

    def _note_retry(self, failures: int, job: str | None) -> None:
        flow = self.walk.status
        flow.fail_count = failures
        if job is not None:
            self.status.failed_retries.append(job)
            flow.failed_jobs.append(job)
        self.walk.changed()

    async def _attempt(self) -> End:
        """One run of the module and its early stop; raises StepFailed for an expression that fails."""
        if self.is_skipped:
            return replace(await self.kinds["identity"](self), skipped=True)
        kind = "identity" if self.module.mock.enabled else self.module.value.type
        return await self._stopped_early(await self.kinds[kind](self))

    async def _next_try(self, end: End) -> int | None:
        """When the failed step is to run again, in microseconds; None if it is not."""

        async def act() -> bytes:
            wait = wait_s(self.module.retry, self.attempt, self.world.random())
            if wait is None or not await self._may_retry(end):
                return b"0"
            return str(self.world.now() + int(wait * 1e6)).encode()

        if not self.retries:
            return None
        return int(await self.world.once(f"{self.path}/retry", act)) or None

    @property
    def retries(self) -> bool:
        """Whether a failure may be tried again at all."""
        return bool(self.module.retry.constant.attempts or self.module.retry.exponential.attempts)

    async def _may_retry(self, end: End) -> bool:
        condition = self.module.retry.retry_if
        if condition is None:
            return True
        try:
            return await self.view.may_retry(condition.expr, end.value)
        except StepFailed:
            return False

    # ------------------------------------------------------------ the end

    async def _stopped_early(self, end: End) -> End:
        """The early stop that the module asks for after its success, if any."""
        if not end.ok or end.stop is not None:
            return end
        module = self.module
        stops = []
        if module.value.type in MANY:
            if module.stop_after_all_iters_if:
                stops.append(("stop-all", module.stop_after_all_iters_if))
        elif module.stop_after_if:
            stops.append(("stop", module.stop_after_if))
        for name, stop in stops:
            if await self.stop_holds(name, stop, end.value):
                return stopped(stop, end)
        return end

    async def stop_holds(
        self, name: str, stop: StopAfterIf, result: Value, all_iters: bytes | None = None
    ) -> bool:
        """Whether an early stop's predicate is true of a result; evaluated once."""

        async def act() -> bytes:
            return b"1" if await self.view.holds_after(stop.expr, result, all_iters) else b"0"

        return await self.decided(name, act) == b"1"

    async def _keep(self, end: End) -> None:
        """A result that is no job's is kept under the step's own path, for those who ask by its id."""

        async def act() -> bytes:
            return await self.world.text(end.value)

        await self.world.once(f"{self.base_path}/result", act)

    async def _close(self, end: End) -> End:
        """Put the end where readers and later steps find it."""
        self.walk.results.put(self.module.id, end.value)
        self.status.type = "Success" if end.ok else "Failure"
        self.status.job = end.job or self.status.job
        self.status.skipped = end.skipped
        if end.ok:
            self.walk.status.forget_retries()
        self.walk.changed()
        await self.walk.ended(self.module.id, end)
        if not end.ok and not end.final and end.stop is None and self.module.continue_on_error:
            return replace(end, caught=True)
        return end


def stopped(stop: StopAfterIf, end: End) -> End:
    """The end of a step whose early stop holds: the flow's end, or its failure."""
    if stop.error_message is not None and not stop.skip_if_stopped:
        message = stop.error_message or f"stop after if: {stop.expr}"
        failure = failed(Reason.SCRIPT_ERROR, message, "EarlyStopError")
        return replace(end, value=failure.value, ok=False, stop=Stop(is_skip=False))
    return replace(end, stop=Stop(is_skip=stop.skip_if_stopped))


def _seconds(text: bytes) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e10:
        shown = text.decode()[:100]
        raise StepFailed(
            failed(Reason.BAD_INPUT, f"Expected an integer (seconds) in the sleep expression, found: {shown}")
        )
    return number


async def until(world: World, when: int) -> None:
    """Rest until a time, in microseconds since 1970."""
    if when > world.now():
        await world.activity.rest(until=when)
