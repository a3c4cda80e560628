"""A reference interpreter of flows, written from docs/openflow.md and not from our code.

It knows a small language: expressions (`Expr`) that both JavaScript and this model can evaluate, and
scripts that are the pure functions in `SCRIPTS`. It runs one thing after the other; what parallel
parts may not see of each other, the flows that are generated for it do not ask for.
"""

from __future__ import annotations

import json
from collections import ChainMap, Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Any
Results = ChainMap[str, Json]


# ------------------------------------------------------------ expressions


class Thrown(Exception):
    """An expression failed."""


@dataclass(frozen=True)
class Expr:
    """`root` and optional chaining behind it; then, if asked for, compared with a number."""

    root: str
    keys: tuple[str | int, ...] = ()
    compare: str | None = None
    number: int = 0

    @property
    def js(self) -> str:
        """As JavaScript."""
        text = self.root + "".join(f"?.[{json.dumps(key)}]" for key in self.keys)
        return text if self.compare is None else f"{text} {self.compare} {self.number}"

    def value(self, names: dict[str, Json]) -> Json:
        """What it gives where these names are in scope; JavaScript's undefined is null."""
        if self.root == "null.x":
            raise Thrown(self.js)
        found = names[self.root]
        for key in self.keys:
            found = member(found, key)
        if self.compare is None:
            return found
        return {"===": found == self.number and type(found) is int, ">=": at_least(found, self.number)}[
            self.compare
        ]


def member(value: Json, key: str | int) -> Json:
    """A property as JavaScript has it, by optional chaining."""
    if isinstance(value, dict):
        return value.get(str(key))
    if isinstance(value, list):
        if key == "length":
            return len(value)
        return value[key] if isinstance(key, int) and key < len(value) else None
    if isinstance(value, str) and key == "length":
        return len(value)
    return None


def at_least(value: Json, number: int) -> bool:
    """`value >= number`, for a number above 0: then it does not matter that undefined is null here."""
    while isinstance(value, list) and len(value) == 1 and not isinstance(value[0], bool):
        value = value[0]  # JavaScript: [7] is "7" is 7
    return isinstance(value, int | float) and value >= number


def truth(value: Json) -> bool:
    """JavaScript's Boolean()."""
    return isinstance(value, dict | list) or bool(value)


def given(transform: Json, names: dict[str, Json]) -> Json:
    """The value of an input transform, whose expression is an `Expr`."""
    if transform["type"] == "static":
        return transform["value"]
    found: Expr = transform["expr"]
    return found.value(names)


# ------------------------------------------------------------ scripts


class Picky(Exception):
    """What a script of the language raises."""


def _echo(args: dict[str, Json]) -> Json:
    return {"x": args.get("x")}


def _value(args: dict[str, Json]) -> Json:
    return args.get("x")


def _picky(args: dict[str, Json]) -> Json:
    x = args.get("x")
    if x is None or (type(x) is int and x % 2 == 1):
        raise Picky(f"not {json.dumps(x)}")
    return x


def _broken(args: dict[str, Json]) -> Json:
    raise Picky("broken")


def _recover(args: dict[str, Json]) -> Json:
    return {"recover": True, "x": args.get("x")}


SCRIPTS: dict[str, Callable[[dict[str, Json]], Json]] = {
    "echo": _echo,
    "value": _value,
    "picky": _picky,
    "broken": _broken,
    "recover": _recover,
}


# ------------------------------------------------------------ the walk


class Failed(Exception):
    """A module, or a flow, has failed with this result; `handled`: a failure module has run for it."""

    def __init__(self, result: Json, handled: bool = False) -> None:
        self.result = result
        self.handled = handled


class Stopped(Exception):
    """An early stop on its way outwards, with the result so far."""

    def __init__(self, result: Json, skip: bool) -> None:
        self.result = result
        self.skip = skip


@dataclass
class Around:
    """Where a module stands: the input, the results, the previous result, the flow's failure module."""

    args: dict[str, Json]
    results: Results
    previous: Json
    failure: Json

    def names(self, **more: Json) -> dict[str, Json]:
        """What expressions see."""
        error = member(more.get("previous_result", self.previous), "error")
        return {
            "flow_input": self.args,
            "results": dict(self.results),
            "previous_result": self.previous,
            "error": error,
            "result": self.previous,
            **more,
        }


def failure_of(id: str, message: str, name: str = "ExecutionErr") -> Json:
    """An error object, without what `plain` takes away."""
    return {"error": {"name": name, "message": message, "step_id": id}}


