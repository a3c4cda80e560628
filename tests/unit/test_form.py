"""The approval page's form against schemas and answers of every kind."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executor.api.approve.form import fields_of, payload_of
from executor.api.approve.page import Filled, _form
from executor.script import compact_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
KEYWORDS = {
    "type": st.sampled_from(["string", "number", "integer", "boolean", "array", "object", "any", "null"]),
    "format": st.sampled_from(["date-time", "textarea", "email", "password", "uri"]),
    "enum": st.lists(json_values, max_size=4),
    "items": st.fixed_dictionaries({}, optional={"enum": st.lists(json_values), "type": st.just("string")}),
}
ANY_KEYWORDS = (
    "default",
    "title",
    "description",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minRows",
)
properties = st.fixed_dictionaries(
    {},
    optional={name: values | json_values for name, values in KEYWORDS.items()}
    | dict.fromkeys(ANY_KEYWORDS, json_values),
)
texts = st.lists(
    st.text() | st.sampled_from(["0", "1", "on", "1.5", "{}", "[1]", "null", '"\\ud800"']), max_size=3
)


@given(
    st.dictionaries(st.text(max_size=5), properties | json_values, max_size=5),
    st.lists(st.text(max_size=5) | json_values, max_size=3) | json_values,
    json_values,
    json_values,
    st.dictionaries(st.sampled_from([f"field-{n}" for n in range(6)]), texts),
)
def test_no_schema_and_no_answer_breaks_the_form(
    schema: dict[str, Any], required: Any, default_args: Any, enums: Any, posted: dict[str, list[str]]
) -> None:
    """It is shown, shown again with what is wrong, and its payload is JSON with the schema's names."""
    fields = fields_of({"properties": schema, "required": required}, default_args, enums)
    assert sorted(field.name for field in fields) == sorted(schema)
    assert "<form" in _form(fields, None, hide_cancel=False)
    payload, wrong = payload_of(fields, posted)
    compact_json(payload).decode("utf-8")
    assert set(payload) <= set(schema)
    shown = _form(fields, Filled(posted, wrong), hide_cancel=False)
    assert shown.count('aria-invalid="true"') <= len(wrong)


@given(properties)
def test_what_the_form_holds_at_first_can_be_sent_as_it_is(schema: dict[str, Any]) -> None:
    """Of an option or a box of its own the default comes back as the value it was."""
    (field,) = fields_of({"properties": {"p": schema}})
    if field.kind not in ("choice", "choices", "boolean"):
        return
    payload, wrong = payload_of([field], {field.key: field.initial()})
    assert not wrong
    if field.kind == "choice" and field.initial():
        assert payload["p"] == field.default
