"""What every answer says of itself to browsers, and what the documentation's pages may do."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/metrics", 200),
        ("/openapi.json", 200),
        ("/docs", 200),
        ("/redoc", 200),
        ("/nowhere", 404),
        ("/api/w/main/jobs/list", 200),
        ("/api/w/nowhere/jobs/list", 404),
        ("/api/w/main/jobs/list?per_page=x", 400),
        ("/api/version?" + "&" * 300, 400),
        ("/approve/main/x/0/0", 403),
    ],
)
async def test_every_answer_is_only_what_it_says_it_is(service: LocalService, path: str, status: int) -> None:
    """No sniffing, no frames, no address told to others, no copies kept; a strict policy."""
    response = await service.http.get(path)
    assert response.status_code == status
    assert {name: response.headers[name] for name in EVERYWHERE} == EVERYWHERE
    assert response.headers["cache-control"] == "no-store"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert response.headers.get_list("content-security-policy") == [policy]


async def test_a_bug_s_answer_has_them_too(service: LocalService) -> None:
    """It is made outside of everything else."""

    async def broken() -> None:
        raise ValueError("broken")

    service.app.add_api_route("/broken", broken)
    try:
        response = await service.http.get("/broken")
    finally:
        service.app.router.routes.pop()  # other tests have this application too
    assert response.status_code == 500
    assert {name: response.headers[name] for name in EVERYWHERE} == EVERYWHERE
    assert "ValueError" not in response.text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_pages_of_the_documentation_run_their_own_script_only(service: LocalService, path: str) -> None:
    """Each inline script is named by its hash; all else comes from this service."""
    page = await service.http.get(path)
    policy = page.headers["content-security-policy"]
    inline = re.findall(rb"<script>(.*?)</script>", page.content, re.DOTALL)
    assert len(inline) == (path == "/docs")
    for script in inline:
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    scripts = re.search(r"script-src ([^;]*)", policy)
    assert scripts is not None
    assert "unsafe" not in scripts[1]
    assert "http" not in policy
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert files
    for file in files:
        assert file.startswith("/static-offline-docs/"), file
        response = await service.http.get(file)
        assert response.status_code == 200
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "cache-control" not in response.headers  # megabytes, the same for all


async def test_what_a_script_returns_is_never_a_page(service: LocalService) -> None:
    """A result that is HTML is JSON, and a browser that shows it runs nothing in it."""
    job = await service.run({"result": "<script>alert(1)</script>"})
    await service.ended(job)
    for path in (f"jobs_u/completed/get_result/{job}", f"jobs_u/get/{job}", f"jobs_u/get_logs/{job}"):
        response = await service.get(path)
        assert response.headers["content-type"].partition(";")[0] in ("application/json", "text/plain")
        assert "sandbox" in response.headers["content-security-policy"]
