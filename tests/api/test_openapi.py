"""The service against its own description: no request that it allows, or nearly allows, breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from executor.api import updates
from executor.api.app import build
from executor.api.context import Context
from executor.errors import Reason
from tests.api.served import served
from tests.service import TOKEN

AUTH = {"Authorization": f"Bearer {TOKEN}"}
BASE = "/api/w/main"
AS_DESCRIBED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@dataclass(frozen=True)
class Served:
    """A service: jobs it has (completed, failed, waiting), a step to be approved, a stored script's version."""

    url: str
    jobs: tuple[str, ...]
    gated: str
    hash: str

    def signature(self, resume_id: int) -> str:
        """What opens the gate under an id."""
        path = f"{self.url}{BASE}/jobs/job_signature/{self.gated}/{resume_id}"
        response = requests.get(path, headers=AUTH, timeout=5)
        assert response.status_code == 200, response.text
        return response.text


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("data")
    with (
        pytest.MonkeyPatch.context() as patch,
        served(folder, wait_s=0.3, queue_max=100_000, request_mb=1) as url,
    ):
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
        yield Served(url, tuple(jobs), gated_job(url), fill_library(url))


def gated_job(url: str) -> str:
    """The job of a step that waits for more approvals than there will be."""
    module = {"id": "a", "value": {"type": "identity"}, "suspend": {"required_events": 60_000}}
    posted = requests.post(
        f"{url}{BASE}/jobs/run/preview_flow", json={"value": {"modules": [module]}}, headers=AUTH, timeout=5
    )
    while True:
        job = requests.get(f"{url}{BASE}/jobs_u/get/{posted.text}", headers=AUTH, timeout=5).json()
        for waiting in (job["flow_status"] or {"modules": []})["modules"]:
            if waiting["type"] == "WaitingForEvents":
                found: str = waiting["job"]
                return found


def fill_library(url: str) -> str:
    """One of each at f/x/y; the script's hash."""
    path = {"path": "f/x/y"}
    bodies: dict[str, dict[str, Any]] = {
        "flows": {"value": {"modules": []}, "schema": {"properties": {"n": {"type": "number"}}}},
        "variables": {"value": "v", "is_secret": True},
        "resources": {"value": {"v": "$var:f/x/y"}, "resource_type": "any"},
        "scripts": {"language": "bash", "content": '[{"result": 1}]'},
    }
    answers = []
    for kind, body in bodies.items():
        response = requests.post(f"{url}{BASE}/{kind}/create", json={**path, **body}, headers=AUTH, timeout=5)
        assert response.status_code == 201, response.text
        answers.append(response.text)
    return answers[-1]


def unused() -> AbstractAsyncContextManager[Context]:
    raise AssertionError("BUG: only the description is asked for")


schema = schemathesis.openapi.from_dict(build(unused).openapi())


def aim(case: schemathesis.Case[Any], service: Served) -> None:
    """Let about half of the requests reach a workspace, a job, a path and a language that there are."""
    chance = len(repr((case.path_parameters, case.query, case.body)))
    places: Any = case.path_parameters or {}
    if "workspace" in places and chance % 4:
        places["workspace"] = "main"
    if "id" in places and chance % 2:
        places["id"] = service.jobs[chance % 3]
    if "job" in places and chance % 2:
        places["job"] = service.gated
        places["resume_id"] = chance
        places["signature"] = service.signature(chance)
        case.query.pop("approver", None)
    if "path" in places and chance % 2:
        places["path"] = "f/x/y"
    if "hash" in places and chance % 2:
        places["hash"] = service.hash
    if isinstance(case.body, dict) and isinstance(case.body.get("language"), str) and chance % 3:
        case.body["language"] = "bash"


@schema.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_request_breaks_the_service(case: schemathesis.Case[Any], service: Served) -> None:
    """Every answer is one that the description has; no 5xx but a script's own failure or `wait_s` running out."""
    check(case, service)


@pytest.mark.long
@schema.parametrize()
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_random_request_breaks_the_service(case: schemathesis.Case[Any], service: Served) -> None:
    """The same, with other requests each time."""
    check(case, service)


def check(case: schemathesis.Case[Any], service: Served) -> None:
    """Send it; no answer within 20 seconds is a failure, as is one that the description has not."""
    aim(case, service)
    response = case.call(service.url, headers=AUTH, timeout=20)
    case.validate_response(response, checks=AS_DESCRIBED)
    if response.status_code >= 500:
        assert "run_wait_result" in case.path, response.content
        said = json.loads(response.content)
        reasons = {reason.value for reason in Reason} - {"infrastructure"}
        assert said.get("job_id") if response.status_code == 504 else said["error"]["reason"] in reasons
    elif response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        assert response.json()["status"] == response.status_code
