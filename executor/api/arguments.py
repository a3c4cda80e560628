"""From a request to the arguments of what it runs (docs/openflow.md section 6.4).

What comes in may be any request that some other system sends: JSON, a form, a text, or a GET.
"""

from __future__ import annotations

import binascii
import codecs
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Query, Request
from pydantic import Field

from executor.api.body import decode, read
from executor.api.models import RunQuery
from executor.api.problems import shown
from executor.errors import BadInput

FIELDS_MAX = 10_000
CHARSETS = frozenset(
    codecs.lookup(name).name
    for name in (
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "ascii",
        "latin-1",
        "cp1252",
        "iso8859-15",
    )
)
"""What the Web sends; Python has others that take the square of a text's length to read."""
PART_HEAD_BYTES = 4096
PART_HEAD = re.compile(rb"^--[^\r\n]*\r?\n((?:[^\r\n]+\r?\n)*)", re.MULTILINE)
"""After a line that may be a boundary: the lines up to an empty one."""
TYPES = (
    "application/json, application/x-www-form-urlencoded, multipart/form-data, text/plain, application/xml"
)
CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that a preprocessor does not see: they are the caller's, and arguments are stored."""


class ArgsQuery(RunQuery):
    """Query parameters of running something stored: those of every submission, and how its args are read."""

    payload: str | None = Field(None, description="GET only: the body, JSON in base64")
    include_header: str | None = Field(None, description="names of headers, by comma: they become args")
    include_query: str | None = Field(None, description="names of query parameters, by comma, likewise")
    raw: bool = Field(False, description="the arg `raw_string` is the body as it came")
    wrap_body: bool = Field(False, description="the body is one arg, `body`")
    skip_preprocessor: bool = Field(False, description="the flow's preprocessor does not run")


