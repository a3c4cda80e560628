"""The jobs of the mix: what is posted, how often, and the only answer that is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.calls import FLOW, SCRIPT, flow, script

FIBO = "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\ndef main():\n    return f(20)\n"
TEXT = "a" * 65536
GO = 'package inner\n\nimport "strings"\n\nfunc main(s string) (string, error) { return strings.ToUpper(s), nil }'
WRITE = "date > shared/note; wc -l < shared/note"
READ = "def main():\n    return len(open('/shared/note').read().splitlines())\n"


@dataclass(frozen=True)
class Kind:
    """Jobs that are all alike: so many of a hundred, posted there, and whether an answer is right."""

    name: str
    share: int
    path: str
    body: bytes
    is_right: Callable[[int, bytes], bool]


def answers(value: Any) -> Callable[[int, bytes], bool]:
    """The job ends well, with this result."""
    return lambda status, body: status in (200, 201) and json.loads(body) == value


def fails(status: int, body: bytes) -> bool:
    """The job ends as a script that raised: that is an answer too."""
    return status == 500 and json.loads(body)["error"].get("reason") == "script_error"


def raw(id: str, language: str, content: str) -> dict[str, Any]:
    """A step without arguments."""
    value = {"type": "rawscript", "language": language, "content": content, "input_transforms": {}}
    return {"id": id, "value": value}


def in_turn() -> dict[str, Any]:
    """Three languages, one after the other; the last one's result is the flow's."""
    return {
        "modules": [
            raw("a", "bash", "echo 1"),
            raw("b", "python3", "def main():\n    return 2\n"),
            raw("c", "deno", "export function main() { return 3 }"),
        ]
    }


def side_by_side() -> dict[str, Any]:
    """Four iterations at once."""
    body = raw("b", "bash", "echo 4")
    iterator = {"type": "static", "value": [0, 1, 2, 3]}
    loop = {"type": "forloopflow", "iterator": iterator, "parallel": True, "skip_failures": False}
    return {"modules": [{"id": "l", "value": {**loop, "modules": [body]}}]}


def shared() -> dict[str, Any]:
    """Two steps with a directory between them."""
    return {"modules": [raw("w", "bash", WRITE), raw("r", "python3", READ)], "same_worker": True}


KINDS = (
    Kind("python3", 20, SCRIPT, script("python3", "def main():\n    return 1\n"), answers(1)),
    Kind(
        "python3 with 512 MiB",
        10,
        SCRIPT,
        script("python3", "def main():\n    return len(bytearray(30_000_000))\n", limits={"memory_mb": 512}),
        answers(30_000_000),
    ),
    Kind("python3, fibo(20)", 8, SCRIPT, script("python3", FIBO), answers(6765)),
    Kind(
        "python3, 64 KB in and out",
        6,
        SCRIPT,
        script("python3", "def main(x):\n    return x\n", args={"x": TEXT}),
        answers(TEXT),
    ),
    Kind(
        "python3 that raises", 6, SCRIPT, script("python3", "def main():\n    raise ValueError(1)\n"), fails
    ),
    Kind("deno", 15, SCRIPT, script("deno", "export async function main() { return 1 }"), answers(1)),
    Kind("bash", 16, SCRIPT, script("bash", "echo 1"), answers("1")),
    Kind(
        "bash with 64 MiB, 16 processes",
        4,
        SCRIPT,
        script("bash", "echo 1", limits={"memory_mb": 64, "pids": 16}),
        answers("1"),
    ),
    Kind("go, unchanged", 5, SCRIPT, script("go", GO, args={"s": "up"}), answers("UP")),
    Kind("flow of three languages", 5, FLOW, flow(in_turn()), answers(3)),
    Kind("flow, parallel loop of four", 3, FLOW, flow(side_by_side()), answers(["4"] * 4)),
    Kind("flow, shared directory", 2, FLOW, flow(shared()), answers(1)),
)
