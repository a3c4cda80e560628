"""Random flows in the language of the model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.flows.model import Expr

Draw = st.DrawFn
Json = Any
FAILURES = Expr("null.x")
INPUT: dict[str, Json] = {"n": 2, "list": [1, 2, {"x": 4}], "empty": [], "zero": 0}


@dataclass
class Making:
    """A flow on its way: ids that may be asked for, and what is left to be made."""

    draw: Draw
    ids: list[str]
    numbers: Iterator[int]
    left: list[int]
    loops: int = 0

    def chance(self, percent: int) -> bool:
        """True so often."""
        return self.draw(st.integers(0, 99)) < percent

    def pick(self, *choices: Json) -> Json:
        """One of them."""
        return self.draw(st.sampled_from(choices))

    def name(self) -> str:
        """A new id."""
        self.left[0] -= 1
        return f"s{next(self.numbers)}"

    # ------------------------------------------------------------ expressions

    def expr(self, *, may_fail: bool = True, names: tuple[str, ...] = ()) -> Expr:
        """An expression for a transform."""
        if may_fail and self.chance(4):
            return FAILURES
        roots = ["flow_input", "previous_result", *names]
        if self.ids:
            roots += ["results", "results"]
        root = self.pick(*roots)
        keys: list[str | int] = []
        if root == "results":
            keys.append(self.pick(*self.ids))
            keys += self.pick((), ("x",), ("error", "message"), (0,), (1, "x"))
        elif root == "flow_input":
            inside = [("iter", "value"), ("iter", "index"), ("iter", "value", "x"), ("iter_parent", "value")]
            keys += self.pick(("n",), ("list",), ("zero",), ("nothing",), *(inside if self.loops else ()))
        else:
            keys += self.pick((), (), ("x",), ("error", "message"), (0,))
        return Expr(root, tuple(keys))

    def predicate(self, *names: str, may_fail: bool = True) -> Expr:
        """An expression for a condition."""
        found = self.expr(may_fail=may_fail, names=names)
        if found == FAILURES or self.chance(40):
            return found
        compare, number = self.pick(("===", 0), ("===", 1), (">=", 1), (">=", 2))
        return Expr(found.root, found.keys, compare, number)

    def transform(self) -> Json:
        """An input transform."""
        if self.chance(30):
            return {"type": "static", "value": self.pick(0, 1, 2, 3, None, "t", [1, 2], {"x": 1})}
        return {"type": "javascript", "expr": self.expr()}

    # ------------------------------------------------------------ modules

    def modules(self, depth: int, least: int = 0) -> list[Json]:
        """A body."""
        found = []
        for _ in range(self.draw(st.integers(least, 3))):
            if self.left[0] <= 0:
                break
            module = self.module(depth)
            self.ids.append(module["id"])
            found.append(module)
        return found

    def aside(self) -> Making:
        """For a part whose ids its neighbours must not ask for."""
        return Making(self.draw, list(self.ids), self.numbers, self.left, self.loops)

    def module(self, depth: int) -> Json:
        """A module of any kind, with settings."""
        kinds = ["script", "script", "script", "identity"]
        if depth:
            kinds += ["forloop", "forloop", "whileloop", "branchone", "branchall", "branchall"]
        kind = self.pick(*kinds)
        id = self.name()
        value = getattr(self, kind)(id, depth)
        module = {"id": id, "value": value}
        module |= self.stops(kind, value)
        module |= self.settings(kind, module)
        return module

    def script(self, id: str, depth: int) -> Json:
        """A script, named in its own args so that its runs can be counted."""
        content = self.pick("echo", "echo", "value", "value", "picky", "picky", "broken")
        args = {"x": self.transform(), "k": {"type": "static", "value": id}}
        return {"type": "rawscript", "language": "bash", "content": content, "input_transforms": args}

    def identity(self, id: str, depth: int) -> Json:
        """An identity."""
        return {"type": "identity"}

    def body(self, depth: int) -> list[Json]:
        """What a loop repeats."""
        inside = self.aside()
        inside.loops += 1
        return inside.modules(depth - 1, least=0 if self.chance(10) else 1)

    def forloop(self, id: str, depth: int) -> Json:
        """A loop over a few items."""
        over = self.pick(
            {"type": "static", "value": [1, 2, 3]},
            {"type": "static", "value": [{"x": 2}, 0]},
            {"type": "javascript", "expr": Expr("flow_input", ("list",))},
            {"type": "javascript", "expr": Expr("flow_input", ("empty",))},
            {"type": "javascript", "expr": self.expr()}
            if self.chance(20)
            else {"type": "static", "value": [0, 1]},
        )
        value = {"type": "forloopflow", "iterator": over, "modules": self.body(depth)}
        value |= {"skip_failures": True} if self.chance(30) else {}
        value |= {"parallel": True} if self.chance(40) else {}
        value |= {"parallelism": self.pick(1, 2)} if value.get("parallel") and self.chance(40) else {}
        return value

    def whileloop(self, id: str, depth: int) -> Json:
        """A loop that its module's stop ends; see `stops`."""
        return {"type": "whileloopflow", "modules": self.body(depth)}

    def branchone(self, id: str, depth: int) -> Json:
        """Some branches and a default."""
        branches = [
            {"expr": self.predicate(), "modules": self.modules(depth - 1)}
            for _ in range(self.draw(st.integers(0, 2)))
        ]
        return {"type": "branchone", "branches": branches, "default": self.modules(depth - 1)}

    def branchall(self, id: str, depth: int) -> Json:
        """Branches, which see nothing of each other."""
        branches = [
            {"modules": self.aside().modules(depth - 1), "skip_failure": self.chance(30)}
            for _ in range(self.draw(st.integers(0, 3)))
        ]
        return {"type": "branchall", "branches": branches, "parallel": self.chance(50)}

    # ------------------------------------------------------------ settings

    def stops(self, kind: str, value: Json) -> Json:
        """Early stops: of the loop itself, and of the flow."""
        found: Json = {}
        if kind == "whileloop":
            limit = self.pick(1, 2, 3)
            found["stop_after_if"] = {"expr": Expr("all_iters", ("length",), ">=", limit)}
        elif kind == "branchall":
            pass
        elif self.chance(12):
            stop: Json = {"expr": self.predicate("result")}
            stop |= self.pick({}, {}, {"skip_if_stopped": True})
            found["stop_after_if"] = stop
        if kind in ("forloop", "whileloop", "branchall") and self.chance(8):
            found["stop_after_all_iters_if"] = {"expr": self.predicate("result")}
        return found

    def settings(self, kind: str, module: Json) -> Json:
        """What else a module may ask for."""
        found: Json = {}
        found |= {"continue_on_error": True} if self.chance(20) else {}
        found |= (
            {"retry": {"constant": {"attempts": self.pick(1, 2), "seconds": 0}}} if self.chance(12) else {}
        )
        has_stop = "stop_after_if" in module or "stop_after_all_iters_if" in module
        if not has_stop:  # whether a step that did not run stops the flow is nowhere said
            found |= {"skip_if": {"expr": self.predicate()}} if self.chance(12) else {}
            mock = {"enabled": self.chance(70), "return_value": self.pick(1, {"x": 2}, None)}
            found |= {"mock": mock} if self.chance(8) else {}
        found |= {"sleep": {"type": "static", "value": self.pick(0, 0.001)}} if self.chance(8) else {}
        return found


@st.composite
def flows(draw: Draw) -> Json:
    """A flow of the model's language."""
    making = Making(draw, [], itertools.count(1), [12])
    flow: Json = {"modules": making.modules(depth=3, least=1)}
    if making.chance(40):
        error = {"type": "javascript", "expr": Expr("error", ("message",))}
        args = {"x": error, "k": {"type": "static", "value": "failure"}}
        if making.chance(30):
            args["recover"] = {"type": "static", "value": True}
        content = "recover" if "recover" in args else "echo"
        value = {"type": "rawscript", "language": "bash", "content": content, "input_transforms": args}
        flow["failure_module"] = {"id": "failure", "value": value}
    return flow
