"""The approval page as a browser without scripts uses it: get it, post its form, follow the redirect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.approving import Approvals, events, gated, told
from tests.service import TOKEN, local_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def approvals(tmp_path: Path) -> AsyncIterator[Approvals]:
    async with local_service(tmp_path) as service:
        approving = Approvals(service)
        async with approving.stranger:
            yield approving


class Page(HTMLParser):
    """What of a page matters here: its elements, its controls with what they hold, and its labels."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.text = response.text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.labelled: set[str | None] = set()
        self._open: list[str] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "label":
            self.labelled.add(found.get("for"))
        if "label" in self._open and "id" in found:
            self.labelled.add(found["id"])
        if tag == "label":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self._open.remove(tag)

    @property
    def controls(self) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in ("input", "select", "textarea")]

    @property
    def buttons(self) -> list[str | None]:
        return [attrs.get("value") for tag, attrs in self.tags if tag == "button"]

    def values(self) -> dict[str, str]:
        """What inputs hold at first, by name."""
        return {str(one["name"]): str(one.get("value") or "") for one in self.controls if "value" in one}


async def opened(approvals: Approvals, url: str) -> Page:
    return Page(await approvals.stranger.get(url))


async def posted(approvals: Approvals, url: str, **fields: Any) -> Page:
    """Post the form and follow where it leads, as a browser does."""
    data = {name.replace("_", "-"): value for name, value in fields.items()}
    response = await approvals.stranger.post(url, data=data)
    if response.status_code == 303:
        response = await approvals.stranger.get(
            httpx.URL(f"http://test{url}").join(response.headers["location"])
        )
    return Page(response)


async def waiting(approvals: Approvals, *steps: dict[str, Any], **suspend: Any) -> tuple[str, str, str]:
    """A run that waits, the gated step's job, and Ann's page."""
    run = await approvals.start(gated("pay", *(steps or ({"result": 1},)), **suspend), told())
    job = await approvals.waits(run)
    return run, job, (await approvals.urls(job, 1, "ann"))["approvalPage"]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "who", "tags"],
    "order": ["who", "amount"],
    "properties": {
        "amount": {"type": "number", "minimum": 0, "maximum": 500, "default": 7},
        "who": {"type": "string", "title": "Pay to", "description": "A name."},
        "count": {"type": "integer"},
        "ok": {"type": "boolean", "default": True},
        "sure": {"type": "boolean"},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "level": {"enum": [1, None, "two"], "default": "two"},
        "note": {"type": "string", "format": "textarea", "maxLength": 20},
        "tags": {"type": "array", "items": {"enum": ["x", "y", "z"]}, "default": ["y"]},
        "names": {"type": "array", "items": {"type": "string"}},
        "object": {"type": "object", "properties": {"n": {"type": "number"}}},
        "when": {"type": "string", "format": "date-time"},
        "left": {"type": "string", "default": "kept as it is"},
    },
}
KEYS = {
    name: f"field_{number}" for number, name in enumerate(["who", "amount", *list(SCHEMA["properties"])[2:]])
}


async def test_a_form_s_payload_has_the_schema_s_types(approvals: Approvals) -> None:
    """Numbers are numbers, unticked boxes false, options the values they stand for; empty fields are left out."""
    run, _, url = await waiting(approvals, resume_form={"schema": SCHEMA})
    page = await opened(approvals, url)
    assert page.response.status_code == 200
    assert page.buttons == ["resume", "cancel"]
    filled = {
        "who": "Zoë <b>",
        "amount": "1.5",
        "count": "42",
        "kind": "1",
        "level": "0",
        "note": "two\r\nlines",
        "tags": ["0", "2"],
        "names": "Ann\r\n\r\nBob\r\n",
        "object": '{"n": 1}',
        "when": "2026-11-22T18:30",
        "left": "",
    }
    page = await posted(
        approvals, url, action="resume", **{KEYS[name]: text for name, text in filled.items()}
    )
    assert "You approved this step." in page.text
    payload = {
        "who": "Zoë <b>",
        "amount": 1.5,
        "count": 42,
        "ok": False,
        "sure": False,
        "kind": "b",
        "level": 1,
        "note": "two\nlines",
        "tags": ["x", "z"],
        "names": ["Ann", "Bob"],
        "object": {"n": 1},
        "when": "2026-11-22T18:30:00Z",
    }
    assert (await approvals.service.ended(run))["result"] == events([payload], ["ann"])


