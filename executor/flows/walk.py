"""The walk over one flow job: its modules in order, and its failure module.

A walk is an ordinary recursion over the document. Begun again after a crash or a pause it takes the
same way, because whatever was decided before is recalled from the journal (`executor.flows.world`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from executor.flows.ahead import languages
from executor.flows.document import Flow, Module
from executor.flows.results import Results
from executor.flows.status import FlowStatus, ModuleStatus
from executor.flows.step import Behind, Kind, Step
from executor.flows.transforms import StepFailed, View, decided
from executor.flows.values import Args, End, Stop, Value, recovers, too_many_jobs
from executor.flows.world import StoredFlow, World
from executor.script import compact_json

DEFAULT_TAG = "flow"


@dataclass(frozen=True)
class Home:
    """What all steps of one flow document share."""

    path: str | None
    flow_env: Mapping[str, str]
    tag: str | None
    priority: int | None

    @classmethod
    def of(cls, flow: Flow, path: str | None, tag: str | None = None) -> Home:
        """The home that a flow's document makes; a tag from around it wins over its own."""
        return cls(path, flow.flow_env, tag or own_tag(flow.tag), flow.priority)

    def within(self, module: Module) -> Home:
        """The home of what is inside a module: its own priority overrides that of what is around."""
        return self if module.priority is None else replace(self, priority=module.priority)


def own_tag(tag: str | None) -> str | None:
    """The tag that a flow gives to all its steps: any but the default one."""
    return None if tag == DEFAULT_TAG else tag


@dataclass(frozen=True)
class Kept:
    """How a module ended that an earlier run has reached already (a restart)."""

    end: End
    status: Mapping[str, Any]
    """As clients saw it."""


