"""Request bodies: read up to the limit, decoded strictly, checked field by field."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from executor import telemetry
from executor.api.bigargs import BIG_BYTES, BigArgs, cut_out
from executor.api.problems import first_error
from executor.errors import BadInput, TooLarge, TooSlow
from executor.script import compact_json, is_light

M = TypeVar("M", bound=BaseModel)


BYTES_PER_S_MIN = 16 * 1024
"""What comes or is taken slower than this counts as standing still."""


async def read(request: Request, limit_mb: int) -> bytes:
    """The request's body; raises TooLarge before more than the limit is held, TooSlow."""
    return bytes(await _collected(request, limit_mb))


async def _collected(request: Request, limit_mb: int) -> bytearray:
    limit = limit_mb * 1024 * 1024
    too_large = TooLarge(
        f"body: over {limit_mb} MiB", field="body", remedy="send less, or raise EXECUTOR_REQUEST_MB"
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    read_s = request.app.state.context.settings.read_s
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(read_s) as clock:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
                clock.reschedule(begun + read_s + len(body) / BYTES_PER_S_MIN)
    except TimeoutError:
        telemetry.requests_refused.labels("slow").inc()
        raise TooSlow(
            f"body: {len(body)} bytes came within {read_s:g} s and what these may take",
            field="body",
            remedy="send it faster, or raise EXECUTOR_READ_S",
        ) from None
    except ClientDisconnect:  # nobody will read this, but it is no bug of ours
        raise BadInput("body: the client left before it was sent", field="body") from None
    return body


async def read_model(request: Request, model: type[M], limit_mb: int, *, optional: bool = False) -> M:
    """The body as a `model`; raises BadInput naming the field. An `optional` one may be empty."""
    body = await read(request, limit_mb)
    if optional and not body.strip():
        return model()
    return _model_of(decode(body), model)


async def read_with_args(request: Request, model: type[M], limit_mb: int) -> tuple[M, BigArgs | None]:
    """As `read_model`; arguments that are big come beside the model, undecoded, and are not in it."""
    body = await _collected(request, limit_mb)
    # A small body, as nearly all are, is not worth another thread.
    cut = await asyncio.to_thread(cut_out, body) if len(body) >= BIG_BYTES else None
    if cut is None:
        return _model_of(decode(body), model), None
    rest, args = cut
    return _model_of(rest, model), args


def _model_of(value: Any, model: type[M]) -> M:
    if not isinstance(value, dict):
        raise BadInput(f"body: a JSON object belongs here, not {type(value).__name__}", field="body")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        field, detail = first_error(error.errors(include_url=False))
        raise BadInput(detail, field=field) from None


def decode(body: bytes | bytearray) -> Any:
    """Strict JSON: UTF-8, no NaN, at most 200 levels deep, no lone surrogates; raises BadInput."""
    if not is_light(body):
        raise BadInput(
            "body: too many JSON values in it",
            field="body",
            remedy="send fewer, or big ones as one text (a script's own arguments may be many)",
        )
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadInput(
            f"body: not JSON in UTF-8: {error}", field="body", remedy="send a JSON object"
        ) from None


def recoded(body: bytes | bytearray) -> bytes:
    """A JSON text in our own form, null for an empty one; raises BadInput as `decode` does, and for 1e999."""
    if not body.strip():
        return b"null"
    try:
        return compact_json(decode(body))
    except ValueError:
        raise BadInput("body: a number is out of range", field="body", remedy="send it as a string") from None


def described(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI part that documents a body which the route reads by itself."""
    schema = model.model_json_schema(ref_template="{model}")
    whole = _inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": whole}}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema in which each reference is replaced by what it means; no model of ours holds itself."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(name := schema.get("$ref"), str):
        return _inlined(definitions[name], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}
