"""A whole run: its preprocessor, its modules, and its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from executor.errors import Reason
from executor.flows.document import Flow
from executor.flows.step import Behind, Step
from executor.flows.steps import KINDS
from executor.flows.steps.script import run_script
from executor.flows.transforms import View
from executor.flows.values import Args, End, Value, failed
from executor.flows.walk import FlowWalk, Home, Kept, whole_flow
from executor.flows.world import World
from executor.script import compact_json, is_light


@dataclass(frozen=True)
class Run:
    """A flow to be walked: the document it keeps, its input, its name, and where it begins."""

    job: str
    flow: Flow
    args: Args
    path: str | None = None
    is_preprocessed: bool = False
    """No preprocessor is asked for: the input is that of an earlier run, which had one."""
    tag: str | None = None
    """What all its steps are tagged with."""
    kept: Mapping[str, Kept] = field(default_factory=dict)
    """The modules before the one it is restarted from."""
    kept_children: Mapping[str, Sequence[End]] = field(default_factory=dict)
    """Ends of that module's branches or iterations before the one it is restarted from."""
    kept_inside: Mapping[str, Value] = field(default_factory=dict)
    """Results, by id, of steps inside what is kept."""
    restarted_from: Mapping[str, object] | None = None


async def walk_run(world: World, run: Run) -> End:
    """Walk a run to its end, or until nothing of it can go on by itself; it is then cancelled."""
    walk = whole_flow(world, KINDS, run.job, "", run.flow, run.args, Home.of(run.flow, run.path, run.tag))
    walk = replace(walk, kept=run.kept, kept_children=run.kept_children)
    walk.status.restarted_from = None if run.restarted_from is None else dict(run.restarted_from)
    for step_id, value in run.kept_inside.items():
        walk.results.put(step_id, value)
    world.show_status(run.job, walk.status)
    if run.flow.preprocessor_module is not None and not run.is_preprocessed:
        end = await _preprocess(walk, run)
        if not end.ok:
            return end
        if not is_light(await world.text(end.value)):
            return failed(
                Reason.BAD_INPUT, "the preprocessor's result has too many values to be the flow's input"
            )
        walk.status.step = 0
        walk = replace(walk, args=Args.of(await _replaced(world, end.value)))
        await world.replace_args(run.job, walk.args)
    return await walk.run()


async def _preprocess(walk: FlowWalk, run: Run) -> End:
    """Run the preprocessor on the raw input."""
    module = run.flow.preprocessor_module
    status = walk.status.preprocessor
    if module is None or status is None:
        raise AssertionError("BUG: no preprocessor")
    walk.status.step = -1
    args = Args.of({**run.args.values, "_ENTRYPOINT_OVERRIDE": b'"preprocessor"'})
    before = Behind(None, End(run.args.value))
    view = View(walk.world, run.args, walk.results, walk.home.flow_env, before.end.value, None)

    async def with_raw_input(step: Step) -> End:
        return await run_script(step, args)

    kinds = {**KINDS, "rawscript": with_raw_input, "script": with_raw_input}
    return await Step(walk, module, status, "/preprocessor", before, kinds, view).run()


async def _replaced(world: World, value: Value) -> dict[str, bytes]:
    """The input that a preprocessor's result stands for."""
    given = json.loads(await world.text(value))
    if given is None:
        return {}
    if not isinstance(given, dict):
        given = {"value": given}
    return {name: compact_json(item) for name, item in given.items()}
