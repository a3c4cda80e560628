"""A flow in a file, for the command line: JSON or YAML, as OpenFlow exports it or the bare value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from executor.errors import BadInput
from executor.flows.plain import check_plain, shown
from executor.flows.yaml12 import from_yaml

FILE_MB_MAX = 64


@dataclass(frozen=True)
class FlowFile:
    """What a file says: the flow's raw value, its input spec (None: none) and its summary."""

    value: dict[str, Any]
    schema: Any = None
    summary: str = ""


def read_flow_file(path: Path) -> FlowFile:
    """The flow in a file; its name's ending tells JSON (`.json`) from YAML (`.yaml`, `.yml`, others).

    Raises BadInput, naming the file and, for what cannot be parsed, the line: it cannot be read, is no
    UTF-8, is neither JSON nor YAML, or holds no flow. Whether the flow is well formed is for
    `read_flow` to say.
    """
    text = _text(path)
    return parse_flow(text, str(path), is_json=path.suffix.lower() == ".json")


def parse_flow(text: str, name: str, *, is_json: bool) -> FlowFile:
    """As `read_flow_file`, for a text that is called `name` in complaints."""
    document = _from_json(text, name) if is_json else _from_either(text, name)
    check_plain(document, name)
    if not isinstance(document, dict):
        raise BadInput(f"{name}: an object belongs here, not {shown(document)}", field=name, remedy=REMEDY)
    if "modules" in document:
        return FlowFile(document)
    value = document.get("value")
    if not isinstance(value, dict) or "modules" not in value:
        raise BadInput(f"{name}: holds no flow", field=name, remedy=REMEDY)
    summary = document.get("summary")
    return FlowFile(value, document.get("schema"), summary if isinstance(summary, str) else "")


REMEDY = "write a flow's value with its `modules`, or an object with `summary`, `value` and `schema`"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MB_MAX * 1024 * 1024 + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot be read: {reason}", field=str(path)) from None
    if len(content) > FILE_MB_MAX * 1024 * 1024:
        raise BadInput(f"{path}: over {FILE_MB_MAX} MiB", field=str(path), remedy="pass data as arguments")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}: line {line} is not UTF-8", field=str(path), remedy="save it as UTF-8"
        ) from None


def _from_either(text: str, name: str) -> Any:
    """What begins like JSON and is JSON, else YAML."""
    if text.lstrip().startswith("{"):
        try:
            return _from_json(text, name)
        except BadInput:
            pass  # YAML has braces too, and its complaint has the line
    return from_yaml(text, name)


def _from_json(text: str, name: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise BadInput(f"{name}: not JSON: {error}", field=name, remedy="mend it there") from None
