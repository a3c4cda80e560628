"""`python -m tests.runtimes [LANGUAGE…]`: the conformance cases in real containers, as a table.

Exit status: 0 all right, 1 some wrong, 2 no such language.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from executor.errors import ExecutorError
from executor.runtimes import Runtimes, scan
from executor.sandbox.run import Sandbox
from executor.settings import Settings, load
from tests.runtimes.bench import Servers, ask, sandbox
from tests.runtimes.cases import Case, answered, wrong
from tests.runtimes.judge import complaints
from tests.servers.database import DatabaseServer

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


async def check(settings: Settings, runtimes: Runtimes, names: list[str]) -> int:
    """Ask every case of the languages, print a line each, and give the number of wrong ones."""
    os.environ["EXECUTOR_CONFORMANCE_MARK"] = "visible"
    wrong_ones = passed = 0
    table = Table("language", "case", "", "seconds", "what is asked", title="conformance")
    with tempfile.TemporaryDirectory(prefix="executor-conformance-") as folder, ExitStack() as stack:
        servers = Servers(stack)
        for name in names:
            runtime, server = runtimes.by_name[name], servers.of(name)
            async with sandbox(settings, runtimes, Path(folder)) as made:
                for said in wrong(runtime):
                    wrong_ones += 1
                    table.add_row(name, "", "[red]wrong[/]", "", said)
                for skipped, reason in runtime.manifest.conformance.skip.items():
                    table.add_row(name, skipped, "[yellow]not[/]", "", reason)
                for case in answered(runtime):
                    seconds, complaint = await _one(made, case, settings, server)
                    console.print(f"{name} {case.name}: {'WRONG' if complaint else 'right'}")
                    wrong_ones += bool(complaint)
                    passed += not complaint
                    mark = "[red]wrong[/]" if complaint else "[green]right[/]"
                    table.add_row(name, case.name, mark, seconds, "\n".join(complaint) or case.asks)
    console.print(table)
    print(f"{passed} passed, {wrong_ones} failed")
    return wrong_ones


async def _one(
    made: Sandbox, case: Case, settings: Settings, server: DatabaseServer | None
) -> tuple[str, list[str]]:
    try:
        seen = await ask(made, case, settings, server)
    except ExecutorError as error:
        return "", [f"{type(error).__name__}: {error}"]
    return f"{seen.seconds:.2f}", complaints(case, seen)


def main() -> None:
    """Check the languages named on the command line, or all."""
    settings = load()
    runtimes = scan(settings.runtimes)
    asked = [name for name in sys.argv[1:] if name]
    if unknown := [name for name in asked if runtimes.find(name) is None]:
        print(
            f"no language is called {unknown[0]!r}; there are: {', '.join(runtimes.names())}", file=sys.stderr
        )
        sys.exit(2)
    names = [runtime.name for name in asked if (runtime := runtimes.find(name))] or runtimes.names()
    sys.exit(1 if asyncio.run(check(settings, runtimes, names)) else 0)


if __name__ == "__main__":
    main()