ArgsParameters = Annotated[ArgsQuery, Query()]
DESCRIBED: dict[str, Any] = {
    "requestBody": {
        "description": "the arguments: section 6.4",
        "required": False,
        "content": {
            "application/json": {"schema": {}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}
"""The OpenAPI part that documents such a body."""


@dataclass(frozen=True)
class Payload:
    """What a request brings: a value, or only a text."""

    value: Any
    text: str
    is_text: bool = False

    def args(self, query: ArgsQuery) -> dict[str, Any]:
        """The payload alone as arguments."""
        if self.is_text:
            return {"raw_string": self.text}
        wrap = query.wrap_body or not isinstance(self.value, dict)
        args: dict[str, Any] = {"body": self.value} if wrap else dict(self.value)
        if query.raw:
            args["raw_string"] = self.text
        return args


async def read_payload(request: Request, query: ArgsQuery, limit_mb: int) -> Payload:
    """The request's body, or of a GET its `payload`; raises BadInput and TooLarge."""
    if request.method == "GET":
        return _of_query(query)
    body = await read(request, limit_mb)
    if not body.strip():
        return Payload({}, "")
    header = Message()
    header["content-type"] = request.headers.get("content-type") or "application/json"
    kind = header.get_content_type()
    if kind.endswith(("/json", "+json")):
        return Payload(decode(body), body.decode())
    if kind == "application/x-www-form-urlencoded":
        text = _text(body, "utf-8")
        return Payload(_urlencoded(text), text)
    if kind == "multipart/form-data":
        return Payload(_multipart(body, request.headers["content-type"]), "")
    if kind.startswith("text/") or kind.endswith(("/xml", "+xml")):
        return Payload(None, _text(body, header.get_content_charset("utf-8")), is_text=True)
    raise BadInput(
        f"Content-Type: {shown(kind)} cannot be read as arguments",
        field="Content-Type",
        remedy=f"send {TYPES}",
    )


def arguments(request: Request, query: ArgsQuery, payload: Payload) -> dict[str, Any]:
    """The arguments of a script or flow: the payload, and what else of the request is asked for."""
    return {**payload.args(query), **_from_query(request, query), **_from_headers(request, query)}


def event(request: Request, payload: Payload) -> dict[str, Any]:
    """The one argument of a preprocessor: the request itself."""
    headers = {name: text for name, text in request.headers.items() if name not in CREDENTIALS}
    return {
        "event": {
            "kind": "webhook",
            "body": payload.value,
            "raw_string": payload.text,
            "headers": headers,
            "query": {name: text for name, text in request.query_params.items() if name != "token"},
        }
    }


def _of_query(query: ArgsQuery) -> Payload:
    if query.payload is None:
        return Payload({}, "")
    try:  # either alphabet of base64, with or without padding
        said = query.payload.replace("+", "-").replace("/", "_").replace(" ", "-").rstrip("=")
        body = urlsafe_b64decode(said.encode("ascii") + b"=" * (-len(said) % 4))
        return Payload(decode(body), body.decode())
    except (binascii.Error, UnicodeEncodeError, BadInput):
        raise BadInput(
            f"payload: {shown(query.payload)} is not JSON in base64",
            field="payload",
            remedy="encode a JSON object in base64",
        ) from None


def _from_query(request: Request, query: ArgsQuery) -> dict[str, str]:
    """Query parameters that are args: those asked for, and of a GET all that mean nothing else."""
    given = dict(request.query_params)
    if request.method == "GET":
        own = type(query).model_fields
        return {name: text for name, text in given.items() if name not in own}
    return {name: given[name] for name in _names(query.include_query) if name in given}


def _from_headers(request: Request, query: ArgsQuery) -> dict[str, str]:
    """Headers that are args: `X-Event-Id` becomes `x_event_id`."""
    given = dict(request.headers)  # names in lower case
    asked = [name.lower() for name in _names(query.include_header)]
    return {name.replace("-", "_"): given[name] for name in asked if name in given}


def _names(listed: str | None) -> list[str]:
    return [name for part in (listed or "").split(",") if (name := part.strip())]


def _text(body: bytes, charset: str) -> str:
    try:
        if codecs.lookup(charset).name not in CHARSETS:
            raise LookupError(charset)
        text = body.decode(charset)
        text.encode()  # some old encodings can say what is no text
        return text
    except (LookupError, ValueError):
        raise BadInput(
            f"body: it is not text in {shown(charset)}", field="body", remedy="send UTF-8"
        ) from None


def _urlencoded(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise BadInput(
            f"body: not a form: {error}",
            field="body",
            remedy=f"send at most {FIELDS_MAX} fields, percent-encoded in UTF-8",
        ) from None


def _multipart(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a form; raises BadInput if one of them is a file."""
    head = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    _check_parts(body)
    whole = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    if not whole.is_multipart():
        raise BadInput("body: no parts in it", field="body", remedy="name the boundary in Content-Type")
    try:
        return _fields(whole)
    except (IndexError, RecursionError, ValueError):  # of the standard library's parser of headers
        raise BadInput(
            "body: a part with a header that nobody can read", field="body", remedy="see RFC 7578"
        ) from None


def _check_parts(body: bytes) -> None:
    """Raises BadInput for lines that may be long headers, or too many parts: to read those takes very long."""
    heads = PART_HEAD.findall(body)
    if len(heads) > FIELDS_MAX or any(len(head) > PART_HEAD_BYTES for head in heads):
        raise BadInput(
            f"body: over {FIELDS_MAX} parts, or a part's header over {PART_HEAD_BYTES} bytes",
            field="body",
            remedy="send fewer or shorter ones",
        )


def _fields(whole: EmailMessage) -> dict[str, str]:
    fields = {}
    for part in whole.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise BadInput(
                f"{shown(name)}: files cannot be stored here",
                field=str(name),
                remedy="send the content as a text, for example in base64",
            )
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise BadInput("body: a part without a name", field="body", remedy="name every field")
        fields[name] = _text(content, "utf-8")
    return fields
