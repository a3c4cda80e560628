"""The outermost layer: requests too big to look at, headers on every answer, the count of open requests."""

from __future__ import annotations

import base64
import hashlib
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor import telemetry
from executor.api.context import Context
from executor.api.problems import problem
from executor.settings import Settings

QUERY_FIELDS_MAX = 256
FILES = "/static-offline-docs/"
"""Scripts and styles of the documentation's pages: nothing of anybody's is in them."""

COMMON = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; sandbox",
}
"""An answer is only what it says it is, is in no page of others, and tells nobody its own address."""
NOT_KEPT = {b"cache-control": b"no-store"}


class Edge:
    """ASGI middleware; `pages` gives a Content-Security-Policy for paths that need another one."""

    def __init__(self, app: ASGIApp, pages: dict[str, bytes]) -> None:
        self._app = app
        self._of_files = list(COMMON.items())
        self._of_answers = list((COMMON | NOT_KEPT).items())
        self._of_pages = {
            path: list((COMMON | NOT_KEPT | {b"content-security-policy": policy}).items())
            for path, policy in pages.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = self._headers_for(scope["path"])

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message["headers"]
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(pair for pair in headers if pair[0] not in names)]
            await send(message)

        context: Context = scope["app"].state.context
        if (refusal := _refusal(scope, context.settings)) is not None:
            telemetry.requests_refused.labels("size").inc()
            return await problem(*refusal[:2], {"Connection": "close"}, remedy=refusal[2])(
                scope, receive, with_headers
            )
        try:
            await self._app(scope, receive, with_headers)
        finally:
            key: str | None = scope.get("state", {}).get("entered")
            if key is not None:
                context.rates.leave(key)

    def _headers_for(self, path: str) -> list[tuple[bytes, bytes]]:
        return self._of_files if path.startswith(FILES) else self._of_pages.get(path, self._of_answers)


def _refusal(scope: Scope, settings: Settings) -> tuple[int, str, str] | None:
    """Status, detail and remedy for a request whose head is too big, or ambiguous."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size > settings.header_kb * 1024:
        detail = f"headers: over {settings.header_kb} KiB, the path and the query included"
        return 431, detail, "send fewer or shorter ones, or raise EXECUTOR_HEADER_KB"
    framing = {name for name, _ in scope["headers"]} & {b"content-length", b"transfer-encoding"}
    if len(framing) == 2:
        # RFC 9112, section 6.3: somebody on the way may read the one where we read the other
        return 400, "headers: both Content-Length and Transfer-Encoding", "send one of them"
    if b"transfer-encoding" in framing and scope["http_version"] == "1.0":
        return 400, "headers: Transfer-Encoding in HTTP/1.0, which has none", "send HTTP/1.1"  # section 6.1
    if scope["query_string"].count(b"&") >= QUERY_FIELDS_MAX:
        return 400, f"query: over {QUERY_FIELDS_MAX} parameters", "send arguments in the body"
    return None


def policy_of_page(html: bytes) -> bytes:
    """What a page of the documentation may do: run its own script and files, ask this service, no more."""
    inline = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inline]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ).encode()