def thrown(id: str, error: Thrown) -> Failed:
    """The failure of a module with a failing expression."""
    return Failed(failure_of(id, f"Error during isolated evaluation of expression `{error}`:"))


@dataclass
class Model:
    """Runs flows; `ran` counts the runs of each script by step."""

    ran: Counter[str] = field(default_factory=Counter)

    def run(self, flow: Json, args: dict[str, Json]) -> tuple[str, Json]:
        """Status and result of a whole run."""
        try:
            return "success", self.flow(flow["modules"], args, ChainMap(), flow.get("failure_module"))
        except Stopped as stop:
            return ("skipped" if stop.skip else "success"), stop.result
        except Failed as failed:
            return "failure", failed.result

    def flow(self, modules: Sequence[Json], args: dict[str, Json], results: Results, failure: Json) -> Json:
        """One flow job: its modules, and its failure module on a failure that nobody has handled."""
        try:
            return self.modules(modules, args, results, failure)
        except Failed as failed:
            if failed.handled or failure is None:
                raise
            around = Around(args, results, failed.result, None)
            result = self.script(failure, around)
            results[failure["id"]] = result
            if isinstance(result, dict) and result.get("recover") is True:
                return result
            raise Failed(result, handled=True) from None

    def modules(
        self, modules: Sequence[Json], args: dict[str, Json], results: Results, failure: Json
    ) -> Json:
        """The modules in order; the last one's result."""
        previous: Json = args
        for module in modules:
            try:
                previous = self.module(module, Around(args, results, previous, failure))
                results[module["id"]] = previous
            except Stopped as stop:
                results[module["id"]] = stop.result
                raise
            except Failed as failed:
                results[module["id"]] = failed.result
                if not module.get("continue_on_error"):
                    raise
                previous = failed.result
        return previous

    def module(self, module: Json, around: Around) -> Json:
        """One module with its settings."""
        attempts = module.get("retry", {}).get("constant", {}).get("attempts", 0)
        skips: bool | None = None
        for attempt in range(attempts + 1):
            try:
                skips = self.skips(module, around) if skips is None else skips
                if skips:
                    return around.previous
                return self.attempt(module, around)
            except Failed:
                if attempt == attempts:
                    raise
        raise AssertionError("unreachable")

    def skips(self, module: Json, around: Around) -> bool:
        """Whether the module is skipped."""
        try:
            return "skip_if" in module and truth(module["skip_if"]["expr"].value(around.names()))
        except Thrown as error:
            raise thrown(module["id"], error) from None

    def attempt(self, module: Json, around: Around) -> Json:
        """One try: the module's value, then its early stop."""
        if module.get("mock", {}).get("enabled"):
            return module["mock"].get("return_value")
        kind = module["value"]["type"]
        try:
            result = getattr(self, kind)(module, around)
            many = kind in ("forloopflow", "whileloopflow", "branchall")
            stop = module.get("stop_after_all_iters_if" if many else "stop_after_if")
            if stop is not None and self.holds(stop, around, result):
                if "error_message" in stop and not stop.get("skip_if_stopped"):
                    raise Failed({"error": {"name": "EarlyStopError", "message": stop["error_message"]}})
                raise Stopped(result, stop.get("skip_if_stopped", False))
        except Thrown as error:
            raise thrown(module["id"], error) from None
        return result

    def holds(self, stop: Json, around: Around, result: Json, all_iters: Json = None) -> bool:
        """An early stop's predicate."""
        names = around.names(result=result, previous_result=result, all_iters=all_iters or [])
        return truth(stop["expr"].value(names))

    # ------------------------------------------------------------ kinds of modules

    def identity(self, module: Json, around: Around) -> Json:
        """The previous result."""
        return around.previous

    def rawscript(self, module: Json, around: Around) -> Json:
        """A script of the language."""
        return self.script(module, around)

    def script(self, module: Json, around: Around) -> Json:
        """Evaluate the args, run the function, count the run."""
        transforms = module["value"]["input_transforms"]
        args = {name: given(transform, around.names()) for name, transform in transforms.items()}
        self.ran[args["k"]] += 1
        try:
            return SCRIPTS[module["value"]["content"]](args)
        except Picky as error:
            raise Failed(failure_of(module["id"], str(error), "Picky")) from None

    def forloopflow(self, module: Json, around: Around) -> Json:
        """The body once per item."""
        value = module["value"]
        items = given(value["iterator"], around.names())
        if not isinstance(items, list):
            shown = json.dumps(items, separators=(",", ":"))
            message = f"Expected an array value in the iterator expression, found: {shown}"
            raise Failed(failure_of(module["id"], message))
        if not value["modules"]:
            return []
        if value.get("parallel"):
            return self.side_by_side(module, around, items)
        results: list[Json] = []
        for index, item in enumerate(items):
            try:
                ended = self.iteration(module, around, index, item, around.results, results)
            except Failed as failed:
                raise Failed(results, failed.handled) from None
            if ended:
                break
        return results

    def side_by_side(self, module: Json, around: Around, items: list[Json]) -> Json:
        """Every iteration to its end, each with results of its own."""
        results: list[Json] = []
        failures: list[Failed] = []
        for index, item in enumerate(items):
            alone = Around(around.args, around.results.new_child(), around.previous, around.failure)
            body = {**module, "value": {**module["value"], "skip_failures": False}, "stop_after_if": None}
            try:
                self.iteration(body, alone, index, item, alone.results, results)
            except Failed as failed:
                failures.append(failed)
        if failures and not module["value"].get("skip_failures"):
            raise Failed(results, all(failed.handled for failed in failures))
        return results

    def whileloopflow(self, module: Json, around: Around) -> Json:
        """The body until something stops it."""
        results: list[Json] = []
        for index in range(100):
            try:
                if self.iteration(module, around, index, index, around.results, results):
                    return results
            except Failed as failed:
                raise Failed(results[-1], failed.handled) from None
        raise AssertionError("a generated while-loop must end")

    def iteration(
        self, module: Json, around: Around, index: int, item: Json, scope: Results, results: list[Json]
    ) -> bool:
        """One iteration, its result behind `results`; whether the loop is over."""
        args = {**around.args, "iter": {"index": index, "value": item}}
        name = "iter"
        while name in around.args:
            args[f"{name}_parent"] = around.args[name]
            name += "_parent"
        try:
            result = self.flow(module["value"]["modules"], args, scope, numbered(around.failure, index))
        except Stopped as stop:
            results.append(stop.result)
            return True
        except Failed as failed:
            results.append(failed.result)
            if not module["value"].get("skip_failures"):
                raise
            return False
        results.append(result)
        breaks = module.get("stop_after_if")
        return breaks is not None and self.holds(breaks, around, result, list(results))

    def branchone(self, module: Json, around: Around) -> Json:
        """The first branch whose predicate is true."""
        for branch in module["value"]["branches"]:
            if truth(branch["expr"].value(around.names())):
                return self.branch(branch["modules"], around, 0, around.previous)
        return self.branch(module["value"]["default"], around, 0, around.previous)

    def branch(self, modules: Sequence[Json], around: Around, number: int, empty: Json) -> Json:
        """A branch's body."""
        if not modules:
            return empty
        return self.flow(modules, around.args, around.results, numbered(around.failure, number))

    def branchall(self, module: Json, around: Around) -> Json:
        """All branches; in turn up to a failure or a stop."""
        results: list[Json] = []
        failures: list[Failed] = []
        parallel = module["value"]["parallel"]
        for number, branch in enumerate(module["value"]["branches"]):
            try:
                results.append(self.branch(branch["modules"], around, number, around.args))
            except Stopped as stop:
                results.append(stop.result)
                if not parallel:
                    raise Stopped(results, stop.skip) from None
            except Failed as failed:
                results.append(failed.result)
                if not branch["skip_failure"]:
                    failures.append(failed)
                    if not parallel:
                        break
        if failures:
            raise Failed(results, all(failed.handled for failed in failures))
        return results


def numbered(failure: Json, number: int) -> Json:
    """The copy of the failure module that a branch or an iteration has."""
    return None if failure is None else {**failure, "id": f"{failure['id']}-{number}"}


# ------------------------------------------------------------ what the service is given, and gives


def document(part: Json) -> Json:
    """A flow of the model as OpenFlow: expressions as text, scripts for the fake engine."""
    if isinstance(part, Expr):
        return part.js
    if isinstance(part, list):
        return [document(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {key: document(item) for key, item in part.items()}
    if found.get("type") == "rawscript":
        found["content"] = json.dumps([{"call": found["content"]}])
    return found


def plain(value: Json) -> Json:
    """A result in which error objects say only what the model knows: of a message its first line."""
    if isinstance(value, str):
        return value.split("\n", 1)[0]
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    error = value.get("error")
    if isinstance(error, dict) and "message" in error:
        known = {key: error[key] for key in ("name", "step_id") if key in error}
        return {"error": {**known, "message": plain(error["message"])}}
    return {key: plain(item) for key, item in value.items()}
