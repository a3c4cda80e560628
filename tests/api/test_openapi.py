"""The service against its own description: no request that it allows, or nearly allows, breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from executor.api import updates
from executor.api.app import build
from executor.errors import Reason
from tests.api.served import served
from tests.service import TOKEN

AUTH = {"Authorization": f"Bearer {TOKEN}"}
BASE = "/api/w/main"


@dataclass(frozen=True)
class Served:
    """Where the service is, and jobs it has: completed, failed, waiting."""

    url: str
    jobs: tuple[str, ...]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch, served(folder, wait_s=0.3, queue_max=100_000, request_mb=1) as url:
        patch.setattr(updates, "STREAM_S", 0.05)  # nobody waits for a job that will not end
        jobs = []
        for content, query in (
            ('[{"log": "x"}, {"result": 1}]', ""),
            ("", ""),
            ("", "?scheduled_in_secs=9999"),
        ):
            body = {"language": "bash", "content": content}
            response = requests.post(
                f"{url}{BASE}/jobs/run/preview{query}", json=body, headers=AUTH, timeout=5
            )
            assert response.status_code == 201, response.text
            jobs.append(response.text)
        yield Served(url, tuple(jobs))


schema = schemathesis.openapi.from_dict(build(nullcontext).openapi())


def aim(case: schemathesis.Case, service: Served) -> None:
    """Let about half of the requests reach a workspace, a job and a language that there are."""
    chance = len(repr((case.path_parameters, case.query, case.body)))
    places: Any = case.path_parameters or {}
    if "workspace" in places and chance % 4:
        places["workspace"] = "main"
    if "id" in places and chance % 2:
        places["id"] = service.jobs[chance % 3]
    if isinstance(case.body, dict) and isinstance(case.body.get("language"), str) and chance % 3:
        case.body["language"] = "bash"


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_request_breaks_the_service(case: schemathesis.Case, service: Served) -> None:
    """No 5xx but a script's own failure, which is never passed off as ours, and `wait_s` running out."""
    aim(case, service)
    response = case.call(service.url, headers=AUTH, timeout=20)
    if "run_wait_result" in case.path and response.status_code in (500, 504):
        said = json.loads(response.content)
        if response.status_code == 504:
            assert said["job_id"]
        else:
            assert said["error"]["reason"] in set(Reason) - {Reason.INFRASTRUCTURE}
        return
    case.validate_response(response, checks=[not_a_server_error])
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        assert response.json()["status"] == response.status_code


@schema.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_answers_are_as_described(case: schemathesis.Case, service: Served) -> None:
    """Status codes, media types and shapes are those of the OpenAPI document."""
    aim(case, service)
    case.call_and_validate(service.url, headers=AUTH, timeout=20)
