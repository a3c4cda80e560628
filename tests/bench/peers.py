"""Others beside us, in the same minutes: llm-sandbox for one script, Prefect for the flow of forty tasks.

Ours and theirs take turns. A peer that cannot be had here is a row with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.calls import Caller, script
from tests.bench.driven import NotHereError, Peer, running
from tests.bench.figures import Figures, Row, summary
from tests.bench.image import image_for_peers
from tests.bench.plot import OURS
from tests.bench.scripts import steps
from tests.bench.serving import serving

PAUSE_S = 0.5
"""Before each script, so that what the last one left to do is done."""
PRINTS = "def main():\n    print(1)\n    return 1\n"


LLM_SANDBOX = Peer(
    "llm-sandbox 0.3.46",
    ("llm-sandbox[docker]==0.3.46",),
    "peer_llm_sandbox.py",
    {"pooled": "a session of its pool", "fresh": "a fresh session"},
    "Docker backend, on our image, its environment set-up skipped, an init as PID 1; no hardening",
)
PREFECT = Peer(
    "Prefect 3.8.8",
    ("prefect==3.8.8", "fastapi==0.139.0"),  # its server does not start with FastAPI's newest
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
        rounds, pause_s = (2, 5.0) if quick else (5, 10.0)  # ours idles while the others have their turns
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
                reference=OURS,
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
