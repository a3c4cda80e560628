"""Variables and resources over HTTP: stored, changed, read, kept secret."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
BASE = "/api/w/main"
SECRET = "Zx81-correct-horse"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


async def post(service: LocalService, route: str, body: Any, status: int = 201) -> str:
    """Post, and give the answer's text."""
    response = await service.http.post(f"{BASE}/{route}", json=body)
    assert response.status_code == status, response.text
    return response.text


async def variable(service: LocalService, path: str, value: str, **more: Any) -> None:
    await post(service, "variables/create", {"path": path, "value": value, **more})


async def resource(service: LocalService, path: str, value: Any) -> None:
    await post(service, "resources/create", {"path": path, "value": value, "resource_type": "any"})


async def test_the_client_s_set_variable_and_get_variable_work(service: LocalService) -> None:
    """The very calls of docs/openflow.md section 5.2, in their order."""
    assert (await service.get("variables/get/u/test/a")).status_code == 404
    body = {"path": "u/test/a", "value": "one", "is_secret": False, "description": ""}
    assert "u/test/a" in await post(service, "variables/create", body)
    assert (await service.get("variables/get_value/u/test/a")).json() == "one"
    assert "u/test/a" in await post(service, "variables/update/u/test/a", {"value": "two"}, 200)
    assert (await service.get("variables/get_value/u/test/a")).content == b'"two"'
    assert (await service.get("variables/exists/u/test/a")).content == b"true"
    assert (await service.get("variables/exists/u/test/b")).content == b"false"


async def test_the_client_s_set_resource_and_get_resource_work(service: LocalService) -> None:
    """The state of a script is kept so, under type `state`."""
    assert (await service.get("resources/get/u/admin/tmp_state")).status_code == 404
    body = {"path": "u/admin/tmp_state", "value": {"n": [1, None]}, "resource_type": "state"}
    await post(service, "resources/create", body)
    assert (await service.get("resources/get_value_interpolated/u/admin/tmp_state")).json() == {
        "n": [1, None]
    }
    await post(service, "resources/update_value/u/admin/tmp_state", {"value": 5}, 200)
    found = (await service.get("resources/get/u/admin/tmp_state")).json()
    assert (found["value"], found["resource_type"]) == (5, "state")
    assert (await service.get("resources/exists/u/admin/tmp_state")).content == b"true"
    assert (await service.get("resources/exists/u/admin/nothing")).content == b"false"


@pytest.mark.parametrize("kind", ["variables", "resources"])
async def test_an_update_changes_what_it_names_and_can_move(service: LocalService, kind: str) -> None:
    body = {"path": "f/x/a", "value": "v", "description": "d", "resource_type": "t", "is_secret": True}
    await post(service, f"{kind}/create", body)
    await post(service, f"{kind}/update/f/x/a", {"description": "new"}, 200)
    await post(service, f"{kind}/update/f/x/a", {"path": "f/x/b"}, 200)
    found = (await service.get(f"{kind}/get/f/x/b")).json()
    assert (found["value"], found["description"]) == ("v", "new")
    assert (await service.get(f"{kind}/get/f/x/a")).status_code == 404
    await post(service, f"{kind}/create", body)
    await post(service, f"{kind}/update/f/x/a", {"path": "f/x/b"}, 409)
    await post(service, f"{kind}/update/f/x/a", {"path": "wrong"}, 400)
    await post(service, f"{kind}/update/f/x/nothing", {"description": "x"}, 404)
    await post(service, f"{kind}/create", body, 409)


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("variables/create", {"path": "f/a/b"}, "value"),
        ("variables/create", {"path": "f/a/b", "value": 1}, "value"),
        ("variables/create", {"path": "f/a/b", "value": "x", "is_secret": "yes"}, "is_secret"),
        ("variables/update/f/a/b", {"value": []}, "value"),
        ("resources/create", {"path": "f/a/b", "value": 1}, "resource_type"),
        ("variables/encrypt", {"a": 1}, "body"),
    ],
)
async def test_a_wrong_field_is_named(
    service: LocalService, route: str, body: dict[str, Any], field: str
) -> None:
    response = await service.http.post(f"{BASE}/{route}", json=body)
    assert (response.status_code, response.json()["field"]) == (400, field)


