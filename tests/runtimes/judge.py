"""Holds what a script did to what its case expects; gives sentences, none if all is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from executor.script import Failed, Outcome, Returned
from tests.runtimes.cases import Case

SHOWN = 300


@dataclass(frozen=True)
class Seen:
    """How a script ended: its outcome, its log, its seconds from start to end."""

    outcome: Outcome
    log: str
    seconds: float


def complaints(case: Case, seen: Seen) -> list[str]:
    """Everything that is not as the case expects it."""
    return [said for key, value in case.expect.items() for said in CHECKS[key](case, seen, value)]


def strict(text: bytes | str) -> Any:
    """JSON in which no key comes twice and no NaN occurs."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key comes twice")
        return dict(pairs)

    def refuse(name: str) -> None:
        raise ValueError(f"bare {name}")

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def same(left: Any, right: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, but neither true nor "1"."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def short(value: Any) -> str:
    """A value as a complaint shows it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def _result(seen: Seen) -> Any:
    if not isinstance(seen.outcome, Returned):
        raise TypeError("there is no result")
    return strict(seen.outcome.value)


def _failure(seen: Seen) -> Failed:
    if not isinstance(seen.outcome, Failed):
        raise TypeError("there is no error")
    return seen.outcome


def _success(_: Case, seen: Seen, wanted: bool) -> Iterator[str]:
    if isinstance(seen.outcome, Returned) is not wanted:
        how = seen.outcome.value if isinstance(seen.outcome, Returned) else seen.outcome.as_json()
        yield f"{'failed' if wanted else 'succeeded'}: {short(how.decode())}"


def _equals(name: str, get: Callable[[Seen], Any], parse: Callable[[Any], Any] = lambda v: v) -> Any:
    def check(_: Case, seen: Seen, wanted: Any) -> Iterator[str]:
        try:
            value = get(seen)
        except (TypeError, ValueError) as error:
            yield f"{name}: {error}"
            return
        if not same(value, parse(wanted)):
            yield f"{name} is {short(value)}, not {short(parse(wanted))}"

    return check


def _is_arg(case: Case, seen: Seen, wanted: str) -> Iterator[str]:
    yield from _equals("result", _result)(case, seen, case.args[wanted])


def _reason(_: Case, seen: Seen, wanted: str | list[str]) -> Iterator[str]:
    allowed = [wanted] if isinstance(wanted, str) else wanted
    found = _failure(seen).reason.value if isinstance(seen.outcome, Failed) else "no error"
    if found not in allowed:
        yield f"reason is {found}, not {' or '.join(allowed)}"


def _holds(name: str, get: Callable[[Seen], str], *, wanted: bool) -> Any:
    def check(_: Case, seen: Seen, texts: list[str]) -> Iterator[str]:
        try:
            text = get(seen)
        except TypeError as error:
            yield f"{name}: {error}"
            return
        for part in texts:
            if (part in text) is not wanted:
                yield f"{name} {'lacks' if wanted else 'holds'} {part!r}: {short(text)}"

    return check


def _logs(_: Case, seen: Seen, orders: list[list[str]]) -> Iterator[str]:
    lines = seen.log.split("\n")
    for order in orders:
        rest = iter(lines)
        for line in order:
            if line not in rest:
                yield f"log lacks the line {line!r}, or has it too early: {short(seen.log)}"
                break


def _log_has_arg(case: Case, seen: Seen, name: str) -> Iterator[str]:
    if case.args[name] not in seen.log:
        yield f"log lacks the argument {name}: {short(seen.log)}"


def _error_bytes(_: Case, seen: Seen, most: int) -> Iterator[str]:
    if isinstance(seen.outcome, Failed) and len(seen.outcome.as_json()) > most:
        yield f"error has {len(seen.outcome.as_json())} bytes, over {most}"


def _at_least(_: Case, seen: Seen, seconds: float) -> Iterator[str]:
    if seen.seconds < seconds:
        yield f"ended after {seen.seconds:.2f} s, before {seconds}"


def _at_most(_: Case, seen: Seen, seconds: float) -> Iterator[str]:
    if seen.seconds > seconds:
        yield f"ended after {seen.seconds:.2f} s, not within {seconds}"


CHECKS: dict[str, Callable[[Case, Seen, Any], Iterator[str]]] = {
    "success": _success,
    "result": _equals("result", _result, strict),
    "result_is_arg": _is_arg,
    "reason": _reason,
    "error_name": _equals("error name", lambda seen: _failure(seen).name),
    "error_message": _equals("error message", lambda seen: _failure(seen).message),
    "message_has": _holds("error message", lambda seen: _failure(seen).message, wanted=True),
    "stack_has": _holds("stack", lambda seen: _failure(seen).stack or "", wanted=True),
    "stack_lacks": _holds("stack", lambda seen: _failure(seen).stack or "", wanted=False),
    "extra": _equals("extra", lambda seen: dict(_failure(seen).extra or {}), strict),
    "exit_code": _equals("exit code", lambda seen: _failure(seen).exit_code),
    "error_bytes_max": _error_bytes,
    "logs": _logs,
    "logs_have_arg": _log_has_arg,
    "logs_lack": _holds("log", lambda seen: seen.log, wanted=False),
    "stream": _equals("stream", lambda seen: seen.outcome.stream),
    "min_seconds": _at_least,
    "max_seconds": _at_most,
}
