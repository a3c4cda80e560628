"""Secrets of a job in a real container: in the script's hands, and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.service import TOKEN, RealService
from tests.engines import BOTH, shown

pytestmark = pytest.mark.engine
SECRET = "s3cr3t-V4lue-4711"
PRINTS = r"""
key="$1"
echo "plain $key"
echo "base64 $(printf '%s' "$key" | base64 -w 0)"
printf 'split %s' "${key:0:5}"; sleep 0.1; echo "${key:5}"
echo "token $WM_TOKEN"
env | cut -d= -f1 | sort | tr '\n' ' '; echo
echo "{\"token\": \"$WM_TOKEN\"}" > result.json
sleep 3
echo "bad key $key" >&2
exit 0
"""
OWN = {
    "BASE_INTERNAL_URL",
    "HOME",
    "HOSTNAME",
    "LANG",
    "LC_ALL",
    "OLDPWD",
    "PATH",
    "PWD",
    "SHLVL",
    "TMPDIR",
    "TZ",
    "_",
}
"""What any script finds, beside the WM_ ones that docs/openflow.md lists."""


@pytest.fixture(params=BOTH)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealService]:
    service = RealService(tmp_path / "data", EXECUTOR_ENGINE=request.param, EXECUTOR_POOL_MAX="1")
    service.folder.mkdir()
    service.start()
    body = {"path": "u/admin/key", "value": SECRET, "is_secret": True, "description": ""}
    assert service.http.post("/api/w/main/variables/create", json=body).status_code == 201
    yield service
    service.close()


def test_a_secret_is_the_script_s_and_nobody_else_s(service: RealService) -> None:
    job_id = service.submit("bash", PRINTS, {"key": "$var:u/admin/key"})
    service.running(job_id)
    container = shown(service.container_of(job_id))
    for hidden in (SECRET, base64.b64encode(SECRET.encode()).decode(), "job-ey", TOKEN):
        assert hidden not in container, "in its configuration, labels or arguments"
    ended = service.ended(job_id)
    token = ended["result"]["token"]
    log = service.http.get(f"/api/w/main/jobs_u/get_logs/{job_id}").text
    assert "plain ********\nbase64 ********\nsplit ********\ntoken ********\n" in log
    assert "bad key ********" in log
    names = set(log.splitlines()[4].split())
    assert {name for name in names if not name.startswith("WM_")} <= OWN
    assert {name for name in names if "TOKEN" in name or "SECRET" in name or "KEY" in name} == {"WM_TOKEN"}
    assert whoami(service, token) == 401, "it ended with its job"
    for path in service.folder.glob("executor.db*"):
        stored = path.read_bytes()
        assert SECRET.encode() not in stored, "encrypted at rest, and masked where it was shown"


def test_a_job_s_token_holds_while_it_runs(service: RealService) -> None:
    """The script hands it out by its log's only way that is not masked: turned round."""
    job_id = service.submit("bash", 'echo "$WM_TOKEN" | rev\nsleep 4')
    service.running(job_id)
    token = service.http.get(f"/api/w/main/jobs_u/get_logs/{job_id}").text.strip()[::-1]
    assert whoami(service, token) == 200
    service.ended(job_id)
    assert whoami(service, token) == 401


def whoami(service: RealService, token: str) -> int:
    """The status with which the service greets who has this token."""
    url = f"http://127.0.0.1:{service.port}/api/w/main/users/whoami"
    return httpx.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False).status_code
