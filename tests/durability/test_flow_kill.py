"""kill -9 at every write of a flow run: begun again, it gives what it would have given."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from executor.storage.tables import jobs
from tests.databases import another_program
from tests.durability.conftest import Fresh
from tests.durability.flow_life import INNER, Order, live
from tests.flows.running import (
    Module,
    branchall,
    branchone,
    call,
    forloop,
    ident,
    inner,
    retry,
    static,
    stop,
    whileloop,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.durability.flow_life", "sqlalchemy.dialects.postgresql.psycopg"])
ASKING = threading.Lock()
"""A start looks how all other processes have ended; where two threads read that, one of them reads 255."""
AT_ONCE = 3
LIFE_S = 60


def gives(id: str, key: str = "''", **settings: Any) -> Module:
    """A script that notes its runs under its id and the value of `key`."""
    return call(id, "gives", args={"k": f"'{id} ' + {key}", **settings.pop("args", {})}, **settings)


def breaks(id: str, **settings: Any) -> Module:
    """One that fails."""
    return call(id, "breaks", args={"k": static(id)}, **settings)


INDEX = "flow_input.iter.index"
BOTH = "flow_input.iter_parent.index + ' ' + flow_input.iter.index"
HANDLER = gives("failure", "error.message")

FLOWS: dict[str, dict[str, Any]] = {
    "in turn": {
        "modules": [
            gives("a"),
            forloop("l", "flow_input.list", gives("b", INDEX), stop_after_if=stop("result == 'b 1'")),
            whileloop("w", gives("c", INDEX), stop_after_if=stop("all_iters.length == 2")),
            branchone("o", ("results.l.length == 2", [gives("d"), ident("e")]), default=[breaks("x")]),
            branchall("t", [gives("f")], [gives("g")], parallel=False),
            gives("h", "JSON.stringify(results.t)"),
        ]
    },
    "side by side": {
        "modules": [
            forloop("l", [1, 2, 3, 4], gives("a", INDEX), ident("i"), parallel=True, parallelism=2),
            branchall(
                "b",
                [gives("b1"), forloop("n", [1, 2], gives("b2", INDEX), parallel=True)],
                [breaks("b3")],
                [],
                skip=(1,),
            ),
            gives("last", "results.l.length + results.b.length"),
        ],
        "failure_module": HANDLER,
    },
    "failures": {
        "modules": [
            breaks("a", retry=retry(2), continue_on_error=True),
            gives("b", "error.message", skip_if={"expr": "false"}),
            gives("s", skip_if={"expr": "true"}),
            gives("m", mock={"enabled": True, "return_value": 5}),
            forloop("l", [1, 2], breaks("c"), skip_failures=True, retry=retry(1)),
            branchone("o", ("true", [breaks("d")])),
        ],
        "failure_module": HANDLER,
        "preprocessor_module": call("preprocessor", "gives", args={}),
    },
    "pauses": {
        "modules": [
            gives("a", sleep=static(1.1)),
            gives("b", suspend={"required_events": 1}),
            gives("c", "JSON.stringify([resume, approvers])"),
            forloop("l", [1, 2], forloop("n", [1], gives("d", BOTH)), parallel=True),
            gives("e", stop_after_if=stop("true", skip_if_stopped=True)),
            breaks("never"),
        ]
    },
    "inner flows": {
        "modules": [
            inner("i", INNER, args={"list": "[1, 2]", "r": "Math.random()"}),
            branchall(
                "b", [inner("j", INNER, args={"list": "[3]"})], [inner("k", INNER + "/none")], skip=(1,)
            ),
            ident("n", skip_if={"expr": "null.x"}, retry=retry(1), continue_on_error=True),
            gives("a", "error.name", delete_after_use=True),
            gives("t", args={"x": "null.y"}, retry=retry(1), continue_on_error=True),
            gives("z", "error.reason + ' ' + results.i.length"),
        ],
    },
}
STORED: dict[str, Any] = {
    "modules": [
        gives("s1", "flow_input.list.length", delete_after_use=True, sleep=static(0.1)),
        forloop("l1", "flow_input.list", gives("s2", INDEX)),
    ],
    "concurrent_limit": 1,
    "cache_ttl": 60,
}
# A preprocessor gets the raw input only, so the key of its runs is there.
FLOWS["failures"]["preprocessor_module"]["value"]["content"] = json.dumps([{"result": {"k": "p"}}])


EACH_WRITE = [
    *(pytest.param("sqlite", name) for name in FLOWS),
    *(
        pytest.param("postgresql", name, marks=[pytest.mark.engine, *long])
        for name in FLOWS
        for long in ([] if name == "side by side" else [pytest.mark.long],)
    ),
]
"""On which database which flow: all, but some of them among the long tests only."""


def lived(order: Order) -> int | None:
    """Live a life; how the process ended."""
    process = PROCESSES.Process(target=live, args=(order,))
    with ASKING:
        process.start()
    wait([process.sentinel], LIFE_S)
    with ASKING:
        try:
            assert process.exitcode is not None, "the life does not end"
            return process.exitcode
        finally:
            process.kill()


def ran(order: Order) -> Counter[str]:
    """How often each script has run."""
    return Counter(order.record.read_text().splitlines() if order.record.exists() else [])


def completed(order: Order) -> set[str]:
    """The places of script jobs that had ended when the process died."""
    with another_program(order.database_url or f"sqlite:///{order.folder / 'executor.db'}") as connection:
        scripts = select(jobs.c.run_path).where(jobs.c.role == "script", jobs.c.attempt > 0)
        return set(connection.execute(scripts.where(jobs.c.state == "completed")).scalars())


def whole(folder: Path, name: str) -> tuple[dict[str, Any], Counter[str]]:
    """The report of an undisturbed run, and what ran."""
    folder.mkdir()
    order = Order(folder, FLOWS[name], STORED)
    assert lived(order) == 0
    return json.loads(order.report.read_text()), ran(order)


def killed_at(order: Order, name: str, kills: list[int]) -> str | None:
    """Die at these writes, one life each, then live to the end; what is wrong with that, if anything."""
    order.folder.mkdir()
    died, ended, spent = 0, set[str](), Counter[str]()
    for kill_at in kills:
        if lived(replace(order, kill_at=kill_at)) == 0:
            break  # the run has ended before
        died += 1
        ended, spent = completed(order), ran(order)
    if not order.report.exists():
        assert lived(order) == 0
    report, runs = json.loads(order.report.read_text()), ran(order)
    expected, once = UNDISTURBED[name]
    again = runs - once
    checks = {
        "status": report["status"] == expected["status"],
        "result": report["result"] == expected["result"],
        "places": [row[0] for row in report["jobs"]] == [row[0] for row in expected["jobs"]],
        "all ended": all(row[1] == "completed" for row in report["jobs"]),
        "nothing lives": report["living"] == 0,
        "none is missing": not once - runs,
        "only what was on its way ran again": again.total() <= 3 * died,
        "once more per kill": all(times <= died for times in again.values()),
        "what had ended is final": all(row[2] <= died + 1 for row in report["jobs"]),
        "ended is ended": len(ended) + (runs - spent).total() >= once.total() - again.total(),
    }
    wrong = [check for check, holds in checks.items() if not holds]
    return f"killed at {kills} of {name}: not {wrong}; {report['result']!r}, again {again}" if wrong else None


UNDISTURBED: dict[str, tuple[dict[str, Any], Counter[str]]] = {}


@pytest.fixture(scope="module", autouse=True)
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What each flow gives when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for number, name in enumerate(FLOWS):
        UNDISTURBED[name] = whole(folder / str(number), name)


@dataclass
class Kills:
    """Kills runs of a flow, each in a folder and a database of its own."""

    folder: Path
    fresh_database: Fresh

    def swept(self, name: str, lists: list[list[int]], after: bool) -> list[str]:
        """Die at each list's writes; what went wrong."""

        def one(number: int, kills: list[int]) -> str | None:
            with self.fresh_database() as url:
                order = Order(self.folder / str(number), FLOWS[name], STORED, url, after=after)
                return killed_at(order, name, kills)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            return [wrong for wrong in threads.map(one, range(len(lists)), lists) if wrong]