@pytest.mark.parametrize("route", ["variables/get", "variables/get_value", "resources/get"])
@pytest.mark.parametrize("path", ["f/a/nothing", "nothing"])
async def test_what_is_not_there_is_404(service: LocalService, route: str, path: str) -> None:
    assert (await service.get(f"{route}/{path}")).status_code == 404


# ------------------------------------------------------------ secrets


async def test_a_secret_is_encrypted_in_every_file(tmp_path: Path) -> None:
    """Of the data directory; it is read decrypted, also after a restart."""
    async with local_service(tmp_path) as service:
        await variable(service, "f/x/secret", SECRET, is_secret=True)
        await variable(service, "f/x/open", "in clear")
        await post(service, "variables/update/f/x/open", {"is_secret": True, "value": SECRET + "2"}, 200)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
    async with local_service(tmp_path) as service:
        assert (await service.get("variables/get_value/f/x/secret")).json() == SECRET
        assert (await service.get("variables/get/f/x/open")).json()["value"] == SECRET + "2"
        hidden = (await service.get("variables/get/f/x/secret", decrypt_secret=False)).json()
        assert (hidden["value"], hidden["is_secret"]) == (None, True)


async def test_a_secret_that_is_one_no_more_is_readable(service: LocalService) -> None:
    await variable(service, "f/x/secret", SECRET, is_secret=True)
    await post(service, "variables/update/f/x/secret", {"is_secret": False}, 200)
    assert (await service.get("variables/get/f/x/secret")).json()["value"] == SECRET


# ------------------------------------------------------------ references


async def test_a_resource_s_references_are_resolved_on_request(service: LocalService) -> None:
    """Of objects inside, not of arrays; `get_value` shows the names."""
    await variable(service, "f/x/password", SECRET, is_secret=True)
    await resource(service, "f/x/host", {"name": "db", "port": 5432})
    value = {
        "at": "$res:f/x/host",
        "inner": {"password": "$var:f/x/password"},
        "list": ["$var:f/x/password"],
        "text": "see $var:f/x/password",
    }
    await resource(service, "f/x/pg", value)
    assert (await service.get("resources/get_value/f/x/pg")).json() == value
    assert (await service.get("resources/get_value_interpolated/f/x/pg")).json() == {
        **value,
        "at": {"name": "db", "port": 5432},
        "inner": {"password": SECRET},
    }


async def test_a_reference_that_leads_nowhere_is_404_with_its_name(service: LocalService) -> None:
    await resource(service, "f/x/pg", {"a": "$var:f/x/nothing"})
    response = await service.get("resources/get_value_interpolated/f/x/pg")
    assert response.status_code == 404
    assert "Variable f/x/nothing not found in resource `f/x/pg`" in response.json()["detail"]


async def test_an_encrypted_text_is_different_each_time(service: LocalService) -> None:
    texts = {await post(service, "variables/encrypt", SECRET, 200) for _ in range(3)}
    assert len(texts) == 3
    assert not [text for text in texts if SECRET in text]


@pytest.mark.parametrize("key", [None, "nonsense\n", base64.urlsafe_b64encode(bytes(32)).decode() + "\n"])
async def test_without_its_key_the_command_says_one_thing_and_ends(tmp_path: Path, key: str | None) -> None:
    """Missing, damaged, or another one: no traceback, exit code 2, nothing is written in its place."""
    async with local_service(tmp_path) as service:
        body = {"path": "f/x/secret", "value": "s", "is_secret": True}
        assert (await service.http.post("/api/w/main/variables/create", json=body)).status_code == 201
    file = tmp_path / "secrets.key"
    file.unlink()
    if key is not None:
        file.write_text(key)
    done = await asyncio.to_thread(serve, tmp_path)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert str(file) in last
    assert "Traceback" not in done.stderr
    assert file.exists() is (key is not None)


def serve(folder: Path) -> subprocess.CompletedProcess[str]:
    """`executor serve`, which is expected to end."""
    environment = {**os.environ, "EXECUTOR_DATA_DIR": str(folder), "EXECUTOR_PORT": "0"}
    command = [sys.executable, "-m", "executor", "serve"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