async def test_a_result_that_is_no_text_does_not_break_the_page(approvals: Approvals) -> None:
    said = {"description": "half a \udfff pair"}
    _, _, url = await waiting(approvals, {"result": said}, resume_form={"schema": SCHEMA})
    assert "half a ? pair" in (await opened(approvals, url)).text


async def test_the_step_s_result_fills_the_form(approvals: Approvals) -> None:
    """`default_args` go before the schema's defaults, `enums` before its enums; `description` is shown."""
    said = {
        "default_args": {"amount": 3, "count": 5, "kind": "c", "sure": True},
        "enums": {"kind": ["c", "d"]},
        "description": "Look <here>.\nThen decide.",
    }
    _, _, url = await waiting(approvals, {"result": said}, resume_form={"schema": SCHEMA})
    page = await opened(approvals, url)
    assert "Look &lt;here&gt;.\nThen decide." in page.text
    keys = {name: key.replace("_", "-") for name, key in KEYS.items()}
    values = page.values()
    assert (values[keys["amount"]], values[keys["count"]], values[keys["left"]]) == (
        "3",
        "5",
        "kept as it is",
    )
    options = [attrs for tag, attrs in page.tags if tag == "option"]
    assert '<option value="0" selected>c</option><option value="1">d</option>' in page.text
    assert any("selected" in attrs and attrs["value"] == "2" for attrs in options), "the schema's own default"
    boxes = [one for one in page.controls if one.get("type") == "checkbox" and "checked" in one]
    assert {one["name"] for one in boxes} == {keys["ok"], keys["sure"], keys["tags"]}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("who", " ", "Please fill this in."),
        ("amount", "x", "Please enter a number."),
        ("amount", "NaN", "Please enter a number."),
        ("amount", "1e999", "Please enter a number."),
        ("amount", "501", "at most 500"),
        ("amount", "-1", "at least 0"),
        ("count", "1.5", "a whole number"),
        ("kind", "2", "choose one of the options"),
        ("kind", "x", "choose one of the options"),
        ("tags", [], "Please fill this in."),
        ("note", "x" * 21, "at most 20 characters"),
        ("object", "{", "Please enter JSON"),
        ("object", "[" * 5000, "Please enter JSON"),
        ("object", "[1]", "This does not fit"),
        ("object", '{"n": "x"}', "This does not fit"),
    ],
)
async def test_what_does_not_fit_is_said_beside_the_field(
    approvals: Approvals, name: str, text: Any, said: str
) -> None:
    """What was filled in stays, and nothing is sent."""
    run, _, url = await waiting(approvals, resume_form={"schema": SCHEMA})
    right = {KEYS["who"]: "somebody & co", KEYS["amount"]: "1", KEYS["tags"]: ["1"]}
    page = await posted(approvals, url, action="resume", **{**right, KEYS[name]: text})
    assert page.response.status_code == 400
    assert said in page.text
    wrong = [one for one in page.controls if one.get("aria-invalid") == "true"]
    assert [one["name"] for one in wrong] == [KEYS[name].replace("_", "-")] or name == "tags"
    if name != "who":
        assert page.values()["field-0"] == "somebody & co"
    assert (await approvals.service.job(run))["type"] == "QueuedJob"
    assert (await approvals.service.job(run))["flow_status"]["modules"][1]["count"] == 1


async def test_a_disapproval_needs_no_filled_form(approvals: Approvals) -> None:
    """The button skips the browser's checks too."""
    run, _, url = await waiting(approvals, resume_form={"schema": SCHEMA})
    page = await opened(approvals, url)
    assert ("formnovalidate", None) in [
        item
        for tag, attrs in page.tags
        if tag == "button" and attrs["value"] == "cancel"
        for item in attrs.items()
    ]
    page = await posted(approvals, url, action="cancel")
    assert "You disapproved this step." in page.text
    assert (await approvals.service.ended(run))["result"]["error"]["message"] == "Disapproved by ann"


