"""The database locked, read-only, gone and back: what was accepted waits for it, and `/ready` says so."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.databases import administrator, another_program, fresh, url_of
from tests.faults.settling import End, eventually, readiness, ready_again, settled
from tests.flows.running import forloop
from tests.servers.database import DatabaseServer, running

pytestmark = [pytest.mark.engine, pytest.mark.faults]

STEP = {
    "id": "s",
    "value": {
        "type": "rawscript",
        "language": "bash",
        "content": "sleep 0.5\necho s",
        "input_transforms": {},
    },
}
FLOW = {"modules": [forloop("l", [1, 2, 3], STEP)]}


def busy(service: RealService) -> dict[str, End]:
    """Jobs that run, one that waits behind them, and a flow that is in the middle."""
    accepted = {
        service.submit("bash", f"echo up\nsleep 1\necho {number}\n"): End(result=str(number))
        for number in range(5)
    }
    response = service.http.post("/api/w/main/jobs/run/preview_flow", json={"value": FLOW})
    assert response.status_code == 201
    service.running(next(iter(accepted)))
    return {**accepted, response.text: End(result=["s"] * 3)}


def says_no(service: RealService, word: str) -> None:
    """`/ready` blames the database, and nothing else; the process lives; a new job is refused, not lost."""
    eventually(lambda: readiness(service)[0] == 503, lambda: readiness(service), 15)
    assert [word in told and told.startswith("database: ") for told in readiness(service)[1]] == [True]
    assert service.http.get("/health").status_code == 200


def refuses(service: RealService) -> None:
    """A job that cannot be stored is not accepted, in words."""
    body = {"language": "bash", "content": "echo 1"}
    response = service.http.post("/api/w/main/jobs/run/preview", json=body)
    assert (response.status_code, "database" in response.text) == (503, True)


@contextmanager
def locked(service: RealService) -> Iterator[None]:
    """Another program keeps SQLite's write lock."""
    with another_program(f"sqlite:///{service.folder / 'executor.db'}") as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")


def test_a_locked_database_is_waited_for(service: RealService) -> None:
    """Scripts run on meanwhile; none runs twice, and a job handed in meanwhile is accepted late."""
    service.start()
    accepted = busy(service)
    with locked(service):
        says_no(service, "no answer within")
    settled(service, accepted)


def test_a_database_that_cannot_be_written_is_waited_for(service: RealService) -> None:
    """Nor anything else, its own log included; what is stored can be read."""
    service.start()
    accepted = busy(service)
    with writes_nothing(service):
        says_no(service, "the database does not work")
        refuses(service)
        assert service.job(next(iter(accepted)))["id"]
        time.sleep(2)
    settled(service, accepted)


@contextmanager
def writes_nothing(service: RealService) -> Iterator[None]:
    """The kernel refuses each write of the service's process to a file."""
    assert service.process is not None
    before = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def served_from(folder: Path) -> Iterator[RealService]:
    """A service on this data directory, which is on a small disk."""
    service = RealService(folder, EXECUTOR_CONCURRENCY="4", EXECUTOR_SHARED_MB="16")
    service.folder.mkdir()
    try:
        service.start()
        yield service
    finally:
        service.close()


@pytest.fixture
def own_server() -> Iterator[DatabaseServer]:
    """A PostgreSQL server of this test's own, which may be stopped."""
    with running("postgresql") as server:
        yield server


def test_a_server_that_stops_writing_is_waited_for(
    service: RealService, postgresql_server: DatabaseServer
) -> None:
    """As one that has become a standby."""
    with fresh(postgresql_server) as url:
        service.settings["EXECUTOR_DATABASE_URL"] = url
        service.start()
        accepted = busy(service)
        name = url.rpartition("/")[2].partition("?")[0]
        set_read_only(postgresql_server, name, "on")
        says_no(service, "read-only")
        refuses(service)
        set_read_only(postgresql_server, name, "off")
        settled(service, accepted)
        service.close()


def set_read_only(server: DatabaseServer, database: str, value: str) -> None:
    """Have the database take no writes, or take them again, on connections that are made from now on."""
    server.ask(f'ALTER DATABASE "{database}" SET default_transaction_read_only = {value}')
    server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")


@pytest.fixture
def on_own_server(service: RealService, own_server: DatabaseServer) -> Iterator[dict[str, End]]:
    """What the service was handed in, which keeps it on that server and is in the middle of it."""
    with administrator(own_server) as ask:
        ask.execute("CREATE DATABASE gone")
    service.settings["EXECUTOR_DATABASE_URL"] = url_of(own_server, "gone")
    service.start()
    yield busy(service)
    service.close()


def test_a_server_that_is_silent_for_a_while_is_waited_for(
    service: RealService, own_server: DatabaseServer, on_own_server: dict[str, End]
) -> None:
    """Frozen in the middle of what it did, as by a machine that hangs, and gone on with some seconds later."""
    own_server.container.pause()
    try:
        says_no(service, "no answer within")
    finally:
        own_server.container.unpause()
    ready_again(service, 60)
    settled(service, on_own_server)


def test_a_server_that_is_killed_and_comes_back_is_waited_for(
    service: RealService, own_server: DatabaseServer, on_own_server: dict[str, End]
) -> None:
    """Each connection breaks, new ones are refused, and later the server is there again."""
    with own_server.gone():
        says_no(service, "the database does not work")
        refuses(service)
        time.sleep(3)
    ready_again(service, 60)
    settled(service, on_own_server)
