"""Lists of jobs: every filter, pages, order."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import LocalService, local_service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("database_url")]
PARENT = str(uuid.uuid4())


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


class Jobs:
    """Jobs of every kind, by a name that only the tests know."""

    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.ids: dict[str, str] = {}

    async def add(self, name: str, *steps: dict[str, Any], wait: bool = True, **body: Any) -> None:
        self.ids[name] = await self.service.run(*steps, **body)
        if wait:
            await self.service.ended(self.ids[name])

    async def listed(self, route: str = "list", **query: Any) -> list[str]:
        """The names of the jobs found, in order."""
        response = await self.service.get(f"jobs/{route}", **query)
        assert response.status_code == 200, response.text
        names = {job_id: name for name, job_id in self.ids.items()}
        return [names[job["id"]] for job in response.json()]


@pytest.fixture
async def jobs(service: LocalService) -> Jobs:
    made = Jobs(service)
    await made.add(
        "good",
        {"result": {"n": 1, "wm_labels": ["x", 'q"uo%te']}},
        path="f/a/one",
        args={"a": {"b": 1, "c": 2}},
    )
    await made.add("bad", {"exit": 1}, path="f/a/two_three", args={"a": [1, 2]}, tag="slow")
    await made.add("child", {"result": [1, {"k": "v"}]}, path="F/A/one", query={"parent_job": PARENT})
    await made.add("queued", {"result": 1}, wait=False, language="bash", query={"scheduled_in_secs": 60})
    await made.add("running", {"sleep": 60}, wait=False, path="f/b")
    return made


async def test_running_jobs_come_first_then_the_newest(jobs: Jobs) -> None:
    """The union of what waits, runs and is over; each list has its part."""
    assert await jobs.listed() == ["running", "queued", "child", "bad", "good"]
    assert await jobs.listed(order_desc=False) == ["running", "good", "bad", "child", "queued"]
    assert await jobs.listed("queue/list") == ["running", "queued"]
    assert await jobs.listed("completed/list") == ["child", "bad", "good"]
    count = await jobs.service.get("jobs/queue/count")
    assert count.json() == {"database_length": 1, "running": 1}


async def test_a_listed_job_has_neither_code_nor_values(jobs: Jobs) -> None:
    """Those may be big; everything else is as in the job itself."""
    (listed,) = (await jobs.service.get("jobs/list", script_path_exact="f/a/one")).json()
    whole = await jobs.service.job(jobs.ids["good"])
    assert set(whole) - set(listed) == {
        "raw_code", "raw_lock", "raw_flow", "args", "result", "logs", "flow_status",
    }  # fmt: skip
    assert {key: whole[key] for key in listed} == listed


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"script_path_exact": "f/a/one"}, {"good"}),
    ({"script_path_start": "f/a/"}, {"good", "bad"}),
    ({"script_path_start": "f/a/two_"}, {"bad"}),
    ({"script_path_start": "f/a/two%"}, set()),
    ({"script_path_start": ""}, {"good", "bad", "child", "running"}),
    ({"created_by": "admin"}, {"good", "bad", "child", "queued", "running"}),
    ({"created_by": "nobody"}, set()),
    ({"success": True}, {"good", "child"}),
    ({"success": False}, {"bad"}),
    ({"running": True}, {"running"}),
    ({"running": False}, {"good", "bad", "child", "queued"}),
    ({"parent_job": PARENT}, {"child"}),
    ({"has_null_parent": True}, {"good", "bad", "queued", "running"}),
    ({"has_null_parent": False}, {"child"}),
    ({"job_kinds": "preview"}, {"good", "bad", "child", "queued", "running"}),
    ({"job_kinds": "flow,flowpreview"}, set()),
    ({"job_kinds": "flow,preview", "success": True}, {"good", "child"}),
    ({"is_skipped": True}, set()),
    ({"is_skipped": False}, {"good", "bad", "child", "queued", "running"}),
    ({"is_flow_step": True}, set()),
    ({"suspended": True}, set()),
    ({"suspended": False}, {"good", "bad", "child", "queued", "running"}),
    ({"schedule_path": "f/x/y"}, set()),
    ({"is_flow_step": False}, {"good", "bad", "child", "queued", "running"}),
    ({"tag": "slow"}, {"bad"}),
    ({"tag": "bash"}, {"queued"}),
    ({"label": "x"}, {"good"}),
    ({"label": "X"}, set()),
    ({"label": 'q"uo%te'}, {"good"}),
    ({"label": 'q"uo_te'}, set()),
    ({"label": "u"}, set()),
    ({"label": '", "'}, set()),
    ({"worker": "nobody"}, set()),
    ({"args": '{"a": {"b": 1}}'}, {"good"}),
    ({"args": '{"a": [2]}'}, {"bad"}),
    ({"args": "{}"}, {"good", "bad", "child", "queued", "running"}),
    ({"result": '{"n": 1.0}'}, {"good"}),
    ({"result": '[{"k": "v"}]'}, {"child"}),
    ({"result": '{"error": {"reason": "script_error"}}'}, {"bad"}),
    ({"args": '{"a": {}}', "result": '{"n": 2}'}, set()),
    ({"success": True, "script_path_start": "f/"}, {"good"}),
    ({"created_after": "2000-01-01T00:00:00Z"}, {"good", "bad", "child", "queued", "running"}),
    ({"created_before": "2000-01-01T00:00:00Z"}, set()),
    ({"started_after": "2000-01-01"}, {"good", "bad", "child", "running"}),
    ({"started_before": "9999-12-31T23:59:59Z"}, {"good", "bad", "child", "running"}),
]


async def test_every_filter_narrows_the_list(jobs: Jobs) -> None:
    """All of them together in one test, because making the jobs is what takes the time."""
    wrong = [
        (query, found)
        for query, expected in FILTERS
        if (found := set(await jobs.listed(**query))) != expected
    ]
    assert wrong == []
    worker = jobs.service.context.desk.starter
    assert worker is not None
    assert await jobs.listed(worker=worker.worker_id) == ["running"]


async def test_times_are_exclusive_bounds(jobs: Jobs) -> None:
    """Paging by the time of the last job seen misses none and shows none twice."""
    seen, query = [], {"order_desc": True, "per_page": 1}
    while found := await jobs.listed("completed/list", **query):
        seen += found
        query["created_before"] = (await jobs.service.job(jobs.ids[found[0]]))["created_at"]
    assert seen == ["child", "bad", "good"]
    when = (await jobs.service.job(jobs.ids["bad"]))["started_at"]
    assert await jobs.listed(started_after=when, success=True) == ["child"]
    assert await jobs.listed(started_before=when) == ["good"]


async def test_pages_follow_each_other(jobs: Jobs) -> None:
    """Together they are the list; beyond its end they are empty. Also where values are looked into."""
    for query in ({}, {"args": "{}"}):
        pages = [await jobs.listed(page=page, per_page=2, **query) for page in (1, 2, 3, 4)]
        assert pages == [["running", "queued"], ["child", "bad"], ["good"], []]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page": 0}, "page"),
        ({"page": 10**9}, "page"),
        ({"per_page": 0}, "per_page"),
        ({"per_page": 1001}, "per_page"),
        ({"success": "maybe"}, "success"),
        ({"parent_job": "x"}, "parent_job"),
        ({"created_before": "yesterday"}, "created_before"),
        ({"args": "{"}, "args"),
        ({"result": "x"}, "result"),
        ({"result": "[" * 5_000}, "result"),
    ],
    ids=[str(n) for n in range(10)],
)
async def test_a_wrong_parameter_is_named(service: LocalService, query: dict[str, Any], field: str) -> None:
    """Never ignored: the list would show what was not asked for."""
    response = await service.get("jobs/list", **query)
    assert (response.status_code, response.json()["field"]) == (400, field)


async def test_a_workspace_lists_its_own_jobs(jobs: Jobs) -> None:
    """Other tenants' are not there."""
    await jobs.service.http.post("/api/workspaces/create", json={"id": "other"})
    for route in ("list", "queue/list", "completed/list"):
        assert (await jobs.service.http.get(f"/api/w/other/jobs/{route}")).json() == []
    count = (await jobs.service.http.get("/api/w/other/jobs/queue/count")).json()
    assert count == {"database_length": 0, "running": 0}
