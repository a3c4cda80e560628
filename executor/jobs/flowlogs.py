"""The log of a flow: those of its steps one after the other, each under a headline. Pure reading.

Whoever follows a flow asks for what comes after the characters he has. So what was shown once must
stay where it was: the text goes in the order of the document, and as far as the first step that has
not ended. What runs beside that step comes when it has ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, Select, and_, exists, func, or_, select

from executor.jobs import store
from executor.jobs.job import Job
from executor.storage.tables import job_output, jobs
from executor.storage.texts import begins_with

CHARS_MAX = 4 * 1024 * 1024
"""Characters in one answer; of a longer log the rest is asked for."""
IDS_MAX = 500

Key = tuple[tuple[int, int, tuple[Any, ...]], ...]


@dataclass(frozen=True)
class Section:
    """A job's part of the text: a headline, and its own log below."""

    job_id: str
    headline: str
    chars: int
    """Of the log, as far as it is stored."""
    ends_its_line: bool


@dataclass(frozen=True)
class FlowLog:
    """A piece of the text, the offset to ask for next, and whether more is there already."""

    text: str
    offset: int
    has_more: bool


def read(connection: Connection, flow: Job, offset: int = 0, *, everything: bool = False) -> FlowLog:
    """The text from character `offset` on, as far as one answer goes.

    With `everything` also what runs beside a step that has not ended; then the text is good for one
    look, because it grows in its middle.
    """
    wanted: list[tuple[str, Section]] = []
    at, begins, is_new_line, has_more = 0, offset, True, False
    for section in _sections(connection, flow, everything=everything):
        head = section.headline if is_new_line else "\n" + section.headline
        ends = at + len(head) + section.chars
        if ends > offset:
            if not wanted:
                begins = at
            elif at - offset >= CHARS_MAX:
                has_more = True
                break
            wanted.append((head, section))
        at, is_new_line = ends, section.ends_its_line
    text = _text(connection, wanted, offset - begins)
    shown = text[:CHARS_MAX]
    return FlowLog(shown, offset + len(shown), has_more or len(text) > CHARS_MAX)


def _text(connection: Connection, wanted: Sequence[tuple[str, Section]], skip: int) -> str:
    """Headlines and logs, without the first `skip` characters, which are of the first section."""
    if not wanted:
        return ""
    head, first = wanted[0]
    start = max(0, skip - len(head))
    log, _ = store.output(connection, first.job_id, "log", start)
    parts = [head[skip:], log[: first.chars - start]]
    logs = _logs(connection, [section.job_id for _, section in wanted[1:]])
    for head, section in wanted[1:]:
        parts += [head, logs.get(section.job_id, "")[: section.chars]]
    return "".join(parts)


def _sections(connection: Connection, flow: Job, *, everything: bool) -> list[Section]:
    """The flow's own log, if it has one, and its steps' in the order of the document."""
    inside = _inside(flow)
    lengths = _lengths(connection, select(jobs.c.id).where(inside))
    own = _lengths(connection, select(jobs.c.id).where(jobs.c.id == flow.id))
    found = [Section(flow.id, "", *own[flow.id])] if flow.id in own else []
    if flow.deleted:
        return found
    has_log = exists().where(job_output.c.job_id == jobs.c.id, job_output.c.kind == "log")
    counts = or_(jobs.c.role == "script", jobs.c.state != "completed", has_log)
    columns = (jobs.c.id, jobs.c.run_path, jobs.c.role, jobs.c.state, jobs.c.language, jobs.c.kind)
    rows = connection.execute(select(*columns).where(inside, counts)).all()
    in_order = sorted(rows, key=lambda row: _key(row.run_path))
    shown = in_order if everything else _settled(in_order)
    beneath = flow.run_path or ""
    return found + [
        Section(row.id, _headline(row, beneath), *lengths.get(row.id, (0, True)))
        for row in shown
        if row.role == "script" or row.id in lengths  # the walk may have words on a step of its own
    ]


