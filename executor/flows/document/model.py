"""The OpenFlow document as types: steps, modules, flows (docs/openflow.md section 1).

Values only: what they mean is the walk's. Every field has its documented default, null counts as
absent, and fields that we do not know are ignored. `read_flow` makes these from JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo

from executor.flows.document.parts import (
    BlankOrName,
    Condition,
    InputTransform,
    Limit,
    Mock,
    Name,
    Part,
    PositiveNumber,
    Priority,
    Retry,
    Seconds,
    StopAfterIf,
    Suspend,
    Texts,
    Transforms,
    array,
    refusal,
    step_kind,
)
from executor.flows.plain import at, shown

STEP_TYPES = (
    "rawscript",
    "script",
    "flow",
    "forloopflow",
    "whileloopflow",
    "branchone",
    "branchall",
    "identity",
)


def _language(name: str, info: ValidationInfo) -> str:
    """The language's own name, for a name or alias; `info.context` knows them."""
    known: dict[str, Any] = info.context or {}
    canonical: str | None = known["languages"](name)
    if canonical is None:
        supported = ", ".join(known["supported"])
        raise refusal(
            f"the language {shown(name)} has no runtime here",
            f"use one of {supported}" if supported else "use a language of GET /api/runtimes",
        )
    return canonical


class RawScript(Part):
    """A script in the document itself. `language` is its runtime's own name, not an alias."""

    type: Literal["rawscript"]
    language: Annotated[Name, AfterValidator(_language)]
    content: str
    input_transforms: Transforms
    lock: str | None = None
    path: Name | None = None
    tag: BlankOrName = None
    concurrent_limit: Limit = None
    concurrency_time_window_s: Seconds = 0
    custom_concurrency_key: str | None = None
    is_trigger: bool = False


class PathScript(Part):
    """A script of the workspace, or of the hub: the version `hash` (hex), else the latest."""

    type: Literal["script"]
    path: Name
    hash: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{1,64}$")] | None = None
    tag_override: BlankOrName = None
    input_transforms: Transforms
    is_trigger: bool = False


class InnerFlow(Part):
    """A flow of the workspace, its latest version."""

    type: Literal["flow"]
    path: Name
    input_transforms: Transforms


class ForLoop(Part):
    """`modules` once for each element of `iterator`; `parallelism` (None: no bound) only with `parallel`."""

    type: Literal["forloopflow"]
    iterator: InputTransform
    modules: Modules
    skip_failures: bool = False
    parallel: bool = False
    parallelism: PositiveNumber | None = None


class WhileLoop(Part):
    """`modules` again and again, until something stops it."""

    type: Literal["whileloopflow"]
    modules: Modules
    skip_failures: bool = False


class ConditionalBranch(Part):
    """The body of a branchone that `expr` chooses."""

    expr: str
    modules: Modules
    summary: str | None = None


class BranchOne(Part):
    """The first branch whose predicate is true, else `default`."""

    type: Literal["branchone"]
    branches: Annotated[tuple[ConditionalBranch, ...], BeforeValidator(array)]
    default: Modules = ()


class Branch(Part):
    """A body of a branchall."""

    modules: Modules
    skip_failure: bool = False
    summary: str | None = None


class BranchAll(Part):
    """Every branch, all at once unless `parallel` is false."""

    type: Literal["branchall"]
    branches: Annotated[tuple[Branch, ...], BeforeValidator(array)]
    parallel: bool = True


class Identity(Part):
    """Gives the previous result."""

    type: Literal["identity"]


ScriptValue = RawScript | PathScript
Modules = Annotated[tuple["Module", ...], BeforeValidator(array)]
StepValue = Annotated[
    Annotated[RawScript, Tag("<rawscript>")]
    | Annotated[PathScript, Tag("<script>")]
    | Annotated[InnerFlow, Tag("<flow>")]
    | Annotated[ForLoop, Tag("<forloopflow>")]
    | Annotated[WhileLoop, Tag("<whileloopflow>")]
    | Annotated[BranchOne, Tag("<branchone>")]
    | Annotated[BranchAll, Tag("<branchall>")]
    | Annotated[Identity, Tag("<identity>")],
    Discriminator(step_kind),
]


class Module(Part):
    """One step of a flow: its id, its value, and its settings."""

    id: Name
    value: StepValue
    summary: str | None = None
    stop_after_if: StopAfterIf | None = None
    stop_after_all_iters_if: StopAfterIf | None = None
    skip_if: Condition | None = None
    sleep: InputTransform | None = None
    retry: Retry = Retry()
    timeout: PositiveNumber | None = None
    continue_on_error: bool = False
    cache_ttl: Seconds = 0
    mock: Mock = Mock()
    suspend: Suspend = Suspend()
    delete_after_use: bool = False
    priority: Priority | None = None

    @property
    def transforms(self) -> Mapping[str, InputTransform]:
        """The step's args to be, by name; empty for steps that take none."""
        return (
            self.value.input_transforms if isinstance(self.value, RawScript | PathScript | InnerFlow) else {}
        )

    @property
    def bodies(self) -> tuple[tuple[str, tuple[Module, ...]], ...]:
        """The lists of modules inside the step, each with its place in it (`.value.branches[0].modules`)."""
        match self.value:
            case ForLoop() | WhileLoop():
                return ((".value.modules", self.value.modules),)
            case BranchAll():
                return _branches(self.value.branches)
            case BranchOne():
                return (*_branches(self.value.branches), (".value.default", self.value.default))
            case _:
                return ()


class Flow(Part):
    """A flow's value: its modules in order, its handlers, its settings."""

    modules: Modules
    failure_module: Module | None = None
    preprocessor_module: Module | None = None
    same_worker: bool = False
    skip_expr: str | None = None
    early_return: str | None = None
    flow_env: Texts
    cache_ttl: Seconds = 0
    priority: Priority | None = None
    tag: BlankOrName = None
    concurrent_limit: Limit = None
    concurrency_time_window_s: Seconds = 0
    concurrency_key: str | None = None
    debounce_delay_s: Seconds | None = None
    debounce_key: str | None = None


def every_module(flow: Flow, where: str = "value") -> Iterator[tuple[str, Module]]:
    """Each module with its place in the document, outer ones first: `("value.modules[0]", Module)`.

    The failure module and the preprocessor come last.
    """
    yield from _each(flow.modules, f"{where}.modules")
    for name in ("failure_module", "preprocessor_module"):
        handler: Module | None = getattr(flow, name)
        if handler is not None:
            yield at(where, name), handler


def _each(modules: tuple[Module, ...], where: str) -> Iterator[tuple[str, Module]]:
    for number, module in enumerate(modules):
        place = f"{where}[{number}]"
        yield place, module
        for inside, body in module.bodies:
            yield from _each(body, place + inside)


def _branches(
    branches: Sequence[Branch | ConditionalBranch],
) -> tuple[tuple[str, tuple[Module, ...]], ...]:
    return tuple((f".value.branches[{n}].modules", branch.modules) for n, branch in enumerate(branches))


# The names above are used before they are defined: a module may hold modules.
_RECURSIVE: tuple[type[Part], ...] = (
    ForLoop,
    WhileLoop,
    ConditionalBranch,
    Branch,
    BranchOne,
    BranchAll,
    Module,
    Flow,
)
for _model in _RECURSIVE:
    _model.model_rebuild()
