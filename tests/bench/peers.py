"""Others beside us, in the same minutes: llm-sandbox for one script, Prefect for the flow of forty tasks.

Ours and theirs take turns. A peer that cannot be had here is a row with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

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
    {"in turn": "tasks called in turn", "submitted": "tasks submitted at once"},
    "ephemeral server, default task runner; tasks are calls in one process, no isolation",
)


@dataclass(frozen=True)
class Contest:
    """What is compared, in which unit (`scale` of it is a second), how often, and our way of doing it once."""

    title: str
    unit: str
    scale: float
    act: Callable[[], float]
    rounds: int
    pause_s: float


def peers(figures: Figures, engine: str, *, quick: bool) -> None:
    """Both comparisons, against one service of ours."""
    group = f"peers, {engine}"
    body, flow = script("python3", PRINTS), steps("python3", 40, 10)
    with serving(figures, engine) as (service, _), image_for_peers() as image:
        caller = Caller(service.port)
        rounds = 5 if quick else 20
        single = Contest("one script that prints 1", "ms", 1000.0, lambda: caller.run(body), rounds, PAUSE_S)
        beside(figures, group, single, LLM_SANDBOX, image)
        rounds, pause_s = (2, 5.0) if quick else (5, 10.0)  # ours idles while the others have their turns
        many = Contest("40 x fibo(10)", "s", 1.0, lambda: caller.flow(flow), rounds, pause_s)
        beside(figures, group, many, PREFECT)
        caller.close()


def beside(figures: Figures, group: str, contest: Contest, peer: Peer, *arguments: str) -> None:
    """Rows of ours and of a peer's words; of one that is not here only why."""
    times, why = measured(contest, peer, arguments)
    own, own_p95 = (contest.scale * one for one in summary(times[OURS]))
    note = "a fresh hardened container each"
    figures.add(Row(group, f"{OURS}, {contest.title}", own, contest.unit, p95=own_p95, note=note))
    for word, name in peer.words.items():
        title = f"{peer.title}, {contest.title}, {name}"
        if why:
            figures.add(Row(group, title, None, contest.unit, note=why))
            continue
        theirs, p95 = (contest.scale * one for one in summary(times[word]))
        held: dict[str, Any] = {"reference": OURS, "reference_value": own}
        figures.add(Row(group, title, theirs, contest.unit, p95=p95, note=peer.note, **held))


def measured(contest: Contest, peer: Peer, arguments: Sequence[str]) -> tuple[dict[str, list[float]], str]:
    """Seconds of ours and by the peer's words; of ours alone, and why, where the peer is not here."""
    acts = {OURS: contest.act}
    try:
        with running(peer, arguments) as ask:
            acts_of_all = acts | {word: partial(ask, word) for word in peer.words}
            return in_turn(acts_of_all, contest.rounds, contest.pause_s), ""
    except NotHereError as error:
        return in_turn(acts, contest.rounds, contest.pause_s), str(error)


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