def _inside(flow: Job) -> Any:
    """The condition that a job is inside the flow."""
    whole = and_(jobs.c.run_id == flow.run_id, jobs.c.id != flow.id)
    if not flow.run_path:
        return whole
    return and_(whole, begins_with(jobs.c.run_path, f"{flow.run_path}/"))


def _settled(in_order: Sequence[Any]) -> Iterator[Any]:
    """The jobs that nothing comes before any more, and the first that has not ended."""
    within = ""
    for row in in_order:
        if not row.run_path.startswith(within):
            return
        yield row
        if row.state != "completed":
            if row.role == "script":
                return
            within = f"{row.run_path}/"


def _lengths(connection: Connection, ids: Select[Any]) -> dict[str, tuple[int, bool]]:
    """How many characters of each job's log are stored, and whether the last one ends a line."""
    last = (
        select(job_output.c.job_id, func.max(job_output.c.position).label("position"))
        .where(job_output.c.kind == "log", job_output.c.job_id.in_(ids))
        .group_by(job_output.c.job_id)
        .subquery()
    )
    chars = func.length(job_output.c.text)
    rows = connection.execute(
        select(
            job_output.c.job_id,
            (job_output.c.position + chars).label("chars"),
            func.substr(job_output.c.text, chars, 1).label("last"),
        ).join(
            last,
            and_(
                job_output.c.job_id == last.c.job_id,
                job_output.c.position == last.c.position,
                job_output.c.kind == "log",
            ),
        )
    )
    return {row.job_id: (row.chars, row.last in ("\n", "")) for row in rows.all()}


def _logs(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    pieces: dict[str, list[str]] = {}
    for first in range(0, len(ids), IDS_MAX):
        some = ids[first : first + IDS_MAX]
        rows = connection.execute(
            select(job_output.c.job_id, job_output.c.text)
            .where(job_output.c.job_id.in_(some), job_output.c.kind == "log")
            .order_by(job_output.c.job_id, job_output.c.position)
        )
        for row in rows:
            pieces.setdefault(row.job_id, []).append(row.text)
    return {job_id: "".join(texts) for job_id, texts in pieces.items()}


# ------------------------------------------------------------ places

_SEGMENT = re.compile(r"(\d+):(.*)")
_INDEX, _ATTEMPT, _NUMBER = re.compile(r"^\d+:"), re.compile(r"#(\d+)"), re.compile(r"(\d+)")
_FIRST, _MODULE, _LAST = 0, 1, 2


def _key(run_path: str) -> Key:
    """What sorts places as the document has them: numbers as numbers, a retry after what it repeats."""
    return tuple(_segment_key(segment) for segment in run_path.split("/")[1:])


def _segment_key(segment: str) -> tuple[int, int, tuple[Any, ...]]:
    if (match := _SEGMENT.fullmatch(segment)) is None:
        return (_FIRST if segment.startswith("preprocessor") else _LAST), 0, _natural(segment)
    return _MODULE, int(match.group(1)), _natural(match.group(2))


def _natural(text: str) -> tuple[Any, ...]:
    parts = _NUMBER.split(text.replace("#", "~"))  # "~" sorts behind "[" and "."
    return tuple(int(part) if n % 2 else part for n, part in enumerate(parts))


def _headline(row: Any, beneath: str) -> str:
    """As `--- STEP loop[3]/a (python3), job 0b2c… ---`."""
    segments = row.run_path.removeprefix(beneath).split("/")[1:]
    names = [_ATTEMPT.sub(r" (retry \1)", _INDEX.sub("", segment)) for segment in segments]
    label = unquote("/".join(names))
    if not label.isprintable():
        label = "".join(c if c.isprintable() else "?" for c in label)
    return f"--- STEP {label} ({row.language or row.kind}), job {row.id} ---\n"
