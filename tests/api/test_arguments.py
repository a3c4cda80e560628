"""How a request becomes arguments (docs/openflow.md section 6.4)."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import TOKEN, LocalService, local_service

pytestmark = pytest.mark.anyio
RUN = "/api/w/main/jobs/run_wait_result/f/f/x/echo"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    """With a flow of no modules, whose result is its input."""
    async with local_service(tmp_path, request_mb=1) as running:
        body = {"path": "f/x/echo", "value": {"modules": []}}
        response = await running.http.post("/api/w/main/flows/create", json=body)
        assert response.status_code == 201, response.text
        yield running


async def send(
    service: LocalService, content: bytes | str, kind: str | None = None, **query: Any
) -> httpx.Response:
    headers = {} if kind is None else {"content-type": kind}
    return await service.http.post(RUN, content=content, headers=headers, params=query)


AS_ARGS: list[tuple[bytes, str | None, dict[str, Any]]] = [
    (b'{"a": [1]}', "application/json", {"a": [1]}),
    (b'{"a": 1}', None, {"a": 1}),
    (b'{"a": 1}', "application/cloudevents+json; charset=utf-8", {"a": 1}),
    (b"[1, 2]", "application/json", {"body": [1, 2]}),
    (b"null", "application/json", {"body": None}),
    (b"", None, {}),
    (b"  ", "application/json", {}),
    (b"", "text/plain", {}),
    (b"hi \xc3\xa4", "text/plain", {"raw_string": "hi ä"}),
    (b"\xe4", "text/plain; charset=iso-8859-1", {"raw_string": "ä"}),
    (b'{"a": 1}', "text/csv", {"raw_string": '{"a": 1}'}),
    (b"<a/>", "application/xml", {"raw_string": "<a/>"}),
    (b"<a/>", "application/atom+xml", {"raw_string": "<a/>"}),
    (b"a=1&b=%C3%A4+x&c=&a=2", FORM, {"a": "2", "b": "ä x", "c": ""}),
]


@pytest.mark.parametrize(("body", "kind", "args"), AS_ARGS)
async def test_a_body_s_type_decides(
    service: LocalService, body: bytes, kind: str | None, args: dict[str, Any]
) -> None:
    response = await send(service, body, kind)
    assert (response.status_code, response.json()) == (200, args)


async def test_a_form_in_parts_is_args_of_text(service: LocalService) -> None:
    response = await service.http.post(RUN, files={"a": (None, "1"), "b": (None, "ä\nx")})
    assert response.json() == {"a": "1", "b": "ä\nx"}


def in_part(disposition: bytes) -> bytes:
    """A form of one part with this header."""
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\nx\r\n--b--\r\n"


BAD: list[tuple[bytes, str, str]] = [
    (b"{", "application/json", "body"),
    (b"\xff", "application/json", "body"),
    (b'{"a": NaN}', "application/json", "body"),
    (b"\xff", "text/plain", "body"),
    (b"x", "text/plain; charset=martian", "body"),
    (b"x", "text/plain; charset=zip", "body"),
    (b"a=%ff", FORM, "body"),
    (b"&".join([b"a=1"] * 10_001), FORM, "body"),
    (b"x", "application/octet-stream", "Content-Type"),
    (b"x", "image/png", "Content-Type"),
    (b"x", "multipart/form-data", "body"),
    (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", "body"),
    (b"a" * 200_000 + b"-" + b"a" * 200_000, "text/plain; charset=punycode", "body"),
    (in_part(b"form-data" + b";a=b" * 64_000), "multipart/form-data; boundary=b", "body"),
    (in_part(b".,; form-data*0*"), "multipart/form-data; boundary=b", "body"),
    (in_part(b"form-data; name=" + b"(" * 900), "multipart/form-data; boundary=b", "body"),
]


@pytest.mark.parametrize(("body", "kind", "field"), BAD)
async def test_a_body_that_cannot_be_read_is_refused(
    service: LocalService, body: bytes, kind: str, field: str
) -> None:
    response = await send(service, body, kind)
    assert (response.status_code, response.json()["field"]) == (400, field), response.text
    assert (await service.get("jobs/list")).json() == []


async def test_a_file_is_refused(service: LocalService) -> None:
    """There is no object storage; the part is named."""
    response = await service.http.post(RUN, files={"a": (None, "1"), "doc": ("x.txt", b"content")})
    assert (response.status_code, response.json()["field"]) == (400, "doc")


async def test_a_body_over_the_limit_is_413(service: LocalService) -> None:
    assert (await send(service, b"x" * (1024 * 1024 + 1), "text/plain")).status_code == 413


async def test_wrap_body_and_raw(service: LocalService) -> None:
    body = '{"a": 1}'
    assert (await send(service, body, wrap_body=True)).json() == {"body": {"a": 1}}
    assert (await send(service, body, raw=True)).json() == {"a": 1, "raw_string": body}
    both = await send(service, body, raw=True, wrap_body=True)
    assert both.json() == {"body": {"a": 1}, "raw_string": body}


async def test_headers_and_query_parameters_that_are_asked_for_become_args(service: LocalService) -> None:
    response = await service.http.post(
        RUN,
        json={"a": 1},
        headers={"X-Event-Id": "7"},
        params={
            "include_header": "X-Event-Id, x-absent",
            "include_query": "q,absent",
            "q": "v",
            "other": "o",
        },
    )
    assert response.json() == {"a": 1, "x_event_id": "7", "q": "v"}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
async def test_a_get_has_its_args_in_the_query(service: LocalService, encode: Any, padded: bool) -> None:
    """`payload`, and every parameter that means nothing else."""
    payload = encode(json.dumps({"a": "ÿ>?"}, ensure_ascii=False).encode()).decode()
    response = await service.http.get(
        RUN,
        params={"payload": payload if padded else payload.rstrip("="), "b": "1", "token": TOKEN, "tag": "t"},
    )
    assert (response.status_code, response.json()) == (200, {"a": "ÿ>?", "b": "1"})
    assert (await service.http.get(RUN)).json() == {}


@pytest.mark.parametrize("payload", ["%", "eA", "e30x", "ä"])
async def test_a_payload_that_is_not_json_in_base64_is_refused(service: LocalService, payload: str) -> None:
    response = await service.http.get(RUN, params={"payload": payload})
    assert (response.status_code, response.json()["field"]) == (400, "payload")
