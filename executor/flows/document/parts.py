"""Parts of the OpenFlow document: input transforms and the settings of modules (docs/openflow.md 1.9, 1.10, 2.1).

Values only: what they mean is the walk's. Every field has its documented default, null counts as
absent, and fields that we do not know are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from executor.flows.plain import shown
from executor.script import compact_json

SECONDS_MAX = 10 * 366 * 24 * 3600
COUNT_MAX = 65535
KEYS_MAX = 5000
TRANSFORM_TYPES = ("static", "javascript")


def refusal(message: str, remedy: str) -> PydanticCustomError:
    """A complaint in our own words; `read_flow` puts the place before it."""
    said = {"said": message, "remedy": remedy}
    return PydanticCustomError("refused", "{said}", said)


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 2.0 is whole too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def array(value: Any) -> Any:
    """A JSON array as a tuple, which nobody can change."""
    if isinstance(value, list):
        return tuple(value)
    raise PydanticCustomError("list_type", "an array belongs here")


def _few_keys(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > KEYS_MAX:
        raise refusal(f"over {KEYS_MAX} names", "pass an object instead")
    return value


def step_kind(value: Any) -> str | None:
    """The tag of a step value's type; in angle brackets, so that places in the document can leave it out."""
    kind = value.get("type") if isinstance(value, dict) else None
    return f"<{kind}>" if isinstance(kind, str) else None


def transform_kind(value: Any) -> str | None:
    """As `step_kind`, for input transforms; complaints tell the two unions apart by these names."""
    return step_kind(value)


def _refuse_true(value: bool) -> bool:
    if value:
        raise refusal(
            "not supported here, and ignoring it would widen who may approve",
            "leave it out, or set it to false",
        )
    return value


def _refuse(value: Any) -> None:
    raise refusal("not supported here, and ignoring it would widen who may approve", "leave it out")


def _static_if_number(value: Any) -> Any:
    """A bare number stands for a static transform."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refusal(f"a number or an input transform belongs here, not {shown(value)}", "write a number")
    if not value > 0:
        raise refusal(
            f"a number above 0 belongs here, not {shown(value)}", "give a number above 0, or leave it out"
        )
    return {"type": "static", "value": value}


def _blank_is_none(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _zero_is_none(number: Any) -> Any:
    return number or None


class Part(BaseModel):
    """What all parts of a document share: strict types, unknown fields ignored, null is absent."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=COUNT_MAX)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False)]
Limit = Annotated[Count | None, AfterValidator(_zero_is_none)]
Priority = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=100)]
BlankOrName = Annotated[str | None, AfterValidator(_blank_is_none)]
Texts = Annotated[Mapping[str, str], BeforeValidator(_few_keys), Field(default={})]


class Static(Part):
    """A transform that gives `value`, any JSON, as it is; strings are literal."""

    type: Literal["static"]
    value: Any = None

    @cached_property
    def as_json(self) -> bytes:
        """The value as compact JSON text."""
        return compact_json(self.value)


class Javascript(Part):
    """A transform that gives what the expression `expr` gives."""

    type: Literal["javascript"]
    expr: str = ""


InputTransform = Annotated[
    Annotated[Static, Tag("<static>")] | Annotated[Javascript, Tag("<javascript>")],
    Discriminator(transform_kind),
]
Transforms = Annotated[
    Mapping[str, InputTransform],
    BeforeValidator(_few_keys),
    Field(default={}, validation_alias=AliasChoices("input_transforms", "input_transform")),
]
PositiveNumber = Annotated[InputTransform, BeforeValidator(_static_if_number)]


class Condition(Part):
    """`skip_if`, `retry_if`: a predicate, true by JavaScript's `Boolean()`."""

    expr: str


class StopAfterIf(Condition):
    """`stop_after_if` and `stop_after_all_iters_if`.

    `skip_if_stopped`: the run ends as skipped. `error_message`: the stop is a failure; None is not,
    the empty text is one with the default message.
    """

    skip_if_stopped: bool = False
    error_message: str | None = None


class ConstantRetry(Part):
    """`attempts` retries, each after `seconds`."""

    attempts: Count = 0
    seconds: Seconds = 0


class ExponentialRetry(Part):
    """`attempts` retries after `multiplier * seconds^(n+1)` seconds, jittered by `random_factor` percent."""

    attempts: Count = 0
    multiplier: Seconds = 1
    seconds: Seconds = 0
    random_factor: Annotated[float, Field(ge=0, le=100)] = 0


class Retry(Part):
    """Constant retries first, then exponential ones; `retry_if` false stops them."""

    constant: ConstantRetry = ConstantRetry()
    exponential: ExponentialRetry = ExponentialRetry()
    retry_if: Condition | None = None


class Mock(Part):
    """An enabled one replaces the step by an identity that gives `return_value`, any JSON."""

    enabled: bool = False
    return_value: Any = None


class ResumeForm(Part):
    """The JSON Schema of what an approver fills in; stored and served."""

    form_schema: Mapping[str, Any] | None = Field(None, alias="schema")


class Suspend(Part):
    """The gate after a step: it holds if `required_events` is at least 1. `timeout` is in seconds."""

    required_events: Count = 0
    timeout: Seconds = 1800
    resume_form: ResumeForm | None = None
    user_auth_required: bool = False
    user_groups_required: Annotated[None, BeforeValidator(_refuse)] = None
    self_approval_disabled: Annotated[bool, AfterValidator(_refuse_true)] = False
    hide_cancel: bool = False
    continue_on_disapprove_timeout: bool = False
