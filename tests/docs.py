"""The tables in the documents that are made from the code: `python -m tests.docs` writes them anew.

tests/unit/test_docs.py fails when a document is not as this module would write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from executor.settings import LimitBounds, Settings
from tests.runtimes.cases import common

ROOT = Path(__file__).parent.parent
VARYING = {"concurrency": "twice the host's cores, at least 4"}
"""Defaults that depend on the host, and are told in words."""


def settings_table() -> Iterator[str]:
    """Every setting with its default."""
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        if name == "limits":
            continue
        default = VARYING.get(name, _shown(field.default))
        yield f"| `EXECUTOR_{name.upper()}` | {default} | {field.description} |"


def limits_table() -> Iterator[str]:
    """Defaults and maxima of a job's limits."""
    yield "| limit | default | maximum |"
    yield "|---|---|---|"
    for name, bound in LimitBounds():
        most = (
            "the host's cores"
            if name == "cpus"
            else f"{bound.maximum:g}"
            if bound.maximum < 1e6
            else _mib(bound.maximum)
        )
        least = f"{bound.default:g}" if bound.default < 1e6 else _mib(bound.default)
        yield f"| `{name}` | {least} | {most} |"


def cases_table() -> Iterator[str]:
    """What every language is asked."""
    yield "| case | what is asked |"
    yield "|---|---|"
    for name, case in common().items():
        shown = f"**`{name}`**" if case.get("mandatory") else f"`{name}`"
        yield f"| {shown} | {case['asks'].replace('|', chr(92) + '|')} |"


DOCUMENTS: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "docs/operating.md": {"settings": settings_table, "limits": limits_table},
    "CONTRIBUTING.md": {"cases": cases_table},
}


def rewritten(name: str) -> str:
    """The document with its tables as the code has them now."""
    text = (ROOT / name).read_text("utf-8")
    for marker, table in DOCUMENTS[name].items():
        begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
        before, found, rest = text.partition(begin)
        _, also_found, after = rest.partition(end)
        if not (found and also_found):
            raise AssertionError(f"BUG: {name} has no place for the table {marker}")
        text = f"{before}{begin}\n" + "\n".join(table()) + f"\n{end}{after}"
    return text


def _shown(value: Any) -> str:
    return "—" if value is None else f"`{value}`"


def _mib(size: float) -> str:
    return f"{size / (1 << 20):g} MiB"


if __name__ == "__main__":
    for document in DOCUMENTS:
        (ROOT / document).write_text(rewritten(document), "utf-8")
