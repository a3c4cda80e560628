"""What is tried on a host: the cases of cases.toml, as values."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.script import Failed, Outcome

FILE = Path(__file__).with_name("cases.toml")
LIMITS: Mapping[str, float] = {
    "timeout_s": 20,
    "memory_mb": 96,
    "pids": 64,
    "tmp_mb": 16,
    "log_bytes": 1 << 20,
}
"""Those of each case, where it does not say otherwise."""
SUCCESS = "success"


@dataclass(frozen=True)
class Case:
    """A script that misbehaves, what it tries, and how it must end; cases.toml says more."""

    id: str
    area: str
    tries: str
    must: str
    language: str
    content: str
    before: str = ""
    """A script that runs before it, in a container of its own."""
    is_told: bool = False
    """Whether its arguments are the host's addresses and the port we listen on."""
    limits: Mapping[str, float] = field(default_factory=dict)
    ends: str | list[str] = SUCCESS
    result: Any = None
    lacks: str = ""
    """What neither log nor result may hold."""

    def objection(self, outcome: Outcome, log: str) -> str | None:
        """Why this is not how the case must end; None if it is."""
        ended = outcome.reason.value if isinstance(outcome, Failed) else SUCCESS
        shown = outcome.message if isinstance(outcome, Failed) else outcome.value.decode("utf-8", "replace")
        if ended not in ([self.ends] if isinstance(self.ends, str) else self.ends):
            return f"ended with {ended}: {shown}"
        if self.result is not None and json.loads(shown) != self.result:
            return f"returned {shown}"
        if self.lacks and self.lacks in log + shown:
            return f"its log or result holds {self.lacks!r}"
        return None


def cases() -> list[Case]:
    """All cases, in the order of the file."""
    return [Case(**case) for case in tomllib.loads(FILE.read_text("utf-8"))["case"]]
