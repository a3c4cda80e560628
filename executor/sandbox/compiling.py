"""From a script to its program: reused if it was compiled before, else compiled in a container.

The compiler's container is like any script's, with the manifest's limits and without network; the
program is its result. Two jobs that need the same program at the same time wait for one compiler.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from executor import telemetry
from executor.errors import EngineError, Reason
from executor.runtimes import CompileLimits, Runtime
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.sandbox.programs import Programs, write_program
from executor.script import Failed, Limits, Outcome, Script

Run = Callable[[Order], Awaitable[Outcome]]
ABOUT_THE_SCRIPT = (Reason.SCRIPT_ERROR, Reason.DEPENDENCY_ERROR)


@dataclass(frozen=True)
class Refused:
    """Why there is no program, and what the compiler said."""

    failed: Failed
    log: str


@dataclass
class Compilation:
    """A compilation under way, and how many jobs wait for it; without any it is given up."""

    task: asyncio.Task[bytes | Refused]
    waiting: int = 0


class Compiling:
    """`executor.sandbox.run.Compiler`; without `programs` nothing is kept."""

    def __init__(self, image_of: Callable[[Runtime], Awaitable[str]], programs: Programs | None) -> None:
        self._image_of = image_of
        self._programs = programs
        self._under_way: dict[tuple[str, str], Compilation] = {}

    async def provide(self, order: Order, run: Run, target: Path) -> Failed | None:
        """Put the order's program at `target`, or say why there is none."""
        compiler = order.runtime.compiler
        if compiler is None:
            raise AssertionError(f"BUG: {order.runtime.name} does not compile")
        key = program_key(await self._image_of(compiler), compiler, order.script)
        if await asyncio.to_thread(self._take, order.workspace, key, target):
            telemetry.programs_reused.labels(order.runtime.name).inc()
            return None
        made = await self._made(order, key, run)
        match made:
            case None:
                return Failed(Reason.CANCELLED, "the job was cancelled")
            case Refused(failed, log):
                _tell(order, log)
                return failed
            case bytes():
                await asyncio.to_thread(self._place, order.workspace, key, made, target)
                return None

    async def _made(self, order: Order, key: str, run: Run) -> bytes | Refused | None:
        """What comes of the compilation, started here unless it is under way; None once cancelled."""
        place = (order.workspace, key)
        compilation = self._under_way.get(place)
        if compilation is None:
            task = asyncio.create_task(self._compile(order, key, run), name=f"compile {key[:12]}")
            compilation = self._under_way[place] = Compilation(task)
        compilation.waiting += 1
        cancelled = asyncio.create_task(order.cancellation.asked.wait())
        try:
            await asyncio.wait({compilation.task, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            return None if cancelled.done() else compilation.task.result()
        finally:
            cancelled.cancel()
            compilation.waiting -= 1
            if compilation.task.done() or not compilation.waiting:
                compilation.task.cancel()
                if self._under_way.get(place) is compilation:
                    del self._under_way[place]

    async def _compile(self, order: Order, key: str, run: Run) -> bytes | Refused:
        """Compile once, and keep the program."""
        log: list[str] = []
        compile_order = order_of(order, Listener(log=log.append))
        began = time.monotonic()
        outcome = await run(compile_order)
        telemetry.compile_seconds.labels(order.runtime.name).observe(time.monotonic() - began)
        if isinstance(outcome, Failed):
            return Refused(as_of_the_compiler(outcome, compile_order), "".join(log))
        return await asyncio.to_thread(self._keep, order, key, outcome.value)

    def _keep(self, order: Order, key: str, value: bytes) -> bytes:
        program = decoded(value, order.runtime)
        if self._programs is not None:
            try:
                self._programs.put(order.workspace, key, program)
            except OSError as error:
                telemetry.log.warning("a program cannot be kept", error=str(error))
        return program

    def _take(self, workspace: str, key: str, target: Path) -> bool:
        return self._programs is not None and self._programs.take(workspace, key, target)

    def _place(self, workspace: str, key: str, program: bytes, target: Path) -> None:
        if self._take(workspace, key, target):
            return
        try:  # it is not kept, or gone again already
            write_program(target, program)
        except OSError as error:
            raise EngineError(f"the program cannot be written: {error}") from error


def program_key(image: str, compiler: Runtime, script: Script) -> str:
    """What a program depends on: the toolchain, which the image's tag tells, its flags, the source."""
    whole = [image, compiler.manifest.source, list(compiler.manifest.runner), script.content]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def order_of(order: Order, listener: Listener) -> Order:
    """The compiler's own order: a run without arguments and environment, under the manifest's limits."""
    compiler, how = order.runtime.compiler, order.runtime.manifest.compile
    if compiler is None or how is None:
        raise AssertionError(f"BUG: {order.runtime.name} does not compile")
    return Order(
        name=f"executor-compile-{uuid.uuid4()}",
        runtime=compiler,
        script=Script(order.script.language, order.script.content),
        limits=limits_of(how.limits),
        cancellation=Cancellation(grace_s=0),
        listener=listener,
        workspace=order.workspace,
        role="compile",
    )


def limits_of(asked: CompileLimits) -> Limits:
    """The manifest's limits on this host, which may have fewer cores."""
    limits = Limits(**asked.model_dump())
    return replace(limits, cpus=min(limits.cpus, float(os.cpu_count() or 1)))


def as_of_the_compiler(failed: Failed, order: Order) -> Failed:
    """The failure, saying that it is the compiler's where its message does not."""
    if failed.reason in ABOUT_THE_SCRIPT:
        return failed
    timeout_s = order.limits.timeout_s if failed.reason is Reason.TIMEOUT else None
    message = f'in "{order.runtime.manifest.label}": {failed.message}'
    return replace(failed, message=message, timeout_s=timeout_s)


def decoded(value: bytes, runtime: Runtime) -> bytes:
    """The program in a compiler's result."""
    try:
        return base64.b64decode(json.loads(value), validate=True)
    except (ValueError, TypeError) as error:
        raise EngineError(f"the compiler of {runtime.name} gave no program: {error}") from error


def _tell(order: Order, log: str) -> None:
    """What the compiler said is the job's log, within the job's limit of it."""
    if log and order.listener.log is not None:
        order.listener.log(log.encode()[: order.limits.log_bytes].decode("utf-8", "ignore"))
