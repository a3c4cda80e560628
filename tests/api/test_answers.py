"""Answers that a script shapes, sent by a real server: whatever it asks for, the connection lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.api.answers import OF_THE_ORIGIN
from executor.api.edge import COMMON, NOT_KEPT
from tests.api.served import served
from tests.service import TOKEN, local_service

WAIT = "/api/w/main/jobs/run_wait_result/preview"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=5) as made:
            yield made


def answer(client: httpx.Client, result: Any) -> httpx.Response:
    """The answer to a job with this result, over a connection that was used before and will be again."""
    body = {"language": "bash", "content": json.dumps([{"result": result}])}
    return client.post(WAIT, json=body)


@pytest.mark.parametrize("status", [200, 201, 204, 205, 299, 304, 400, 404, 418, 500, 599])
@pytest.mark.parametrize("body", [None, {"n": 1}, "text"])
def test_a_status_is_sent_with_the_body_it_may_have(client: httpx.Client, status: int, body: Any) -> None:
    """None after 204 and 304, where a body would break the connection."""
    response = answer(client, {"windmill_status_code": status, "result": body})
    assert response.status_code == status
    assert response.content == (
        b"" if status in (204, 304) else json.dumps(body, separators=(",", ":")).encode()
    )


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, -1, 10**20, "201", None, 201.5, True, [201]])
def test_a_status_that_cannot_be_sent_is_200(client: httpx.Client, status: Any) -> None:
    """Interim answers and numbers beyond HTTP are no final status."""
    response = answer(client, {"windmill_status_code": status, "windmill_headers": {}, "result": 1})
    assert (response.status_code, response.json()) == (200, 1)


any_text = st.text(st.characters(codec="utf-8"), max_size=12) | st.text(" \t\r\n\0:;,aé", max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(any_text, any_text | st.integers() | st.none(), max_size=3), any_text | st.none())
def test_no_header_breaks_the_answer(
    client: httpx.Client, headers: dict[str, Any], content_type: Any
) -> None:
    """Those that cannot be sent are left out."""
    asked = {"windmill_headers": headers, "windmill_content_type": content_type, "result": {"n": 1}}
    response = answer(client, asked)
    assert (response.status_code, json.loads(response.content)) == (200, {"n": 1})
    assert set(response.headers) <= {
        "date",
        "server",
        "content-length",
        "content-type",
        *(name.decode() for name in {**COMMON, **NOT_KEPT}),
        *map(str.lower, headers),
    }


def test_headers_that_frame_the_message_are_not_the_script_s(client: httpx.Client) -> None:
    """Neither length nor encoding nor the connection's fate."""
    evil = {"Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "close", "X-Fine": "yes"}
    response = answer(client, {"windmill_headers": evil, "result": "whole"})
    assert (response.json(), response.headers["x-fine"]) == ("whole", "yes")
    assert response.headers["content-length"] == str(len('"whole"'))


def test_a_page_of_a_script_is_shut_off_from_everything_else(client: httpx.Client) -> None:
    """HTML from a script runs nothing and is of no origin; headers for the whole address are not its to send."""
    evil = dict.fromkeys(OF_THE_ORIGIN, "x") | {"Set-Cookie": "token=mine", "Location": "/x"}
    asked = {"windmill_content_type": "text/html", "windmill_headers": evil, "result": "<script>1</script>"}
    response = answer(client, asked)
    assert response.headers["content-type"].startswith("text/html")
    assert response.text == "<script>1</script>"
    assert response.headers["content-security-policy"] == COMMON[b"content-security-policy"].decode()
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["location"] == "/x"
    assert not {name for name, value in response.headers.items() if value in ("x", "token=mine")}


@pytest.mark.anyio
async def test_a_client_that_leaves_while_it_sends_is_no_bug_of_ours(tmp_path: Any) -> None:
    """Nothing is stored, and nothing is raised that a server would log with a trace."""
    async with local_service(tmp_path) as service:
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": b'{"content', "more_body": True},
            {"type": "http.disconnect"},
        ]
        scope = {
            "type": "http",
            "method": "POST",
            "path": WAIT,
            "raw_path": WAIT.encode(),
            "query_string": f"token={TOKEN}".encode(),
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
            "asgi": {"version": "3.0"},
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await service.app(scope, receive, send)
        assert sent[0]["status"] == 400
        assert (await service.get("jobs/list")).json() == []
