"""A mix of jobs by 16 clients that never pause: how even the times are, and what is left when they stop.

The mix's flows take many times as long as its scripts, so the 95th percentile of all times would tell how many flows
were in it. Each time is therefore measured in multiples of the median of its own kind, in this same saturated
run; the 95th percentile of all these multiples says how much longer than usual a job may take, whatever it is.
"""

from __future__ import annotations

import http.client
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.acceptance.service import RealService
from tests.bench.calls import Caller, at_once
from tests.bench.figures import Figures, Row, summary
from tests.bench.kinds import KINDS, Kind
from tests.bench.leftovers import busy, mounts, settled, strays, unended
from tests.bench.serving import serving

CLIENTS = 16
BOUND = 3.0
SHOWN = 3
"""Errors that are told in full."""


@dataclass
class Sample:
    """What the clients saw: the times of each kind in seconds, and how often which answer was wrong."""

    seconds: float = 0.0
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Right answers."""
        return sum(map(len, self.times.values()))

    def multiples(self) -> list[float]:
        """All times, each as a multiple of the median of its kind."""
        medians = {name: summary(times)[0] for name, times in self.times.items()}
        return [one / medians[name] for name, times in self.times.items() for one in times]


def seconds(quick: bool) -> float:
    """How long the clients post."""
    return 30.0 if quick else 300.0


def mix(figures: Figures, engine: str, length_s: float) -> None:
    """Measure, and look for what is left: beside the running service, and after its end."""
    group = f"mix of {CLIENTS} clients, {engine}"
    before = strays()
    with serving(figures, engine) as (service, _):
        sample = sampled(service, KINDS, length_s)
        times(figures, group, sample)
        left = {"containers, beside those that wait": settled(lambda: busy(service))}
        service.stop()
        left["jobs without an end"] = unended(service)
        left["containers after the service's end"] = settled(service.containers)
        left["mounts and loop devices"] = settled(lambda: mounts(service))
        left["control groups, runtime states"] = settled(lambda: sorted(strays() - before))
    for name, found in left.items():
        nothing(figures, group, f"left over: {name}", found, len(found))


def sampled(service: RealService, kinds: Sequence[Kind], length_s: float) -> Sample:
    """Have each client post one job after the other; each kind is tried once before, and must work."""
    caller = Caller(service.port)
    for kind in kinds:
        status, answer = caller.ask(kind.path, kind.body)
        assert kind.is_right(status, answer), f"{kind.name}: {status} {answer[:500]!r}"
    caller.close()
    sample, clients = Sample(), iter(range(CLIENTS))
    shares = [kind.share for kind in kinds]
    deadline = time.perf_counter() + length_s
    print(f"  {CLIENTS} clients for {length_s:.0f} s", flush=True)

    def act(caller: Caller) -> None:
        chance = random.Random(next(clients))  # the same jobs in every run
        while time.perf_counter() < deadline:
            one(caller, chance.choices(kinds, shares)[0], sample)

    sample.seconds = at_once(service.port, CLIENTS, act)
    return sample


def one(caller: Caller, kind: Kind, sample: Sample) -> None:
    """Post one job and note its time, or what was wrong."""
    began = time.perf_counter()
    try:
        status, answer = caller.ask(kind.path, kind.body)
    except (OSError, http.client.HTTPException) as error:
        sample.errors[f"{kind.name}: {error!r}"] += 1
        caller.close()  # the next request connects anew
        time.sleep(0.1)
        return
    if kind.is_right(status, answer):
        sample.times[kind.name].append(time.perf_counter() - began)
    else:
        sample.errors[f"{kind.name}: {status} {answer[:200]!r}"] += 1


def times(figures: Figures, group: str, sample: Sample) -> None:
    """The rows of a sample: each kind, all kinds, throughput, errors."""
    for name, spent in sorted(sample.times.items()):
        middle, p95 = summary(spent)
        note = f"{len(spent)} jobs"
        figures.add(Row(group, name, 1000 * middle, "ms", p95=1000 * p95, note=note))
    figures.add(
        Row(
            group,
            "p95 of all jobs over their kind's median",
            summary(sample.multiples())[1] if sample.count else None,
            "x",
            goal="at most 3 x the median at saturation",
            bound=BOUND,
            note=f"{sample.count} jobs in {sample.seconds:.0f} s",
        )
    )
    figures.add(Row(group, "throughput", sample.count / sample.seconds, "jobs/s"))
    told = [f"{count} x {error}" for error, count in sample.errors.most_common()]
    nothing(figures, group, "errors", told, sample.errors.total())


def nothing(figures: Figures, group: str, name: str, found: Sequence[str], count: int) -> None:
    """A row of what there should be none of; the first of what there is are told."""
    figures.add(Row(group, name, count, "", goal="none", bound=0, note="; ".join(found[:SHOWN])))
