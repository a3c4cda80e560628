"""Programs of others, each in a virtual environment of its own below .make/peers.

A driver (peer_*.py beside this file, run by that environment) answers line by line: a word on its stdin is something to
do once, the line it prints the seconds that took. At the end of its stdin it cleans up and ends.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PLACE = Path(".make/peers")
HERE = Path(__file__).parent
INSTALL_S, LONGEST_S = 600, 300
ADDRESS = re.compile(r"\w+://\S+")


class NotHereError(Exception):
    """A peer cannot be had on this machine; says why in a line."""


@dataclass(frozen=True)
class Peer:
    """What to install, which script beside us drives it, and the words that the script knows, with their rows."""

    title: str
    requirements: tuple[str, ...]
    driver: str
    words: dict[str, str]
    note: str


@contextmanager
def running(peer: Peer, arguments: Sequence[str]) -> Iterator[Callable[[str], float]]:
    """The peer's driver, as a function from a word to seconds; raises NotHereError."""
    python = installed(peer.driver.removeprefix("peer_").removesuffix(".py"), peer.requirements)
    with tempfile.TemporaryDirectory(prefix="executor-bench-") as folder:
        errors = Path(folder) / "stderr"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [str(python), str((HERE / peer.driver).resolve()), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=folder,
                env={**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"},
            )
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(word: str) -> float:
            try:
                stdin.write(f"{word}\n")
                stdin.flush()
                if not select.select([stdout], [], [], LONGEST_S)[0]:
                    raise NotHereError(f"does not run here: no answer within {LONGEST_S} s")
                return float(stdout.readline())
            except (OSError, ValueError):
                told = errors.read_text("utf-8", "replace").strip().splitlines() or [
                    "it ended without a word"
                ]
                raise NotHereError(f"does not run here: {one_line(told[-1])}") from None

        try:
            yield ask
        finally:
            ended(process)


def ended(process: subprocess.Popen[str]) -> None:
    """Let a driver clean up: it does so at the end of its stdin."""
    try:
        process.communicate(timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.communicate()


def installed(name: str, requirements: Sequence[str], below: Path = PLACE) -> Path:
    """The interpreter of an environment that has the requirements; raises NotHereError if pip cannot get them."""
    place = below / name
    python, mark, wanted = place / "bin" / "python", place / "holds", " ".join(requirements)
    if not (mark.exists() and mark.read_text("utf-8") == wanted):
        print(f"  installing {wanted}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        try:
            done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            raise NotHereError(f"cannot be installed here: pip took over {INSTALL_S} s") from None
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
            raise NotHereError(f"cannot be installed here: {one_line(told[-1])}")
        mark.write_text(wanted, "utf-8")
    return python.absolute()


def one_line(text: str) -> str:
    """An error as a line that may be published: short, and without addresses of this place."""
    return ADDRESS.sub("…", text.removeprefix("ERROR: ").strip())[:200]
