"""Storing scripts and flows over HTTP: versions, what is refused, and what comes back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
BASE = "/api/w/main"
IDENTITY = {"modules": [{"value": {"type": "identity"}}]}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def post(service: LocalService, route: str, body: Any, workspace: str = "main") -> httpx.Response:
    return await service.http.post(f"/api/w/{workspace}/{route}", json=body)


def script(path: str = "f/sys/hello", content: str = "v1", **more: Any) -> dict[str, Any]:
    return {"path": path, "language": "python3", "content": content, **more}


async def stored(service: LocalService, **body: Any) -> str:
    """Store a script; its hash."""
    response = await post(service, "scripts/create", script(**body))
    assert response.status_code == 201, response.text
    return response.text


async def test_a_script_is_read_as_it_was_stored(service: LocalService) -> None:
    """By path and by hash; the hash is 16 hexadecimal digits, as bare text."""
    body = script(
        summary="s",
        description="d",
        schema={"type": "object", "properties": {"b": {}, "a": {"type": "string"}}},
        lock=["# py: 3.11", "requests==2"],
        tag="heavy",
        priority=7,
        cache_ttl=60,
        timeout=12.5,
        concurrent_limit=3,
        concurrency_time_window_s=60,
        concurrency_key="$workspace/heavy",
        is_template=False,
        kind="script",
    )
    response = await post(service, "scripts/create", body)
    assert response.status_code == 201
    assert response.headers["content-type"].startswith("text/plain")
    assert re.fullmatch("[0-9a-f]{16}", response.text)
    found = (await service.get("scripts/get/p/f/sys/hello")).json()
    assert found == (await service.get(f"scripts/get/h/{response.text.upper()}")).json()
    expected = {**body, "lock": "# py: 3.11\nrequests==2", "hash": response.text, "created_by": "admin"}
    assert {key: found[key] for key in expected} == expected
    assert list(found["schema"]["properties"]) == ["b", "a"], "in the author's order"
    assert (found["archived"], found["parent_hashes"]) == (False, [])


async def test_an_alias_of_a_language_is_stored_under_its_own_name(service: LocalService) -> None:
    await stored(service, language="python")
    assert (await service.get("scripts/get/p/f/sys/hello")).json()["language"] == "python3"


async def test_the_source_is_served_raw(service: LocalService) -> None:
    """As imports ask for it: with the language's extension, or without."""
    await stored(service, content="def main():\n    return 'ä'\n")
    for path in ("f/sys/hello", "f/sys/hello.py"):
        response = await service.get(f"scripts/raw/p/{path}")
        assert response.text == "def main():\n    return 'ä'\n"
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await service.get("scripts/raw/p/f/sys/hello.ts")).status_code == 404


async def test_versions_of_a_script_are_a_line(service: LocalService) -> None:
    """A new one names the one it replaces; old ones stay, the newest is at the path."""
    first = await stored(service)
    again = await post(service, "scripts/create", script(content="v2"))
    assert (again.status_code, again.json()["field"]) == (409, "path")
    assert first in again.json()["detail"]
    second = await stored(service, content="v2", parent_hash=first)
    third = await stored(service, content="v1", parent_hash=second)
    assert len({first, second, third}) == 3
    assert (await service.get("scripts/get/p/f/sys/hello")).json()["hash"] == third
    old = (await service.get(f"scripts/get/h/{first}")).json()
    assert (old["content"], old["archived"]) == ("v1", True)
    branch = await post(service, "scripts/create", script(content="v4", parent_hash=first))
    assert (branch.status_code, branch.json()["field"]) == (409, "parent_hash")
    unknown = await post(service, "scripts/create", script(content="v4", parent_hash="00" * 8))
    assert (unknown.status_code, unknown.json()["field"]) == (400, "parent_hash")


async def test_a_new_version_may_move_to_a_free_path(service: LocalService) -> None:
    """The old path is free then; a path that is taken is not."""
    first = await stored(service)
    await stored(service, path="f/sys/taken")
    moved = await post(service, "scripts/create", script("f/sys/taken", "v2", parent_hash=first))
    assert moved.status_code == 409
    await stored(service, path="f/sys/new", content="v2", parent_hash=first)
    assert (await service.get("scripts/get/p/f/sys/hello")).status_code == 404
    await stored(service, content="other")


async def test_the_same_script_has_the_same_hash_everywhere(service: LocalService) -> None:
    """So that what is deployed twice is the same version by name."""
    await service.http.post("/api/workspaces/create", json={"id": "other"})
    there = await post(service, "scripts/create", script(), workspace="other")
    assert there.text == await stored(service)
    assert (await service.http.get("/api/w/other/scripts/get/p/f/sys/hello")).status_code == 200
    await stored(service, path="u/me/mine")
    assert (await service.http.get("/api/w/other/scripts/get/p/u/me/mine")).status_code == 404


