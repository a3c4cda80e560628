"""One expression, in a JavaScript context of its own. Runs in a child process only.

Imports only the standard library and the engine: a child has to start quickly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# The package `quickjs` around this module starts a thread when imported; a child has no use for it.
import _quickjs

Ask = Callable[[str, str], "bytes | None"]
"""Asks the service (what, key): JSON text, or None if there is no such value. Raises Refused."""

PRELUDE = Path(__file__).with_name("prelude.js").read_text("utf-8").replace("\n", " ")
FIRST_LINE = 4
"""Where the expression's first line is in the text that the engine compiles."""
POSITION = re.compile(r"<input>:(\d+):(\d+)")
OUT_OF_MEMORY = "InternalError: out of memory"


class Refused(Exception):
    """The service could not answer; the message is for the expression to catch."""


class Failure(Exception):
    """The expression failed; the message is the detail: what, and where in its text."""


class Evaluation:
    """Evaluates one expression and is thrown away. Made ahead, it costs no time when the expression comes."""

    def __init__(self, memory_mb: int) -> None:
        """Make a context that may use `memory_mb` MiB, with the prelude in it."""
        self._context = _quickjs.Context()
        self._context.set_memory_limit(memory_mb << 20)
        self._context.add_callable("ask", self._answer)
        self._context.add_callable("tell", self._tell)
        self._start = self._context.eval(PRELUDE)
        self._told: tuple[str, str | None] | None = None
        self.spent = False
        """Whether it has evaluated its expression."""

    def run(self, request: Mapping[str, Any], ask: Ask) -> bytes:
        """Evaluate the request, as pool.py makes it; return the value as JSON text.

        Raises Failure with the detail.
        """
        self._ask = ask
        self.spent = True
        try:
            return self._outcome(request)
        finally:
            # The context holds our methods, and we hold it: nobody else would free its memory soon.
            del self._start, self._context

    def _outcome(self, request: Mapping[str, Any]) -> bytes:
        try:
            self._start(json.dumps(request))
            while self._told is None and self._context.execute_pending_job():
                pass
        except _quickjs.JSException as error:
            raise Failure(_trouble(str(error))) from None
        if self._told is None:
            raise Failure("Error: the promise that the expression gave is never settled")
        kind, text = self._told
        if text is None:  # the engine could not hand the text over
            raise Failure(OUT_OF_MEMORY)
        if kind == "failed":
            raise Failure(_detail(text, request["expr"]))
        value = text.encode()
        if len(value) > request["result_bytes"]:
            raise Failure(f"RangeError: the result is over {request['result_bytes']} bytes")
        return value

    def _tell(self, kind: str, text: str | None) -> None:
        if self._told is None:
            self._told = kind, text

    def _answer(self, question: str) -> Any:
        """What prelude.js calls `ask`. An exception must not leave it: the engine would stumble over it."""
        try:
            asked = json.loads(question)
            try:
                value = self._ask(asked["what"], asked["key"])
            except Refused as refusal:
                return self._context.parse_json(f"[2,{json.dumps(str(refusal))}]")
            # Parsed on this side, the text takes no place in the engine's memory.
            return self._context.parse_json("[1]" if value is None else f"[0,{value.decode()}]")
        except _quickjs.JSException as error:  # too big, or nested too deeply
            return _trouble(str(error)).partition(": ")[2]
        except (MemoryError, TypeError):  # TypeError: the question itself did not fit
            return OUT_OF_MEMORY.partition(": ")[2]


def _trouble(said: str) -> str:
    """What the engine says when even the prelude could not go on."""
    first = said.split("\n", 1)[0]
    return OUT_OF_MEMORY if first in ("null", "") else first


def _detail(failures: str, expr: str) -> str:
    """The detail of one failure, or of the one of two readings that got further into the text."""
    read = [json.loads(line) for line in failures.split("\n")]
    places = [_place(failure["stack"], expr) for failure in read]
    furthest = max(range(len(read)), key=lambda i: (places[i] or (0, 0), -i))
    text, place = read[furthest]["text"], places[furthest]
    return f"{text} at {place[0]}:{place[1]}" if place else text


def _place(stack: str, expr: str) -> tuple[int, int] | None:
    """Line and column in the expression's own text, from 1; None where the stack does not say."""
    lines = re.split(r"\r\n|[\n\r\u2028\u2029]", expr)
    for line, column in POSITION.findall(stack):
        at = int(line) - FIRST_LINE + 1
        if at > len(lines):  # where a bracket is missing, the engine reads on in our wrapping
            return len(lines), len(lines[-1]) + 1
        if at >= 1:
            return at, int(column)
    return None
