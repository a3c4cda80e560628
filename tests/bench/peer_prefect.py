"""Prefect, driven by tests/bench/peers.py: words on stdin, seconds on stdout.

A flow in this process with forty tasks, Prefect's ephemeral server beside it, its database in the current directory.
Its log is kept to errors, which spares it work that we are spared too.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.update(
    PREFECT_HOME=str(Path.cwd() / "prefect"),
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_LEVEL="ERROR",
    DO_NOT_TRACK="1",
)
os.environ.pop("PREFECT_API_URL", None)

from prefect import flow, task

COUNT, N, RESULT = 40, 10, 55


def fibo(n: int) -> int:
    """What each task computes."""
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)


@task  # type: ignore[untyped-decorator]  # it is no dependency of ours
def light(n: int) -> int:
    """One of the forty."""
    return fibo(n)


@flow  # type: ignore[untyped-decorator]
def in_turn() -> list[int]:
    """Each task when the last one has ended."""
    return [light(N) for _ in range(COUNT)]


@flow  # type: ignore[untyped-decorator]
def submitted() -> list[int]:
    """All tasks at once, to the default task runner."""
    waiting = [light.submit(N) for _ in range(COUNT)]
    return [one.result() for one in waiting]


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints is no answer
    words = {"in turn": in_turn, "submitted": submitted}
    for line in sys.stdin:
        began = time.perf_counter()
        results = words[line.strip()]()
        spent = time.perf_counter() - began
        if results != [RESULT] * COUNT:
            raise RuntimeError(f"the flow gave {results!r}")
        print(spent, file=answers)


if __name__ == "__main__":
    main()