async def test_the_page_tells_every_state(approvals: Approvals) -> None:
    """Running, waiting, half approved, approved, disapproved, over in time, ended, not asked."""

    async def text(job: str, resume_id: int) -> str:
        page = await opened(approvals, (await approvals.urls(job, resume_id))["approvalPage"])
        assert page.response.status_code == 200
        assert ("resume" in page.buttons) == ("decide already" in page.text or "Waiting for" in page.text)
        return page.text

    run = await approvals.start(gated("a", {"sleep": 0.4}, {"result": 1}, required_events=2), told())
    job = await approvals.job_of(run, "a")
    assert "still running" in await text(job, 1)
    await approvals.waits(run)
    assert "Waiting for your decision." in await text(job, 1)
    await approvals.approve(job, resume_id=1, approver="<ann>")
    shown = await text(job, 1)
    assert "You approved this step. 1 more needed." in shown
    assert "Approved by &lt;ann&gt;" in shown
    assert "1 of 2" in await text(job, 2)
    await approvals.approve(job, resume_id=2)
    assert "This step was approved already." in await text(job, 3)
    await approvals.service.ended(run)
    assert "This step was approved already." in await text(job, 3)
    assert "You approved this step." in await text(job, 1)

    run = await approvals.start(gated(), told())
    job = await approvals.waits(run)
    await approvals.disapprove(job, approver="bob")
    assert "disapproved by bob" in await text(job, 5)

    run = await approvals.start(gated(timeout=0.2), told())
    job = await approvals.waits(run)
    await approvals.service.ended(run)
    assert "The time to approve this step is over." in await text(job, 1)

    run = await approvals.start(gated(), told())
    job = await approvals.waits(run)
    await approvals.service.http.post(f"/api/w/main/jobs_u/queue/cancel/{run}")
    assert "The flow has ended" in await text(job, 1)
    run = await approvals.start(gated("a", required_events=0), told())
    assert "asks for no approval" in await text(await approvals.job_of(run, "a"), 1)


async def test_a_link_that_is_not_ours_shows_nothing(approvals: Approvals) -> None:
    """Changed, cut, of another approver or another workspace; GET and POST alike."""
    run, job, url = await waiting(approvals)
    plain = url.split("?")[0]
    alone = await approvals.service.run({"result": 1})
    for wrong, status in [
        (plain, 403),
        (f"{plain}?approver=bob", 403),
        (url.replace("/main/", "/nowhere/"), 403),
        (url.replace(job, "nonsense"), 403),
        (url.replace("/1/", "/-1/"), 403),
        (url.replace("/1/", "/99999999999/"), 403),
        (url.replace("/1/", "/²/"), 403),
        ((await approvals.urls(alone))["approvalPage"], 404),
    ]:
        for page in (await opened(approvals, wrong), await posted(approvals, wrong, action="resume")):
            assert page.response.status_code == status, wrong
            assert page.response.headers["content-type"] == "text/html; charset=utf-8"
            assert not page.controls
            assert "u/test/flow" not in page.text
    assert (await approvals.service.job(run))["type"] == "QueuedJob"