WRONG_PATHS = [
    "",
    "f",
    "f/a",
    "x/a/b",
    "f//b",
    "f/a/b/",
    "/f/a/b",
    "f/a/b c",
    "f/a/b.py",
    "f/a/b\n",
    "hub/1/a/b",
]


@pytest.mark.parametrize("path", [*WRONG_PATHS, "f/a/" + "x" * 252])
@pytest.mark.parametrize("kind", ["scripts", "flows", "variables", "resources"])
async def test_a_wrong_path_is_refused(service: LocalService, kind: str, path: str) -> None:
    """Of everything that is stored; the remedy says what a path looks like."""
    more = {"language": "bash", "content": "", "value": IDENTITY, "resource_type": "any"}
    body = {**more, "path": path, **({"value": "x"} if kind == "variables" else {})}
    response = await post(service, f"{kind}/create", body)
    assert (response.status_code, response.json()["field"]) == (400, "path"), response.text
    assert "f/FOLDER/NAME" in response.json()["remedy"]


BAD_SCRIPTS: list[tuple[dict[str, Any], str]] = [
    ({"language": "cobol"}, "language"),
    ({"content": None}, "content"),
    ({"schema": []}, "schema"),
    ({"schema": {"type": "text"}}, "schema.type"),
    ({"lock": [1]}, "lock"),
    ({"tag": "a\nb"}, "tag"),
    ({"priority": 101}, "priority"),
    ({"cache_ttl": -1}, "cache_ttl"),
    ({"timeout": 0}, "timeout"),
]


@pytest.mark.parametrize(("wrong", "field"), BAD_SCRIPTS)
async def test_a_wrong_field_of_a_script_is_named_and_nothing_is_stored(
    service: LocalService, wrong: dict[str, Any], field: str
) -> None:
    response = await post(service, "scripts/create", {**script(), **wrong})
    assert response.status_code == 400
    assert response.json()["field"].startswith(field)
    assert (await service.get("scripts/get/p/f/sys/hello")).status_code == 404


@pytest.mark.parametrize(
    "path", ["scripts/get/p/f/a/b", "scripts/get/h/0011", "scripts/raw/p/f/a/b", "flows/get/f/a/b"]
)
async def test_what_is_not_there_is_404(service: LocalService, path: str) -> None:
    response = await service.get(path)
    assert response.status_code == 404
    assert response.json()["field"] in ("path", "hash")


async def test_a_script_of_the_hub_is_refused_with_what_to_do(service: LocalService) -> None:
    response = await service.get("scripts/get/p/hub/123/slack/post")
    assert response.status_code == 404
    assert "hub" in response.json()["detail"]
    assert "scripts/create" in response.json()["remedy"]


# ------------------------------------------------------------ flows


def flow(path: str = "f/sys/flow", **more: Any) -> dict[str, Any]:
    return {"path": path, "summary": "s", "description": "d", "value": IDENTITY, **more}


async def test_a_flow_is_read_as_it_was_stored_and_its_modules_have_ids(service: LocalService) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}}
    created = await post(service, "flows/create", flow(schema=schema, tag="t"))
    assert (created.status_code, created.text) == (201, "f/sys/flow")
    found = (await service.get("flows/get/f/sys/flow")).json()
    assert (found["summary"], found["description"], found["schema"]) == ("s", "d", schema)
    (module,) = found["value"]["modules"]
    assert module["id"]
    assert (await service.get("flows/get/f/sys/flow")).json() == found


async def test_an_update_replaces_a_flow(service: LocalService) -> None:
    """And may move it; what is not there cannot be updated."""
    await post(service, "flows/create", flow())
    assert (await post(service, "flows/create", flow())).status_code == 409
    updated = await post(service, "flows/update/f/sys/flow", flow(summary="new"))
    assert (updated.status_code, updated.text) == (200, "f/sys/flow")
    found = (await service.get("flows/get/f/sys/flow")).json()
    assert (found["summary"], found["version_id"]) == ("new", 2)
    moved = await post(service, "flows/update/f/sys/flow", flow("f/sys/moved"))
    assert moved.text == "f/sys/moved"
    assert (await service.get("flows/get/f/sys/flow")).status_code == 404
    assert (await service.get("flows/get/f/sys/moved")).json()["version_id"] == 3
    assert (await post(service, "flows/update/f/sys/flow", flow())).status_code == 404
    await post(service, "flows/create", flow())
    assert (await post(service, "flows/update/f/sys/flow", flow("f/sys/moved"))).status_code == 409


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"value": {"modules": [{"value": {"type": "aiagent"}}]}}, "value.modules[0].value.type"),
        ({"value": None}, "value"),
        ({"schema": {"required": "x"}}, "schema.required"),
    ],
)
async def test_a_flow_that_cannot_run_is_not_stored(
    service: LocalService, wrong: dict[str, Any], field: str
) -> None:
    for route in ("flows/create", "flows/update/f/sys/flow"):
        response = await post(service, route, flow(**wrong))
        assert (response.status_code, response.json()["field"]) == (400, field), response.text
    assert (await service.get("flows/get/f/sys/flow")).status_code == 404
