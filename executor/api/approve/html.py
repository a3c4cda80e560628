"""HTML from values: whatever is not HTML already is escaped."""

from __future__ import annotations

import base64
import hashlib
import html

from fastapi import Response

VOID = {"input", "meta", "br"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | None
Attribute = str | int | float | bool | None


def tag(element: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element. Children that are not `Html` are text; None is nothing.

    Attributes: True stands alone, False and None are left out; `class_` is `class`, `a_b` is `a-b`.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    inside = joined(*children)
    return Html(f"<{element}{shown}>" if element in VOID else f"<{element}{shown}>{inside}</{element}>")


def joined(*children: Child) -> Html:
    """Children in a row."""
    return Html("".join(_escaped(child) for child in children if child is not None))


def _escaped(child: str) -> str:
    return child if isinstance(child, Html) else html.escape(child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


STYLE = """
:root{color-scheme:light dark;--ground:#f4f5f7;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;
--good:#1a7f37;--bad:#b42318;--wait:#7a4d00;--focus:#0969da}
@media(prefers-color-scheme:dark){:root{--ground:#0d1117;--paper:#161b22;--ink:#e6edf3;--soft:#9da7b3;
--line:#3d444d;--good:#3fb950;--bad:#ff8f85;--wait:#e3b341;--focus:#58a6ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:42rem;margin:0 auto;padding:1.5rem 1rem 3rem}
section,header{background:var(--paper);border:1px solid var(--line);border-radius:.6rem;padding:1.25rem;
margin-bottom:1rem;overflow-wrap:anywhere}
h1{font-size:1.4rem;line-height:1.25;margin:0 0 .75rem}
h2{font-size:1.05rem;margin:0 0 .5rem}
p{margin:.5rem 0}
section>:first-child{margin-top:0}
section>:last-child{margin-bottom:0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:0}
dt{color:var(--soft)}
dd{margin:0}
ul{margin:.25rem 0;padding-left:1.25rem}
.said{white-space:pre-wrap}
pre{white-space:pre-wrap;margin:.5rem 0;font:.875rem/1.45 ui-monospace,monospace}
.state{border-left:.35rem solid var(--wait);font-weight:600}
.good{border-left-color:var(--good)}
.bad{border-left-color:var(--bad)}
.field{margin:0 0 1.1rem;border:0;padding:0;min-width:0}
label,legend{display:block;font-weight:600;padding:0}
.check{display:flex;gap:.6rem;align-items:flex-start;font-weight:400;padding:.2rem 0}
div.field>.check{font-weight:600}
.hint{color:var(--soft);font-size:.9rem;margin:.1rem 0 .3rem}
.wrong{color:var(--bad);font-size:.9rem;font-weight:600;margin:.2rem 0}
input:not([type=checkbox]),select,textarea{width:100%;padding:.55rem .65rem;border:1px solid var(--line);
border-radius:.4rem;background:var(--paper);color:inherit;font:inherit}
textarea{min-height:6rem;resize:vertical}
.json{font-family:ui-monospace,monospace;font-size:.9rem}
input[type=checkbox]{width:1.15rem;height:1.15rem;margin:.18rem 0 0;flex:none;accent-color:var(--good)}
.field [aria-invalid=true]{border:2px solid var(--bad)}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
.buttons{display:flex;flex-wrap:wrap;gap:.75rem}
button{font:inherit;font-weight:600;padding:.65rem 1.4rem;border-radius:.4rem;border:1px solid var(--good);
background:var(--good);color:#fff;cursor:pointer;flex:1 1 8rem}
button.no{background:transparent;color:var(--bad);border-color:var(--bad)}
@media(prefers-color-scheme:dark){button{color:#04260f}}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""A page runs nothing, loads nothing, is in no frame, and tells nobody the link it was opened by."""


def response(title: str, *content: Child, status: int = 200) -> Response:
    """A whole page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    whole = tag("html", head, tag("body", tag("main", *content)), lang="en")
    text = f"<!doctype html>{whole}".encode(errors="replace")  # a script may say half a surrogate pair
    return Response(text, status, HEADERS, media_type="text/html")
