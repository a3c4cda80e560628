"""Errors as problem documents (RFC 9457): which field, what is wrong, what to do."""

from __future__ import annotations

import http
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from executor import telemetry
from executor.errors import CallerError, EngineError, TooManyRequests, Unauthorized, Unavailable
from executor.script import compact_json

VALUE_CHARS_MAX = 200
TEXT_CHARS_MAX = 1000
RETRY_AFTER_S = "5"
OUTERMOST = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


DESCRIBED: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "The request is wrong: the problem document names the field and the remedy.",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "field": {"type": "string"},
                        "remedy": {"type": "string"},
                    },
                }
            }
        },
    }
}
"""What every route may answer beside its own, for the OpenAPI document."""


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A problem document; `more` are its extension members, absent when None."""
    document = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": _cut(detail),
        **{key: _cut(value) for key, value in more.items() if value is not None},
    }
    return Response(compact_json(document), status, headers, media_type="application/problem+json")


def _cut(value: Any) -> Any:
    """A text of bounded length: what a caller sent must not come back in megabytes."""
    long = isinstance(value, str) and len(value) > TEXT_CHARS_MAX
    return value[:TEXT_CHARS_MAX] + "…" if long else value


def shown(value: Any) -> str:
    """A wrong value as it may be repeated to the caller: short."""
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"


def first_error(errors: Sequence[Any], *, skip: int = 0) -> tuple[str, str]:
    """The field and the message of pydantic's first complaint, and how many more there are.

    The first `skip` parts of a place are left out (FastAPI's say whether it is the query or the path).
    """
    error = errors[0]
    field = ".".join(str(part) for part in error["loc"][skip:]) or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    given = "" if error["type"] == "missing" else f", got {shown(error.get('input'))}"
    return field, f"{field}: {error['msg']}{given}{more}"


def install(app: FastAPI) -> None:
    """Answer every error of the routes with a problem document."""

    @app.exception_handler(CallerError)
    async def _caller(_: Request, error: CallerError) -> Response:
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
        if error.status == 429:
            wait_s = error.wait_s if isinstance(error, TooManyRequests) else float(RETRY_AFTER_S)
            headers["Retry-After"] = str(math.ceil(wait_s))
        if error.status == 408:
            headers["Connection"] = "close"
        return problem(error.status, error.detail, headers, field=error.field, remedy=error.remedy)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> Response:
        field, detail = first_error(error.errors(), skip=1)
        return problem(400, detail, field=field)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Unavailable)
    @app.exception_handler(EngineError)
    async def _unavailable(_: Request, error: Exception) -> Response:
        return problem(503, str(error), {"Retry-After": RETRY_AFTER_S})

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        telemetry.log.error("BUG: a request failed", path=request.url.path, exc_info=error)
        detail = "BUG: the service failed; its log has the trace. Please report it."
        return problem(500, detail, OUTERMOST)  # no middleware sees this answer