@pytest.fixture
def kills(tmp_path: Path, fresh_database: Fresh) -> Kills:
    return Kills(tmp_path, fresh_database)


@pytest.mark.parametrize(("fresh_database", "name"), EACH_WRITE, indirect=["fresh_database"])
def test_killed_at_each_write(kills: Kills, name: str) -> None:
    """The result is the undisturbed one; what had ended does not run again; nothing is left over."""
    writes = UNDISTURBED[name][0]["writes"]
    assert kills.swept(name, [[number] for number in range(1, writes + 1)], after=False) == []


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", FLOWS)
def test_killed_again_and_again(kills: Kills, name: str, after: bool) -> None:
    """At a write, and then at each further one; also right behind its commit."""
    writes = UNDISTURBED[name][0]["writes"]
    lists = [[number, step, step] for number in range(1, writes + 1) for step in (1, 2, 5)]
    assert kills.swept(name, lists, after) == []


async def test_no_process_outlives_the_one_that_was_killed(tmp_path: Path) -> None:
    """What evaluates expressions ends with its parent."""
    order = Order(tmp_path, FLOWS["in turn"], STORED, kill_at=8)
    process = PROCESSES.Process(target=live, args=(order,))
    process.start()
    process.join(LIFE_S)
    assert process.pid is not None
    session = process.pid
    await until(lambda: not in_session(session))


def in_session(session: int) -> list[str]:
    """The processes of a session, which the killed one had led."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found