@dataclass(frozen=True)
class FlowWalk:
    """One flow job: the run itself, a branch, an iteration or an inner flow."""

    world: World
    kinds: Mapping[str, Kind]
    job: str
    path: str
    loop_path: str
    """`loop-<i>/…` inside loops, for the paths that steps show."""
    modules: Sequence[Module]
    failure: Module | None
    args: Args
    results: Results
    home: Home
    status: FlowStatus
    kept: Mapping[str, Kept]
    """Modules before the one that a restart begins at."""
    kept_children: Mapping[str, Sequence[End]] = field(default_factory=dict)
    depth: int = 0
    """How many flows call this one, one from the other."""
    skip_expr: str | None = None
    """Where it is true, nothing runs."""
    is_expected: bool = False
    """Whether the world has been told of the scripts of these modules."""

    def expect(self, modules: Sequence[Module], times: int = 1) -> None:
        """Tell the world what this sequence is about to run, so often."""
        self.world.expect(languages((module for module in modules if module.id not in self.kept), times))

    def job_path(self, step_id: str) -> str | None:
        """What the job of a step shows as its path."""
        return None if self.home.path is None else f"{self.home.path}/{self.loop_path}{step_id}"

    async def run(self) -> End:
        """Walk the modules; on a failure that nothing has caught, the failure module."""
        try:
            is_skipped = await self._is_skipped()
        except StepFailed as failure:
            return failure.end
        if is_skipped:
            return End(Value(b'"stopped early"'), stop=Stop(is_skip=True))
        end = await self._modules()
        if end.ok or end.final or end.handled or self.failure is None:
            return end
        return await self._fail(end)

    async def _is_skipped(self) -> bool:
        if self.skip_expr is None:
            return False
        expr = self.skip_expr
        view = View(self.world, self.args, self.results, {}, self.args.value, None)

        async def act() -> bytes:
            return b"1" if await view.holds_at_start(expr) else b"0"

        return await decided(self.world, f"{self.path}/skip", act) == b"1"

    async def _modules(self) -> End:
        """The modules in order: the last one's end, or that of the one that ended the flow."""
        end = End(self.args.value)
        before: Module | None = None
        if not self.is_expected:
            self.expect(self.modules)
        for index, module in enumerate(self.modules):
            self.status.step = index
            if (kept := self.kept.get(module.id)) is not None:
                end = replace(kept.end, job=None)  # a gate behind it asks anew, on a job of this run
                await self._keep(index, module, kept)
                await self.ended(module.id, kept.end)
            else:
                end = await self._step(index, module, Behind(before, end)).run()
            if end.stop is not None or not (end.ok or end.caught):
                return end
            before = module
        self.status.step = len(self.modules)
        return replace(end, ok=True, caught=False, skipped=False)

    def _step(self, index: int, module: Module, behind: Behind) -> Step:
        view = View(
            self.world,
            self.args,
            self.results,
            self.home.flow_env,
            behind.end.value,
            None if behind.module is None else behind.module.id,
        )
        path = self._path_of(index, module)
        return Step(self, module, self.status.modules[index], path, behind, self.kinds, view)

    def _path_of(self, index: int, module: Module) -> str:
        return f"{self.path}/{index}:{quote(module.id, safe='')}"

    async def _keep(self, index: int, module: Module, kept: Kept) -> None:
        """Take a module's end over; a result that is no job's is kept here too, for those who ask by its id."""
        value = kept.end.value
        self.status.modules[index].copied = kept.status
        self.results.put(module.id, value)

        async def act() -> bytes:
            return await self.world.text(value)

        if value.job is None:
            await self.world.once(f"{self._path_of(index, module)}/result", act)

    async def _fail(self, end: End) -> End:
        """Run the failure module on a failure; its result is the flow's."""
        if self.failure is None or self.status.failure is None:
            raise AssertionError("BUG: no failure module to run")
        step = self._failure_step(self.failure, self.status.failure, end)
        self.status.failure.parent_module = self.modules[self.status.step].id
        self.status.step = len(self.modules)
        own = await step.run()
        text = await self.world.text(own.value)
        recovered = own.ok and recovers(text)
        return End(own.value, ok=recovered, final=own.final, handled=True)

    def _failure_step(self, module: Module, status: ModuleStatus, end: End) -> Step:
        more = {
            "started_at": str(self.world.started_at // 1000).encode(),
            "flow_job_id": compact_json(self.job),
        }
        view = View(self.world, self.args, self.results, self.home.flow_env, end.value, None, more=more)
        return Step(self, module, status, f"{self.path}/failure", Behind(None, end), self.kinds, view)

    # ------------------------------------------------------------ flows inside this one

    async def body(
        self,
        step: Step,
        number: int,
        below: str,
        modules: Sequence[Module],
        own_args: Mapping[str, bytes],
        *,
        loop_path: str = "",
        own_results: bool = False,
        is_expected: bool = False,
    ) -> End:
        """Walk a step's branch or iteration as a flow job of its own, unless a restart begins behind it.

        With `own_results` what its steps give is not seen outside.
        """
        kept = self.kept_children.get(step.module.id, ())
        if number < len(kept):
            return self._keep_child(step, number, kept[number])
        args = self.args.beneath(self.job, own_args)
        place = step.place(below, job_path=self.home.path)
        if (why := self.world.no_room(place.path)) is not None:
            return too_many_jobs(why)
        job = await self.world.begin_flow(place, args)
        step.status.took[number] = partial(self.world.took, job)
        whole, failure = effective(modules), numbered(self.failure, number)
        child = replace(
            self,
            job=job,
            path=place.path,
            loop_path=self.loop_path + loop_path,
            modules=whole,
            failure=failure,
            args=args,
            results=Results(self.results) if own_results else self.results,
            home=self.home.within(step.module),
            status=status_of(whole, failure),
            kept={},
            kept_children={},
            skip_expr=None,
            is_expected=is_expected,
        )
        step.status.children[number] = job
        step.status.job = job
        end = await child.as_job()
        step.status.successes[number] = end.ok
        self.changed()
        return end

    def _keep_child(self, step: Step, number: int, end: End) -> End:
        if end.job is not None:
            step.status.children[number] = end.job
        step.status.successes[number] = end.ok
        return end

    async def inner(self, step: Step, stored: StoredFlow, path: str, args: Args) -> End:
        """Walk a flow of the workspace as a step of this one."""
        place = step.place(job_path=path)
        job = await self.world.begin_inner(place, stored, args)
        step.status.job = job
        around = self.home.within(step.module)
        home = Home.of(stored.flow, path, around.tag)
        if step.module.priority is not None or home.priority is None:
            home = replace(home, priority=around.priority)
        child = whole_flow(self.world, self.kinds, job, place.path, stored.flow, args, home, self.results)
        child = replace(child, depth=self.depth + 1)
        child.status.preprocessor, child.status.step = None, 0
        # In a task of its own: Python bounds how deep one task may call, and flows call flows.
        (end,) = await self.world.activity.together([child.as_job])
        if end.ok and (end.stop is None or not end.stop.is_skip):
            self.world.keep_result(job, stored, path, args)
        return end

    async def as_job(self) -> End:
        """Walk this flow job from its beginning to its recorded end."""
        self.world.show_status(self.job, self.status)
        end = await self.run()
        if not end.ok:
            end = replace(end, stop=None)
        await self.world.end_flow(self.job, end, self.status)
        return replace(end, job=self.job, skipped=False, caught=False)

    async def ended(self, step_id: str, end: End) -> None:
        """A step of this flow has its result."""
        if not self.depth:
            await self.world.step_ended(step_id, end)

    def changed(self) -> None:
        """The status has changed."""
        self.world.status_changed(self.job)


def whole_flow(
    world: World,
    kinds: Mapping[str, Kind],
    job: str,
    path: str,
    flow: Flow,
    args: Args,
    home: Home,
    around: Results | None = None,
) -> FlowWalk:
    """The walk over a flow's document: a root of its own for results."""
    modules = effective(flow.modules)
    return FlowWalk(
        world,
        kinds,
        job,
        path,
        "",
        modules,
        flow.failure_module,
        args,
        Results(around),
        home,
        first_status(flow),
        {},
        skip_expr=flow.skip_expr,
    )


def effective(modules: Sequence[Module]) -> Sequence[Module]:
    """The modules, and one more where the last one holds back what comes after it."""
    if not modules:
        return modules
    last = modules[-1]
    gated = last.suspend.required_events > 0
    if last.sleep is None and not gated:
        return modules
    return [*modules, Module.model_validate({"id": f"{last.id}-v", "value": {"type": "identity"}})]


def ignored(flow: Flow) -> str:
    """What the log of a run of this flow says of settings that are accepted and not acted on; one line, or none."""
    given = {"debounce_delay_s": flow.debounce_delay_s, "debounce_key": flow.debounce_key}
    names = [name for name, value in given.items() if value]
    return f"WARNING: {' and '.join(names)} ignored: flows are not debounced here\n" if names else ""


def numbered(failure: Module | None, number: int) -> Module | None:
    """The copy of a failure module that a branch or an iteration has."""
    return None if failure is None else failure.model_copy(update={"id": f"{failure.id}-{number}"})


def first_status(flow: Flow) -> FlowStatus:
    """The status of a run of this flow before anything has happened."""
    return status_of(effective(flow.modules), flow.failure_module, flow.preprocessor_module)


def status_of(
    modules: Sequence[Module], failure: Module | None, preprocessor: Module | None = None
) -> FlowStatus:
    """The status of a flow of these modules, before its first step."""
    return FlowStatus.of(
        [module.id for module in modules],
        None if failure is None else failure.id,
        None if preprocessor is None else preprocessor.id,
    )
