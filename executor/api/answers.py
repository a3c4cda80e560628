"""A completed job as the answer of a `run_wait_result` request (docs/openflow.md section 6.3)."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import Response

from executor.jobs.desk import Completed, Early
from executor.script import is_light

SHAPING = b'"windmill_'
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff]+(?:[\t ]+[\x21-\x7e\x80-\xff]+)*)?")
BODILESS = {204, 304}  # a server that sent a body after these would break the connection
FRAMING = {"content-length", "transfer-encoding", "connection", "content-type", "upgrade", "trailer"}
OF_THE_ORIGIN = {
    "alt-svc",
    "clear-site-data",
    "content-security-policy",
    "referrer-policy",
    "service-worker-allowed",
    "set-cookie",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
}
"""What would reach beyond the answer: to the other pages, cookies and scripts of this address."""
NOT_THEIRS = FRAMING | OF_THE_ORIGIN


def answer(done: Completed | Early) -> Response:
    """The result, shaped as it asks itself; the error object with status 500 for a failed job."""
    if not done.ok:
        return Response(done.result, 500, media_type="application/json")
    if done.result.startswith(b"{") and SHAPING in done.result and is_light(done.result):
        try:
            return _shaped(json.loads(done.result), done.result)
        except (ValueError, RecursionError):
            pass  # too deep to look into: it is served as it is
    return Response(done.result, media_type="application/json")


def _shaped(result: dict[str, Any], raw: bytes) -> Response:
    content_type = result.get("windmill_content_type")
    asked = result.get("windmill_status_code")
    headers = result.get("windmill_headers")
    if content_type is asked is headers is None:
        return Response(raw, media_type="application/json")
    body = result.get("result")
    typed = isinstance(content_type, str) and HEADER_VALUE.fullmatch(content_type)
    text = (
        body if typed and isinstance(body, str) else json.dumps(body, separators=(",", ":"), allow_nan=False)
    )
    status = asked if isinstance(asked, int) and 200 <= asked <= 599 else 200
    response = Response(
        b"" if status in BODILESS else text.encode("utf-8", "replace"),
        status,
        media_type=content_type if typed else "application/json",
    )
    for name, value in (headers or {}).items() if isinstance(headers, dict) else ():
        if _is_header(name, value):
            response.headers[name] = value
    return response


def _is_header(name: str, value: Any) -> bool:
    """A header that may be sent: well-formed (RFC 9110), and none that is not a script's to send."""
    return (
        bool(HEADER_NAME.fullmatch(name))
        and name.lower() not in NOT_THEIRS
        and isinstance(value, str)
        and bool(HEADER_VALUE.fullmatch(value))
    )
