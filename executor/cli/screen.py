"""How the command talks: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from typing import NoReturn

from rich.console import Console
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and exit with `code`."""
    err.print("error: ", style="bold red", end="")
    err.print(message, markup=False)
    sys.exit(code)


def step(message: str) -> None:
    """Say what happens now."""
    err.print(Text.assemble(("› ", "cyan"), message), soft_wrap=True)
