"""The report as one HTML file, to be handed on: no script, nothing from elsewhere, and it prints."""

from __future__ import annotations

from typing import Any

from executor.api.approve.html import Html, joined, tag
from executor.cli.abuse.report import Report

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--good:#1a7f37;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--line:#3d444d;--paper:#161b22;
--good:#3fb950;--bad:#ff8f85}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .5rem}
p{color:var(--soft);margin:.25rem 0}
.verdict{font-size:1.15rem;font-weight:600;margin:1rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft)}
.tries{table-layout:fixed}.tries th:nth-child(1){width:1.6rem}.tries th:nth-child(4){width:24%}
.ok{color:var(--good)}.failed{color:var(--bad)}b{font-weight:600}
details{margin-top:.2rem}summary{cursor:pointer;color:var(--soft);font-size:.85rem}
pre{font:12.5px/1.45 ui-monospace,monospace;white-space:pre-wrap;margin:.3rem 0;color:var(--soft)}
code{font:12.5px ui-monospace,monospace}
@media print{details{display:none}main{max-width:none;padding:0}tr{break-inside:avoid}}
"""


def page(report: Report) -> str:
    """The whole file."""
    summary = report.as_dict()["summary"]
    verdict = (
        f"All {summary['tried']} attempts ended as they must."
        if report.ok
        else f"{summary['failed']} of {summary['tried']} attempts did not end as they must. "
        "Do not run untrusted scripts on this host."
    )
    body = tag(
        "main",
        tag("h1", "What scripts can do on this host"),
        tag("p", f"{report.host['name']}, {report.made_at}, executor {report.versions['executor']}"),
        tag("p", verdict, class_="verdict " + _class(report.ok)),
        tag(
            "p",
            "Each attempt is a script that ran in a container of its own, as every job does, on this host.",
        ),
        *(_area(area, report) for area in dict.fromkeys(attempt["area"] for attempt in report.attempts)),
        tag("h2", "Versions and digests"),
        _pairs({**report.versions, **report.host}),
        tag("h2", "Images"),
        _rows(("language", "tag", "id"), [(name, i["tag"], i["id"]) for name, i in report.images.items()]),
        tag("h2", "Limits of a job"),
        _rows(
            ("limit", "default", "maximum"),
            [(k, v["default"], v["maximum"]) for k, v in report.limits.items()],
        ),
        tag("h2", "What the instance allows"),
        _pairs(report.policy),
        tag("h2", "What each container is made with"),
        tag("p", "Under the default limits; places are in memory, sizes in bytes."),
        *(_confinement(name, hard) for name, hard in report.confinement.items()),
    )
    head = joined(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
        tag("title", f"executor: abuse report of {report.host['name']}"),
        tag("style", Html(STYLE)),
    )
    return "<!doctype html>" + tag("html", tag("head", head), tag("body", body), lang="en")


def _area(area: str, report: Report) -> Html:
    rows = [_attempt(attempt) for attempt in report.attempts if attempt["area"] == area]
    heads = tag("tr", *(tag("th", head) for head in ("", "a script tries to", "it must", "what happened")))
    return joined(tag("h2", area.capitalize()), tag("table", heads, *rows, class_="tries"))


def _attempt(attempt: dict[str, Any]) -> Html:
    script = tag("details", tag("summary", "script"), tag("pre", attempt["script"].strip()))
    return tag(
        "tr",
        tag("td", tag("b", "✓" if attempt["ok"] else "✗", class_=_class(attempt["ok"]))),
        tag("td", attempt["tries"], script if attempt["script"] else None),
        tag("td", attempt["must"]),
        tag("td", f"{attempt['happened']} ({attempt['took_s']} s)", class_=_class(attempt["ok"])),
        id=attempt["id"],
    )


def _confinement(name: str, hard: dict[str, Any]) -> Html:
    return tag("details", tag("summary", name), _pairs(hard))


def _pairs(pairs: dict[str, Any]) -> Html:
    return _rows(("", ""), list(pairs.items()))


def _rows(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Html:
    shown = tag("tr", *(tag("th", head) for head in heads)) if any(heads) else None
    return tag("table", shown, *(tag("tr", *map(_cell, row)) for row in rows))


def _cell(value: Any) -> Html:
    if isinstance(value, list | tuple):
        return tag("td", *(tag("code", _text(item), Html("<br>")) for item in value) if value else ("none",))
    return tag("td", tag("code", _text(value)))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _class(ok: bool) -> str:
    return "ok" if ok else "failed"
