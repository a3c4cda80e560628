"""`python -m tests.soak --minutes 10 --clients 16`: exit status 1 if any check fails."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from tests.acceptance.service import RealService
from tests.bench.leftovers import WAITING, mounts, settled, strays
from tests.faults.settling import volumes
from tests.servers.database import DatabaseServer, running
from tests.soak.readings import (
    DRIFT_MAX,
    Reading,
    Verdict,
    descriptors,
    drift,
    growth,
    none,
    read,
    rows,
    shown,
    stored,
)
from tests.soak.tasks import Task, act, tasks

EVERY_S = 60.0


@dataclass
class Seen:
    """What the clients saw, and what was read beside them."""

    accepted: dict[str, Task] = field(default_factory=dict)
    times: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """By task: when, in seconds since the begin, and how long."""
    errors: Counter[str] = field(default_factory=Counter)
    readings: list[Reading] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """Jobs that ended as they should."""
        return sum(map(len, self.times.values()))


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1, help="of what each client does in turn")
    parser.add_argument("--pool", type=int, default=16, help="EXECUTOR_POOL_MAX of the service")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asked = parser.parse_args()
    before = strays()
    with serving(asked.pool) as (service, servers):
        seen, verdicts = soak(service, servers, asked, before)
        service.stop()
        verdicts.append(none("containers after the end", len(settled(service.containers))))
        verdicts.append(none("mounts after the end", len(settled(lambda: mounts(service)))))
    # Other services on this host make and remove theirs: what stays for half a minute is nobody's.
    left = settled(lambda: sorted(strays() - before))
    verdicts.append(none("control groups, runtime states after the end", len(left)))
    report(seen, verdicts)
    if asked.json is not None:
        figures = {
            "jobs": {name: len(times) for name, times in seen.times.items()},
            "errors": dict(seen.errors),
            "readings": [shown(reading) for reading in seen.readings],
            "checks": [asdict(verdict) for verdict in verdicts],
        }
        asked.json.write_text(json.dumps(figures, indent=1), "utf-8")
    return 0 if all(verdict.ok for verdict in verdicts) else 1


@contextmanager
def serving(pool: int) -> Iterator[tuple[RealService, Mapping[str, DatabaseServer]]]:
    """A service with a pool, and the database servers that its scripts may reach."""
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(running(kind)) for kind in ("postgresql", "mariadb")}
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="executor-soak-"))
        reach = " ".join(str(one) for server in servers.values() for one in server.reach[:1])
        service = RealService(Path(folder) / "data", EXECUTOR_POOL_MAX=str(pool), EXECUTOR_NETWORKS=reach)
        service.folder.mkdir()
        stack.callback(service.close)
        service.start()
        yield service, servers


def soak(
    service: RealService,
    servers: Mapping[str, DatabaseServer],
    asked: argparse.Namespace,
    before: set[str],
) -> tuple[Seen, list[Verdict]]:
    """The clients at work, a look each minute, and the checks at the end."""
    kinds, seen = tasks(service, servers), Seen()
    wrong = [error for task in kinds if (error := alone(service, task, seen)) is not None]
    assert not wrong, "\n".join(wrong)
    began, length_s = time.monotonic(), asked.minutes * 60
    first = read(service, 0, 0, before)
    seen.readings.append(first)
    clients = [
        threading.Thread(
            target=client, args=(service, kinds, seen, began, length_s, asked.seed * 1000 + number)
        )
        for number in range(asked.clients)
    ]
    for thread in clients:
        thread.start()
    while (now := time.monotonic() - began) < length_s:
        time.sleep(min(EVERY_S, max(1.0, length_s / 6), max(0.0, length_s - now)))
        seen.readings.append(read(service, time.monotonic() - began, seen.ended, before))
        print(line(seen.readings[-1]), flush=True)
    for thread in clients:
        thread.join()
    left = {
        "containers without a job": len(settled(lambda: idle(service))),
        "mounts, loop devices": len(settled(lambda: lasting_mounts(service)[first.mounts :])),
        "volumes": len(settled(lambda: volumes(service))),
    }
    seen.readings.append(read(service, time.monotonic() - began, seen.ended, before))
    return seen, [
        *totals(service, seen),
        *memory(seen, first),
        *(none(*one) for one in left.items()),
        lasting(seen, length_s),
    ]


def alone(service: RealService, task: Task, seen: Seen) -> str | None:
    """What is wrong with a task when nothing else runs: then a soak would prove nothing."""
    try:
        act(service, task, seen.accepted)
    except AssertionError as error:
        return f"{task.name}: {error}"
    return None


def lasting_mounts(service: RealService) -> list[str]:
    """Shared directories, spare ones among them, of which there are as many before the clients come."""
    return [one for one in mounts(service) if "/slots" not in one]


def idle(service: RealService) -> list[str]:
    """Containers beyond those that wait, but for the workspaces' holders, which stay for some minutes."""
    waiting = sum(float(number) for number in WAITING.findall(service.http.get("/metrics").text))
    found = [name for name in service.containers() if not name.startswith("/executor-holder-")]
    return found if len(found) > waiting else []


def client(
    service: RealService, kinds: Sequence[Task], seen: Seen, began: float, length_s: float, seed: int
) -> None:
    """One task after the other, without a pause."""
    chance, shares = random.Random(seed), [task.share for task in kinds]
    while (at_s := time.monotonic() - began) < length_s:
        task = chance.choices(kinds, shares)[0]
        try:
            seen.times[task.name].append((at_s, act(service, task, seen.accepted)))
        except (AssertionError, httpx.HTTPError) as error:
            seen.errors[f"{task.name}: {error or repr(error)}"] += 1


def totals(service: RealService, seen: Seen) -> list[Verdict]:
    """Every accepted job has the one end that is right, and there is no job that nobody handed in."""
    found = stored(service)
    wrong = [job for job, task in seen.accepted.items() if found.get(job) != (task.status, task.reason)]
    unknown = set(found) - set(seen.accepted)
    return [
        none("wrong answers", seen.errors.total()),
        Verdict("accepted jobs with a wrong end", not wrong, f"{len(wrong)} of {len(seen.accepted)}"),
        none("jobs that nobody knows of", len(unknown)),
        *(none(name, count) for name, count in rows(service).items()),
    ]


def memory(seen: Seen, first: Reading) -> list[Verdict]:
    """What the process itself holds."""
    return [growth(seen.readings[1:]), descriptors(first, seen.readings[-1])]


def lasting(seen: Seen, length_s: float) -> Verdict:
    """Whether jobs took longer towards the end."""
    ratio = drift(seen.times, length_s)
    return Verdict("p95, last third over first", ratio <= DRIFT_MAX, f"{ratio:.2f} (at most {DRIFT_MAX})")


def line(reading: Reading) -> str:
    """A reading as a line."""
    return "  ".join(f"{name} {value:g}" for name, value in shown(reading).items())


def report(seen: Seen, verdicts: Sequence[Verdict]) -> None:
    """The table, and what went wrong."""
    print()
    for name, times in sorted(seen.times.items()):
        spent = sorted(seconds for _, seconds in times)
        print(
            f"  {name:28} {len(spent):6} jobs   median {spent[len(spent) // 2]:7.2f} s   worst {spent[-1]:7.2f} s"
        )
    print()
    for verdict in verdicts:
        print(f"  {'ok  ' if verdict.ok else 'FAIL'}  {verdict.name:48} {verdict.seen}")
    for error, count in seen.errors.most_common(10):
        print(f"  {count} x {error}")


if __name__ == "__main__":
    sys.exit(main())
