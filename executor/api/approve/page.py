"""What the approval page says, by the state of its gate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response

from executor.api.approve.form import Field, Posted, fields_of
from executor.api.approve.html import Child, Html, joined, response, tag
from executor.api.gates import Gate, Link, shown_time
from executor.flows.gated import GateState

SHOWN_CHARS_MAX = 20_000


@dataclass(frozen=True)
class Asked:
    """What the gated step, and its settings, say to the approver."""

    fields: Sequence[Field]
    description: Any

    @classmethod
    def of(cls, gate: Gate) -> Asked:
        """From the form's schema, and from the step's result: `default_args`, `enums`, `description`."""
        form = gate.suspend.resume_form
        said = _object(gate.rows.result)
        schema = None if form is None or form.form_schema is None else dict(form.form_schema)
        return cls(fields_of(schema, said.get("default_args"), said.get("enums")), said.get("description"))


def _object(text: bytes | None) -> dict[str, Any]:
    """A result that is an object; an empty one for any other, also for one too deep to be looked into."""
    try:
        said = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


@dataclass(frozen=True)
class Filled:
    """What was filled in and could not be taken."""

    posted: Posted = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)


def show(link: Link, gate: Gate, filled: Filled | None = None) -> Response:
    """The page of a gate: its form, or why there is none."""
    own = gate.event(link.resume_id)
    asked = Asked.of(gate)
    title, kind = _state(gate, own is not None and own.is_approved, own is not None and not own.is_approved)
    if filled is not None:
        title, kind = "Please mend what is marked below.", "bad"
    parts: list[Child] = [_header(link, gate), _banner(title, kind), _description(asked.description)]
    if own is None and gate.state.takes_events:
        parts.append(_form(asked.fields, filled, hide_cancel=gate.suspend.hide_cancel))
    parts.append(_events(gate))
    status = 200 if filled is None else 400
    return response(f"{title} – {_step_name(gate)}", *parts, status=status)


def notice(title: str, text: str, status: int) -> Response:
    """A page that only says something."""
    return response(title, tag("header", tag("h1", title), tag("p", text)), status=status)


def sign_in(gate: Gate, *, is_wrong: bool) -> Response:
    """A page that asks for the token, without which this gate opens for nobody."""
    wrong = tag("p", "This token is not known.", class_="wrong", id="wrong") if is_wrong else None
    control = tag(
        "input",
        type="password",
        name="token",
        id="token",
        required=True,
        autocomplete="current-password",
        aria_invalid="true" if is_wrong else None,
        aria_describedby="wrong" if is_wrong else None,
    )
    return response(
        "Sign in to approve",
        tag("header", tag("h1", "Sign in to approve"), tag("p", "This approval needs an access token.")),
        tag(
            "section",
            tag(
                "form",
                tag("div", tag("label", "Access token", for_="token"), wrong, control, class_="field"),
                tag("div", tag("button", "Sign in", name="action", value="sign-in"), class_="buttons"),
                method="post",
            ),
        ),
        status=401 if is_wrong else 200,
    )


# ------------------------------------------------------------ parts


def _state(gate: Gate, has_approved: bool, has_refused: bool) -> tuple[str, str]:
    """The state in words, and how it looks."""
    suspend, missing = gate.suspend, gate.suspend.required_events - len(gate.events)
    if has_approved and gate.state.takes_events:
        more = f" {missing} more needed." if missing > 0 else ""
        return f"You approved this step.{more}", "good"
    refused_by = next(
        (event.approver or "unknown" for event in gate.events if not event.is_approved), "unknown"
    )
    goes_on = " The flow goes on." if suspend.continue_on_disapprove_timeout else ""
    match gate.state:
        case GateState.RUNNING:
            return "The step is still running; you may decide already.", "wait"
        case GateState.WAITING:
            return "Waiting for your decision.", "wait"
        case GateState.APPROVED:
            return ("You approved this step." if has_approved else "This step was approved already."), "good"
        case GateState.DISAPPROVED if has_refused:
            return f"You disapproved this step.{goes_on}", "bad"
        case GateState.DISAPPROVED:
            return f"This step was disapproved by {refused_by}.{goes_on}", "bad"
        case GateState.TIMED_OUT:
            return f"The time to approve this step is over.{goes_on}", "bad"
        case GateState.NONE:
            return "This step asks for no approval.", "wait"
        case GateState.ENDED:
            return "The flow has ended; there is nothing to approve any more.", "bad"


def _header(link: Link, gate: Gate) -> Html:
    rows = gate.rows
    facts = [("Flow", rows.run.path or "without a name"), ("Step", rows.job.step_id or "")]
    if link.approver:
        facts.append(("Asked of", link.approver))
    if gate.suspend.required_events > 1:
        facts.append(("Approvals", f"{len(gate.approvers)} of {gate.suspend.required_events}"))
    if gate.until is not None and gate.state is GateState.WAITING:
        facts.append(("Waits until", shown_time(gate.until)))
    facts.append(("Run", rows.run.id))
    listed = [joined(tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("header", tag("h1", _step_name(gate)), tag("dl", *listed))


def _step_name(gate: Gate) -> str:
    summary = None if gate.gated is None else gate.gated.module.summary
    return summary or f"Approval of step {gate.rows.job.step_id}"


def _banner(text: str, kind: str) -> Html:
    return tag("section", text, class_=f"state {kind}", role="status")


def _description(said: Any) -> Html | None:
    if said is None or said == "":
        return None
    if isinstance(said, str):
        return tag("section", tag("p", said[:SHOWN_CHARS_MAX], class_="said"))
    return tag("section", tag("pre", json.dumps(said, indent=2, ensure_ascii=False)[:SHOWN_CHARS_MAX]))


def _events(gate: Gate) -> Html | None:
    if not gate.rows.events:
        return None
    said = [
        f"{'Approved' if row.approved else 'Disapproved'} by {row.approver or 'anonymous'},"
        f" {shown_time(row.arrived_at)}"
        for row in gate.rows.events
    ]
    return tag("section", tag("h2", "So far"), tag("ul", *[tag("li", line) for line in said]))


def _form(fields: Sequence[Field], filled: Filled | None, *, hide_cancel: bool) -> Html:
    wrong = {} if filled is None else filled.wrong
    controls = []
    for one in fields:
        texts = one.initial() if filled is None else list(filled.posted.get(one.key, ()))
        controls.append(_control(one, texts, wrong.get(one.key)))
    no = tag("button", "Disapprove", name="action", value="cancel", class_="no", formnovalidate=True)
    yes = tag("button", "Approve", name="action", value="resume")
    buttons = tag("div", yes, None if hide_cancel else no, class_="buttons")
    return tag("section", tag("form", *controls, buttons, method="post"))


# ------------------------------------------------------------ controls


def _control(one: Field, texts: Sequence[str], wrong: str | None) -> Html:
    """A field with its label, its description, and what is wrong with it."""
    described = [f"{one.key}-hint"] if one.description or _hint(one) else []
    described += [f"{one.key}-wrong"] if wrong else []
    common: dict[str, Any] = {
        "name": one.key,
        "aria_invalid": "true" if wrong else None,
        "aria_describedby": " ".join(described) or None,
    }
    hint = " ".join(filter(None, (one.description, _hint(one))))
    below = joined(
        tag("p", hint, class_="hint", id=f"{one.key}-hint") if hint else None,
        tag("p", wrong, class_="wrong", id=f"{one.key}-wrong") if wrong else None,
    )
    label = one.label + (" *" if one.required and one.kind != "boolean" else "")
    if one.kind == "choices":
        return tag("fieldset", tag("legend", label), below, *_boxes(one, texts), class_="field")
    control = _input(one, texts, common)
    if one.kind == "boolean":
        return tag("div", tag("label", control, tag("span", label), class_="check"), below, class_="field")
    return tag("div", tag("label", label, for_=one.key), below, control, class_="field")


def _hint(one: Field) -> str | None:
    match one.kind:
        case "json":
            return "JSON."
        case "lines":
            return "One per line."
        case "text" if one.input_type == "datetime-local":
            return "UTC."
        case _:
            return None


def _input(one: Field, texts: Sequence[str], common: Mapping[str, Any]) -> Html:
    text = texts[0] if texts else ""
    shared = {**common, "id": one.key, "required": one.required and one.kind != "boolean"}
    match one.kind:
        case "boolean":
            return tag("input", type="checkbox", checked=bool(texts), value="on", **shared)
        case "choice":
            empty = tag("option", "–", value="")
            return tag("select", empty, *_options(one, texts), **shared)
        case "area" | "lines" | "json":
            # a browser drops the first line break after the tag
            style = "json" if one.kind == "json" else None
            return tag("textarea", "\n" + text, class_=style, maxlength=one.count("maxLength"), **shared)
        case _:
            return tag("input", type=one.input_type, value=text, **_bounds(one), **shared)


def _bounds(one: Field) -> dict[str, Any]:
    if one.kind == "number":
        step = "1" if one.is_whole else "any"
        return {"step": step, "min": one.bound("minimum"), "max": one.bound("maximum")}
    pattern = one.schema.get("pattern")
    return {
        "maxlength": one.count("maxLength"),
        "minlength": one.count("minLength"),
        "pattern": pattern if isinstance(pattern, str) else None,
        "autocomplete": "off",
    }


def _options(one: Field, chosen: Sequence[str]) -> list[Html]:
    return [
        tag("option", _shown(option), value=str(number), selected=str(number) in chosen)
        for number, option in enumerate(one.options)
    ]


def _boxes(one: Field, chosen: Sequence[str]) -> list[Html]:
    return [
        tag(
            "label",
            tag("input", type="checkbox", name=one.key, value=str(number), checked=str(number) in chosen),
            tag("span", _shown(option)),
            class_="check",
        )
        for number, option in enumerate(one.options)
    ]


def _shown(option: Any) -> str:
    return option if isinstance(option, str) else json.dumps(option, ensure_ascii=False)
