"""No room in the data directory, and none for temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.engines import needs_root
from tests.faults.places import filled, is_full, small_disk
from tests.faults.settling import End, eventually, readiness, ready_again, settled
from tests.faults.test_database import busy, served_from

pytestmark = [pytest.mark.engine, pytest.mark.faults, needs_root]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 MiB."""
    with small_disk(tmp_path, 96) as place:
        yield place


def test_a_full_data_directory_is_waited_for(disk: Path) -> None:
    """What runs goes on, its end is stored when there is room again; nothing new is accepted meanwhile."""
    with served_from(disk / "data") as service:
        accepted = busy(service)
        with filled(disk):
            eventually(lambda: readiness(service)[0] == 503, lambda: readiness(service), 15)
            told = readiness(service)[1]
            assert any(one.startswith("room: the data directory") for one in told), told
            body = {"language": "bash", "content": "echo " + "1" * 200_000}
            eventually(
                lambda: service.http.post("/api/w/main/jobs/run/preview", json=body).status_code == 503,
                lambda: "a job was accepted",
                20,
            )
            refuses_big(service)
        ready_again(service)
        # What was accepted while the last bytes went is nobody's here: it has to end too.
        eventually(lambda: not unfinished(service, accepted), lambda: unfinished(service, accepted), 60)
        settled(service, accepted)


def refuses_big(service: RealService) -> None:
    """A job that finds no room is refused, in words."""
    body = {"language": "bash", "content": "echo " + "1" * 200_000}
    response = service.http.post("/api/w/main/jobs/run/preview", json=body)
    assert (response.status_code, "database" in response.text) == (503, True), response.text


def unfinished(service: RealService, accepted: dict[str, End]) -> list[str]:
    """Jobs that wait or run beside those we know of."""
    listed = service.http.get("/api/w/main/jobs/queue/list", params={"per_page": 100}).json()
    return [job["id"] for job in listed if job["id"] not in accepted]


def test_no_room_for_temporary_files_hurts_nothing(service: RealService, disk: Path) -> None:
    """The service keeps all it needs in its data directory and in memory."""
    with filled(disk):
        assert is_full(disk)
        service.settings["TMPDIR"] = str(disk)
        service.start()
        assert readiness(service) == (200, [])
        settled(service, busy(service))
