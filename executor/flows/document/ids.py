"""The modules of a document as it was sent: where they are, and an id for each.

Works on raw JSON, well formed or not; what is wrong with it is for `read_flow` to say.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from typing import Any

from executor.flows.plain import check_plain

ID_CHARS = 6
HANDLERS = {"failure_module": "failure", "preprocessor_module": "preprocessor"}
"""The flow's own modules, and the ids they should have."""
BODIES = {
    "forloopflow": ("modules",),
    "whileloopflow": ("modules",),
    "branchone": ("branches", "default"),
    "branchall": ("branches",),
}
"""The fields of a step in which modules are, or branches of modules."""


def with_ids(document: Any, where: str = "value") -> Any:
    """A copy of a flow's raw `value` in which every module has an id; all else is as it was.

    For once, when a flow is submitted or saved: what is stored has the ids. A module without one gets
    six random letters and digits, a letter first; the failure module `failure`, the preprocessor
    `preprocessor`. What is not shaped like a module is left alone. Raises BadInput for what is no
    JSON, naming the place below `where`.
    """
    check_plain(document, where)
    if not isinstance(document, dict):
        return document
    modules = (module for _, _, module in raw_modules(document) if isinstance(module, dict))
    taken = {module["id"] for module in modules if isinstance(module.get("id"), str)}
    copy = dict(document)
    if isinstance(copy.get("modules"), list):
        copy["modules"] = _list_with_ids(copy["modules"], taken)
    for field, name in HANDLERS.items():
        if isinstance(copy.get(field), dict):
            copy[field] = _with_id(copy[field], taken, name)
    return copy


def _list_with_ids(modules: list[Any], taken: set[Any]) -> list[Any]:
    return [_with_id(module, taken) if isinstance(module, dict) else module for module in modules]


def _with_id(module: dict[str, Any], taken: set[Any], name: str | None = None) -> dict[str, Any]:
    copy = dict(module)
    if copy.get("id") in (None, ""):
        copy["id"] = name or _new_id(taken)
    value = copy.get("value")
    if isinstance(value, dict):
        copy["value"] = dict(value)
        for field, body in _bodies(value):
            inside = _branches_with_ids if field == "branches" else _list_with_ids
            copy["value"][field] = inside(body, taken)
    return copy


def _branches_with_ids(branches: list[Any], taken: set[Any]) -> list[Any]:
    return [
        {**branch, "modules": _list_with_ids(branch["modules"], taken)} if _is_branch(branch) else branch
        for branch in branches
    ]


def _new_id(taken: set[Any]) -> str:
    """A name that JavaScript takes after a dot, as in `results.k3x9qa`; not one of `taken`, which it joins."""
    while True:
        rest = (secrets.choice(string.ascii_lowercase + string.digits) for _ in range(ID_CHARS - 1))
        name = secrets.choice(string.ascii_lowercase) + "".join(rest)
        if name not in taken:
            taken.add(name)
            return name


def raw_modules(flow: dict[str, Any], where: str = "value") -> Iterator[tuple[str, int, Any]]:
    """What should be a module: its place, how deep it is (1: the flow's own), and itself."""
    yield from _raw_list(flow.get("modules"), f"{where}.modules", 1)
    for field in HANDLERS:
        if field in flow:
            yield from _raw_module(flow[field], f"{where}.{field}", 1)


def _raw_list(modules: Any, where: str, depth: int) -> Iterator[tuple[str, int, Any]]:
    if isinstance(modules, list):
        for number, module in enumerate(modules):
            yield from _raw_module(module, f"{where}[{number}]", depth)


def _raw_module(module: Any, where: str, depth: int) -> Iterator[tuple[str, int, Any]]:
    yield where, depth, module
    value = module.get("value") if isinstance(module, dict) else None
    for field, body in _bodies(value):
        place = f"{where}.value.{field}"
        if field != "branches":
            yield from _raw_list(body, place, depth + 1)
            continue
        for number, branch in enumerate(body):
            if _is_branch(branch):
                yield from _raw_list(branch["modules"], f"{place}[{number}].modules", depth + 1)


def _bodies(value: Any) -> list[tuple[str, list[Any]]]:
    """The fields of a raw step value that hold lists of modules, or of branches, and the lists."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return []
    fields = BODIES.get(value["type"], ())
    return [(field, value[field]) for field in fields if isinstance(value.get(field), list)]


def _is_branch(branch: Any) -> bool:
    return isinstance(branch, dict) and isinstance(branch.get("modules"), list)