async def test_the_page_runs_and_loads_nothing(approvals: Approvals) -> None:
    """No script, nothing from elsewhere, in no frame; the link is not told to anybody, nor cached."""
    _, _, url = await waiting(approvals, resume_form={"schema": SCHEMA})
    for response in (await approvals.stranger.get(url), await approvals.stranger.get(url.split("?")[0])):
        headers = response.headers
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        page = Page(response)
        assert not {"script", "img", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") or name == "style" for _, attrs in page.tags for name in attrs)


async def test_every_control_has_a_label(approvals: Approvals) -> None:
    """For those who do not see the page; the state is announced."""
    _, _, url = await waiting(approvals, resume_form={"schema": SCHEMA})
    page = await opened(approvals, url)
    assert len(page.controls) > 12
    for one in page.controls:
        in_fieldset = one.get("type") == "checkbox" and "id" not in one
        assert in_fieldset or one["id"] in page.labelled, one
    assert any(attrs.get("role") == "status" for _, attrs in page.tags)
    assert ("html", {"lang": "en"}) in page.tags


async def test_whatever_is_shown_is_escaped(approvals: Approvals) -> None:
    """Ids, names, titles, options, defaults, descriptions, and what was filled in."""
    evil = "\"><script>alert('x')</script>&amp;"
    schema = {
        "properties": {
            evil: {"type": "string", "title": evil, "description": evil, "default": evil, "pattern": evil},
            "b": {"enum": [evil], "description": evil},
            "c": {"type": "array", "items": {"enum": [evil]}},
            "d": {"type": "string", "format": "textarea", "default": "</textarea>" + evil},
            "e": {"type": "number"},
        }
    }
    said = {"description": {evil: evil}, "default_args": {"d": "</textarea>" + evil}}
    step = {**gated("a", {"result": said}, resume_form={"schema": schema}), "summary": evil}
    run = await approvals.start(step, told())
    job = await approvals.waits(run)
    url = (await approvals.urls(job, 1, evil))["approvalPage"]
    for page in (
        await opened(approvals, url),
        await posted(approvals, url, action="resume", field_0=evil, field_3=evil, field_4=evil),
    ):
        assert "<script" not in page.text
        assert not {"script"} & {tag for tag, _ in page.tags}
        assert page.values()["field-0"] == evil


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"properties": []},
        {"properties": {"a": None, "b": 1, "c": {"type": "nonsense"}, "d": {"type": []}, "e": True}},
        {"properties": {"a": {"type": ["string", "null"], "enum": "x", "default": {}}}, "required": "a"},
        {
            "properties": {"a": {"type": "array", "items": 5, "default": 3}},
            "order": [1, {}],
            "required": [{}],
        },
        {"properties": {"a": {"type": "number", "minimum": "x", "maximum": None, "default": "y"}}},
        {
            "properties": {
                "a": {"type": "string", "maxLength": -1, "minLength": "x", "format": {}, "title": 3}
            }
        },
        {"properties": {f"p{n}": {"type": "string"} for n in range(300)}},
    ],
)
async def test_an_odd_schema_does_not_break_the_page(approvals: Approvals, schema: Any) -> None:
    """What is not understood is ignored; the step can be approved."""
    run, _, url = await waiting(approvals, {"result": [1]}, resume_form={"schema": schema})
    assert (await opened(approvals, url)).response.status_code == 200
    page = await posted(approvals, url, action="resume")
    assert "You approved this step." in page.text
    assert (await approvals.service.ended(run))["success"]


async def test_hide_cancel_leaves_one_button(approvals: Approvals) -> None:
    """Approve."""
    _, _, url = await waiting(approvals, hide_cancel=True)
    assert (await opened(approvals, url)).buttons == ["resume"]


async def test_a_gate_that_asks_for_a_token_asks_on_the_page(approvals: Approvals) -> None:
    """A right token is kept in a cookie for these pages; without, the page tells nothing of the flow."""
    run, job, _ = await waiting(approvals, user_auth_required=True)
    url = (await approvals.urls(job, 1))["approvalPage"]
    for page in (
        await opened(approvals, url),
        await posted(approvals, url, action="resume"),
        await posted(approvals, url, action="sign-in", token="wrong"),
        await posted(approvals, url, action="sign-in", token="é\n"),
    ):
        assert [one["name"] for one in page.controls] == ["token"]
        assert "u/test/flow" not in page.text
    assert "not known" in (await posted(approvals, url, action="sign-in", token="wrong")).text
    response = await approvals.stranger.post(url, data={"action": "sign-in", "token": TOKEN})
    assert response.status_code == 303
    cookie = response.headers["set-cookie"]
    assert {"HttpOnly", "Path=/approve/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    page = await posted(approvals, url, action="resume")
    assert "You approved this step." in page.text
    assert (await approvals.service.ended(run))["result"] == events([{}], ["admin"])


async def test_what_no_browser_sends_is_refused(approvals: Approvals) -> None:
    """Too much, no form, no button: nothing is sent."""
    run, _, url = await waiting(approvals)
    for body, status in (
        (b"\xff", 400),
        (b"a&" * 20_000, 400),
        (b"x" * (2**20 + 1), 413),
        (b"action=x", 303),
    ):
        assert (await approvals.stranger.post(url, content=body)).status_code == status
    assert (await approvals.service.job(run))["flow_status"]["modules"][1]["count"] == 1
