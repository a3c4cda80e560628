"""What a walk may do and learn. Whoever starts a walk gives it one of these.

Everything that could differ between two walks of the same run comes through here, and is recalled
when the run is walked again: `once` for decisions, jobs by their place in the run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from executor.flows.activity import Activity
from executor.flows.document import Flow
from executor.flows.expressions.places import Place as ExpressionPlace
from executor.flows.expressions.scope import Scope
from executor.flows.status import FlowStatus
from executor.flows.values import NO_ARGS, Args, End, Value


@dataclass(frozen=True)
class Place:
    """Where in its run a job belongs: `path` is unique in the run and the same in every walk."""

    path: str
    parent: str
    step_id: str | None
    job_path: str | None
    """What the job shows as `script_path`."""


@dataclass(frozen=True)
class Concurrency:
    """At most `limit` jobs of one key at once; with a window, so many starts in it."""

    limit: int
    window_s: float
    key: str | None


@dataclass(frozen=True)
class ScriptCall:
    """A script to run as a step."""

    place: Place
    kind: str
    language: str = ""
    content: str = ""
    args: Args = NO_ARGS
    lock: str | None = None
    hash: str | None = None
    tag: str | None = None
    priority: int | None = None
    timeouts_s: tuple[float, ...] = ()
    """Time limits that it asks for: the first that the instance allows counts."""
    cache_ttl_s: float | None = None
    concurrency: Concurrency | None = None


@dataclass(frozen=True)
class StoredScript:
    """A script of the workspace."""

    path: str
    hash: str
    language: str
    content: str
    lock: str | None = None
    tag: str | None = None
    priority: int | None = None
    cache_ttl_s: float | None = None
    timeout_s: float | None = None
    concurrent_limit: int | None = None
    concurrency_window_s: float | None = None
    concurrency_key: str | None = None


@dataclass(frozen=True)
class Event:
    """An approval, or a disapproval, of a gated step."""

    resume_id: int
    is_approved: bool
    approver: str | None
    payload: bytes


@dataclass(frozen=True)
class StoredFlow:
    """A flow of the workspace, and the text that it was read from."""

    flow: Flow
    text: str


class World(Protocol):
    """The outside of one walk."""

    activity: Activity
    iterations_max: int
    depth_max: int
    """How deep flows may call flows."""
    result_bytes_max: int
    """How large the array may be that the results of a loop or branchall make."""
    started_at: int
    """When the run began, in microseconds since 1970."""
    scheduled_for: str
    """When it was to begin: RFC 3339, UTC."""

    async def once(self, path: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
        """What `act` gave when this run came to `path` first; JSON, or any bytes."""

    async def text(self, value: Value) -> bytes:
        """A value's JSON text, from where it is stored if need be."""

    async def evaluate(
        self, expr: str, scope: Scope, place: ExpressionPlace, *, as_boolean: bool = False
    ) -> bytes:
        """The value of an expression as JSON; raises ExpressionFailed."""

    def heavy_turn(self) -> AbstractAsyncContextManager[None]:
        """A turn to hold large values for an expression; `evaluate` is called inside."""

    async def recalled(self, path: str, shown: Callable[[str, bool], None]) -> End | None:
        """How the script's job at this place of the run ends, if there is one already.

        `shown` is told the job's id, and whether the script runs, while it has not ended.
        """

    async def script(self, call: ScriptCall, shown: Callable[[str, bool], None]) -> End:
        """Run a script as a job of its own; `shown` as for `recalled`."""

    async def ended_script(self, call: ScriptCall, end: End) -> End:
        """The job of a script that need not run: it is there, and has ended so."""

    def expect(self, languages: Mapping[str, int]) -> None:
        """So many scripts of these languages will probably come soon, one after another or at once."""

    async def engine_job(
        self, place: Place, args: Args, end: Callable[[], Awaitable[End]], kind: str = "identity"
    ) -> End:
        """A job that needs no container: it is completed as soon as `end` is known."""

    def no_room(self, path: str) -> str | None:
        """Why there can be no job at this place of the run, as it has too many; None if there can, or is one."""

    def hold(self, path: str, args: Args) -> str | None:
        """The step at this place has these arguments from now on; why it cannot, as the run would hold too much."""

    async def begin_flow(self, place: Place, args: Args) -> str:
        """A branch or an iteration begins, or is recalled; its job's id."""

    async def begin_inner(self, place: Place, stored: StoredFlow, args: Args) -> str:
        """As `begin_flow`, for a flow with a document of its own; it waits as long as its limit says."""

    def took(self, job: str) -> tuple[str | None, int | None]:
        """When a flow job began (RFC 3339, UTC), and how many milliseconds it took, as far as it has."""

    async def kept_result(self, stored: StoredFlow, path: str, args: Args) -> bytes | None:
        """The result that an earlier run of the flow at `path` has left for this input."""

    def keep_result(self, job: str, stored: StoredFlow, path: str, args: Args) -> None:
        """Leave the result of an inner flow's job for later runs of that flow."""

    def suspended(self, job: str, missing: int, until: int | None = None) -> None:
        """A flow job waits for so many events until then; with 0 for none any more."""

    async def end_flow(self, job: str, end: End, status: FlowStatus) -> None:
        """It has ended so."""

    async def replace_args(self, job: str, args: Args) -> None:
        """The run's arguments are what its preprocessor made of them."""

    async def events(self, job: str) -> list[Event]:
        """The events of a gated step's job so far, oldest first."""

    async def script_at(self, path: str, hash: str | None) -> StoredScript | None:
        """A script of the workspace, the version `hash` or the latest."""

    async def flow_at(self, path: str, place: str) -> StoredFlow | None:
        """A flow of the workspace; at the same place of a run it is the same one in every walk."""

    async def variable(self, path: str) -> bytes:
        """A variable's value; raises ExpressionCallFailed."""

    async def resource(self, path: str) -> bytes:
        """A resource's value, what it names resolved; raises ExpressionCallFailed."""

    def show_status(self, job: str, status: FlowStatus) -> None:
        """A flow job's status is this object from now on; readers are served from it."""

    async def step_ended(self, step_id: str, end: End) -> None:
        """A step of the run's own document, in a branch or loop of it too, has its result."""

    def status_changed(self, job: str) -> None:
        """Readers who follow the flow job have news."""

    def now(self) -> int:
        """The time, in microseconds since 1970."""

    def random(self) -> float:
        """A number from 0 to 1, for jitter."""
