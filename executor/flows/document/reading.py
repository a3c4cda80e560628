"""From a flow's raw value to types, or one clear complaint with its place in the document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from executor.errors import BadInput
from executor.flows.document.ids import HANDLERS, raw_modules
from executor.flows.document.model import STEP_TYPES, Flow, PathScript, RawScript
from executor.flows.document.parts import TRANSFORM_TYPES, transform_kind
from executor.flows.plain import at, check_plain, shown
from executor.settings import Settings

FREE_NAMES = ("input_transforms", "input_transform", "flow_env")
"""The fields whose keys are the user's own."""


@dataclass(frozen=True)
class FlowLimits:
    """How large a flow may be.

    `depth` levels of modules inside modules (1: no loop and no branch), `modules` in the whole
    document, `iterations` of one loop (for the walk; a document does not say how many there will be).
    """

    depth: int
    modules: int
    iterations: int

    @classmethod
    def of(cls, settings: Settings) -> FlowLimits:
        """The instance's."""
        return cls(settings.flow_depth_max, settings.flow_modules_max, settings.flow_iterations_max)


def read_flow(
    value: Any,
    *,
    languages: Callable[[str], str | None],
    limits: FlowLimits,
    where: str = "value",
    supported: Sequence[str] = (),
) -> Flow:
    """The flow that a raw `value` (with ids, see `with_ids`) describes.

    `languages` gives the own name of a language by its name or alias, None for one without runtime;
    `supported` are the names that a complaint about it offers. `where` is what `value` is called in
    complaints. Raises BadInput for the first thing wrong, with its place as field, and a remedy.
    Takes well under a second for a megabyte; nothing is evaluated, no path is looked up.
    """
    check_plain(value, where)
    if isinstance(value, dict):
        _check_size(value, limits, where)
    try:
        flow = Flow.model_validate(value, context={"languages": languages, "supported": supported})
    except ValidationError as error:
        raise _complaint(error, where) from None
    _check_handlers(flow, where)
    return flow


def _check_size(value: dict[str, Any], limits: FlowLimits, where: str) -> None:
    for count, (place, depth, _) in enumerate(raw_modules(value, where), 1):
        if count > limits.modules:
            raise BadInput(
                f"{where}: over {limits.modules} modules",
                field=where,
                remedy="use a loop or inner flows, or raise EXECUTOR_FLOW_MODULES_MAX",
            )
        if depth > limits.depth:
            raise BadInput(
                f"{at(place)}: modules nested over {limits.depth} levels deep",
                field=at(place),
                remedy="call an inner flow, or raise EXECUTOR_FLOW_DEPTH_MAX",
            )


def _check_handlers(flow: Flow, where: str) -> None:
    for name in HANDLERS:
        module = getattr(flow, name)
        if module is not None and not isinstance(module.value, RawScript | PathScript):
            field = f"{where}.{name}.value.type"
            raise BadInput(
                f"{field}: a {name.replace('_', ' ')} cannot be {shown(module.value.type)}",
                field=field,
                remedy="use rawscript or script",
            )


def _complaint(error: ValidationError, where: str) -> BadInput:
    """Pydantic's first complaint in our words, and how many more there are."""
    first, *others = error.errors(include_url=False)
    kind, given, context = first["type"], first["input"], first.get("ctx", {})
    place = at(where, *_parts(first["loc"]))
    if kind == "missing":
        said, remedy = "is missing", "add it"
    elif kind == "refused":
        said, remedy = context["said"], context["remedy"]
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        place, said, remedy = _wrong_type(place, given, context)
    else:
        belongs, remedy = _belongs(kind, context, first["msg"])
        said = f"{belongs}, not {shown(given)}"
    more = f" (and {len(others)} more)" if others else ""
    return BadInput(f"{place}: {said}{more}", field=place, remedy=remedy)


def _parts(location: tuple[str | int, ...]) -> list[str | int]:
    """Pydantic's location without the tags of unions, which stand in angle brackets."""
    parts: list[str | int] = []
    users = False  # whether the next key is the user's own
    for part in location:
        if users or not (isinstance(part, str) and part.startswith("<")):
            parts.append(part)
            users = not users and part in FREE_NAMES
    return parts


def _wrong_type(place: str, given: Any, context: dict[str, Any]) -> tuple[str, str, str]:
    """Place, complaint and remedy for an object whose `type` is none of a union's, or absent."""
    types = TRANSFORM_TYPES if transform_kind.__name__ in context["discriminator"] else STEP_TYPES
    remedy = f"use one of {', '.join(types)}"
    if not isinstance(given, dict):
        return place, f"an object with a type belongs here, not {shown(given)}", remedy
    if given.get("type") is None:
        return f"{place}.type", "is missing", remedy
    what = "transform" if types is TRANSFORM_TYPES else "module"
    return f"{place}.type", f"{shown(given['type'])} is not a {what} type that is supported here", remedy


NUMBERS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}
KINDS = {
    "string_type": "a text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "an array",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _belongs(kind: str, context: dict[str, Any], message: str) -> tuple[str, str]:
    """What belongs in a place, and the remedy that says so again."""
    if kind in KINDS:
        return f"{KINDS[kind]} belongs here", f"write {KINDS[kind]}"
    if kind in NUMBERS:
        word, bound = NUMBERS[kind]
        what = f"a number {word} {context[bound]:.15g}"
        return f"{what} belongs here", f"give {what}"
    if kind == "string_pattern_mismatch":
        return "an acceptable text belongs here", f"write one that matches {context['pattern']}"
    return message, "see docs/openflow.md"
