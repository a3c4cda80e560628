"""What is asked of the sandbox: one script to run, and what a container for it is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from executor.reach import USUAL_LIMITS, EgressLimits, Reach
from executor.runtimes import Runtime
from executor.sandbox.blank import Blank
from executor.sandbox.conversation import Cancellation
from executor.sandbox.frames import job_line
from executor.sandbox.holders import Joined
from executor.sandbox.shared import SharedDirectory
from executor.sandbox.spec import Bind, ContainerSpec, Place, Volume
from executor.script import Isolation, Limits, Script

INLINE_ARGS_BYTES_MAX = 1024 * 1024
INBOX = "/executor/in"
ARGS_FILE = "args.json"
PROGRAM_FILE = "program"
COMPILERS = 3
"""How many compilers may wait."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Listener:
    """What a run tells while it goes on; all optional."""

    claimed: Callable[[Isolation], Awaitable[None]] | None = None
    """Awaited before the script starts; the lease is committed here."""
    log: Told | None = None
    stream: Told | None = None


@dataclass(frozen=True)
class Order:
    """One script to run once: under which container name, with which limits, told to whom."""

    name: str
    runtime: Runtime
    script: Script
    limits: Limits
    cancellation: Cancellation
    listener: Listener = Listener()
    workspace: str = "main"
    role: Literal["job", "compile"] = "job"
    shared: SharedDirectory | None = None
    """The run's directory at /shared; without one the job has an empty one of its own."""
    reach: tuple[Reach, ...] = ()
    """What the script may reach if its language has egress; nothing else is ever reached."""
    egress_limits: EgressLimits = USUAL_LIMITS
    """How much all jobs of the workspace together may ask of the network."""
    images: tuple[str, ...] | None = None
    """Patterns of the images that the workspace's policy allows; None: all that the instance does."""
    runtime_class: str | None = None
    """The OCI runtime that the workspace's policy wants; None: whichever suits best."""

    @property
    def args_as_file(self) -> bool:
        """Whether the arguments are too big to travel in the job frame."""
        return len(self.script.args) > INLINE_ARGS_BYTES_MAX

    @property
    def has_luggage(self) -> bool:
        """Whether the container needs files of the job's own."""
        return self.args_as_file or self.runtime.compiler is not None

    def job_line(self) -> bytes:
        """The frame that starts the script."""
        limits = self.limits
        return job_line(
            script=self.script.content,
            args=None if self.args_as_file else self.script.args,
            args_file=ARGS_FILE if self.args_as_file else None,
            env=self.script.env,
            limits={
                "timeout_s": limits.timeout_s,
                "log_bytes": limits.log_bytes,
                "result_bytes": limits.result_bytes,
            },
        )


def blank_spec(order: Order, place: Place, joined: Joined) -> ContainerSpec:
    """What a container for the order is made of, all but its name, its own directory and its labels."""
    shared = order.shared.mount if order.shared else None
    return ContainerSpec(
        name="",
        image=place.image,
        hardening=place.hardening,
        entrypoint=place.entrypoint,
        environment=place.environment,
        folder=place.folder,
        binds=(*place.binds, *((shared,) if isinstance(shared, Bind) else ()), *joined.binds),
        volumes=(shared,) if isinstance(shared, Volume) else (),
        network=joined.network,
        runtime_class=order.runtime_class,
    )


def kind_of(order: Order, blank: ContainerSpec, joined: Joined, workspace: str) -> Blank:
    """What the pool is asked for; a compiler takes so long that few of them are ever missed."""
    if order.role == "compile":
        return Blank(blank, f"{order.runtime.name} build", workspace, joined.reach, COMPILERS)
    return Blank(blank, label(order.runtime, shared=blank.slot), workspace, joined.reach)


def label(runtime: Runtime, *, shared: bool) -> str:
    """How the pool calls containers of a language: those with a slot are others than those without."""
    return f"{runtime.name} shared" if shared else runtime.name
