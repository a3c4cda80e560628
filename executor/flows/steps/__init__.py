"""How each kind of module runs, one file per kind; found by its `type` in the document."""

from collections.abc import Mapping

from executor.flows.step import Kind
from executor.flows.steps.branches import branchall, branchone
from executor.flows.steps.forloop import forloop
from executor.flows.steps.identity import identity
from executor.flows.steps.inner import inner_flow
from executor.flows.steps.script import rawscript, script
from executor.flows.steps.whileloop import whileloop

KINDS: Mapping[str, Kind] = {
    "rawscript": rawscript,
    "script": script,
    "flow": inner_flow,
    "forloopflow": forloop,
    "whileloopflow": whileloop,
    "branchone": branchone,
    "branchall": branchall,
    "identity": identity,
}
