"""Others beside us, in the same minutes: llm-sandbox for one script, Prefect for the flow of forty tasks.

Each lives in a virtual environment of its own below .make/peers and answers line by line: a word on its stdin is
something to do once, the line it prints the seconds that took. So ours and theirs take turns.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.calls import Caller, script
from tests.bench.figures import Figures, Row, summary
from tests.bench.image import image_for_peers
from tests.bench.scripts import steps
from tests.bench.serving import serving

PLACE = Path(".make/peers")
HERE = Path(__file__).parent
INSTALL_S, LONGEST_S = 600, 300
PAUSE_S = 0.5
"""Before each script, so that what the last one left to do is done."""
PRINTS = "def main():\n    print(1)\n    return 1\n"
ADDRESS = re.compile(r"\w+://\S+")


class NotHereError(Exception):
    """A peer cannot be had on this machine; says why in a line."""


@dataclass(frozen=True)
class Peer:
    """What to install, which script beside us drives it, and the words that the script knows, with their rows."""

    title: str
    requirement: str
    driver: str
    words: dict[str, str]
    note: str


LLM_SANDBOX = Peer(
    "llm-sandbox 0.3.46",
    "llm-sandbox[docker]==0.3.46",
    "peer_llm_sandbox.py",
    {"pooled": "a session of its pool", "fresh": "a fresh session"},
    "Docker backend, on our image, its environment set-up skipped, an init as PID 1; no hardening",
)
PREFECT = Peer(
    "Prefect 3.8.8",
    "prefect==3.8.8",
    "peer_prefect.py",
    {"in turn": "tasks called in turn", "submitted": "tasks submitted at once to its default runner"},
    "ephemeral server; tasks are calls in one process, no isolation",
)


def peers(figures: Figures, engine: str, *, quick: bool) -> None:
    """Both comparisons, against one service of ours."""
    group = f"peers, {engine}"
    with serving(figures, engine) as (service, _):
        caller = Caller(service.port)
        body = script("python3", PRINTS)
        with image_for_peers() as image:
            beside(
                figures,
                group,
                Contest("one script that prints 1", 1000.0, "ms", lambda: caller.run(body)),
                LLM_SANDBOX,
                [image],
                rounds=5 if quick else 20,
                pause_s=PAUSE_S,
            )
        flow = steps("python3", 40, 10)
        contest = Contest("40 x fibo(10)", 1.0, "s", lambda: caller.flow(flow))
        rounds, pause_s = (2, 5.0) if quick else (5, 30.0)
        beside(figures, group, contest, PREFECT, [], rounds=rounds, pause_s=pause_s)
        caller.close()


@dataclass(frozen=True)
class Contest:
    """What is compared, in which unit, and our way of doing it once, which gives its seconds."""

    title: str
    scale: float
    unit: str
    act: Callable[[], float]


def beside(
    figures: Figures,
    group: str,
    contest: Contest,
    peer: Peer,
    arguments: list[str],
    *,
    rounds: int,
    pause_s: float,
) -> None:
    """Rows of ours and of a peer's words; of one that is not here only why."""
    acts: dict[str, Callable[[], float]] = {"ours": contest.act}
    own = f"ours, {contest.title}"
    why = ""
    with ExitStack() as stack:
        try:
            ask = stack.enter_context(running(peer, arguments))
            acts |= {word: lambda word=word: ask(word) for word in peer.words}  # type: ignore[misc]
            times = in_turn(acts, rounds, pause_s)
        except NotHereError as error:
            why = str(error)
            times = in_turn({"ours": contest.act}, rounds, pause_s)
    middle, p95 = (contest.scale * one for one in summary(times["ours"]))
    figures.add(Row(group, own, middle, contest.unit, p95=p95, note="a fresh hardened container each"))
    for word, name in peer.words.items():
        title = f"{peer.title}, {contest.title}, {name}"
        if why:
            figures.add(Row(group, title, None, contest.unit, note=why))
            continue
        theirs, p95 = (contest.scale * one for one in summary(times[word]))
        figures.add(
            Row(
                group,
                title,
                theirs,
                contest.unit,
                p95=p95,
                reference="ours",
                reference_value=middle,
                note=peer.note,
            )
        )


def in_turn(acts: dict[str, Callable[[], float]], rounds: int, pause_s: float) -> dict[str, list[float]]:
    """Each act once to warm up, then all of them once in each round, with a pause before each."""
    for act in acts.values():
        act()
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            time.sleep(pause_s)
            times[name].append(act())
    return times


@contextmanager
def running(peer: Peer, arguments: list[str]) -> Iterator[Callable[[str], float]]:
    """The peer's driver, as a function from a word to seconds; raises NotHereError."""
    python = installed(peer.driver.removeprefix("peer_").removesuffix(".py"), peer.requirement)
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
                return float(stdout.readline())
            except (OSError, ValueError):
                told = errors.read_text("utf-8", "replace").strip().splitlines() or ["it ended without a word"]
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


def installed(name: str, requirement: str) -> Path:
    """The interpreter of an environment that has the requirement; raises NotHereError if pip cannot get it."""
    place = PLACE / name
    python, mark = place / "bin" / "python", place / "holds"
    if not (mark.exists() and mark.read_text("utf-8") == requirement):
        print(f"  installing {requirement}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        try:
            done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            raise NotHereError(f"cannot be installed here: pip took over {INSTALL_S} s") from None
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
            raise NotHereError(f"cannot be installed here: {one_line(told[-1])}")
        mark.write_text(requirement, "utf-8")
    return python.absolute()


def one_line(text: str) -> str:
    """An error as a line that may be published: short, and without addresses of this place."""
    return ADDRESS.sub("…", text.removeprefix("ERROR: ").strip())[:200]


