"""llm-sandbox, driven by tests/bench/peers.py: `peer_llm_sandbox.py IMAGE`, then words on stdin, seconds on stdout.

It gets what makes it fast: an image with its environment already in place, so that no session makes a virtual
environment or asks a package index, and an init as PID 1, without which closing a session takes ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from llm_sandbox import SandboxSession
from llm_sandbox.pool import PoolConfig, create_pool_manager

CODE = "print(1)"
SETTINGS: dict[str, Any] = {"skip_environment_setup": True, "runtime_configs": {"init": True}}


def run(open_session: Callable[[], Any]) -> float:
    """Seconds from opening a session to its close, with one script between."""
    began = time.perf_counter()
    with open_session() as session:
        said = session.run(CODE).stdout
    spent = time.perf_counter() - began
    if said.strip() != "1":
        raise RuntimeError(f"the script said {said!r}")
    return spent


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints is no answer
    image = sys.argv[1]
    with create_pool_manager(
        config=PoolConfig(min_pool_size=1), lang="python", image=image, **SETTINGS
    ) as pool:
        words = {
            "pooled": lambda: SandboxSession(pool=pool, lang="python"),
            "fresh": lambda: SandboxSession(lang="python", image=image, **SETTINGS),
        }
        for line in sys.stdin:
            print(run(words[line.strip()]), file=answers)


if __name__ == "__main__":
    main()
