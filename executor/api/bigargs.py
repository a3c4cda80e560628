"""Big arguments in a request's body, cut out of it as the text they came as, and never decoded.

Decoding megabytes and writing them anew takes seconds in which nobody else is served. So the place of
`args` in the body is guessed, and the guess proved: with a word of ours in the place of the arguments
the body must be JSON whose member `args` is that word, and the arguments must be a JSON object. Both
together are what the body was to be. Whatever is not proved, wrong bodies among it, goes the slow way.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, core_schema, from_json

BIG_BYTES = 1024 * 1024
TRIES_BYTES = 4 * 1024 * 1024
"""How much JSON guesses may take to disprove, all together."""

BEGIN = re.compile(rb'"args"\s*:\s*(?=\{)')
END = re.compile(rb"\s*[,}]")
IS_OBJECT = SchemaValidator(core_schema.typed_dict_schema({}))
"""Checks JSON and its depth, and makes nothing of it; but takes NaN and Infinity for numbers."""
NO_NUMBERS = (b"NaN", b"Infinity")
ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
SHAPES = bytes.maketrans(b"123456789E", b"000000000e")
OVERFLOW_BYTES = 300
OVERFLOWS = (b"e000", b"e+000", b"0" * OVERFLOW_BYTES)
"""What a number too large for a double has in it, with each digit as 0 and E as e."""
PIECE_BYTES = 256 * 1024
"""Looked through at once: a piece stays in the processor's cache, a copy of the whole would not."""


@dataclass(frozen=True)
class BigArgs:
    """The text of a JSON object, and a hash of it that stands for it."""

    text: bytes
    sha256: str


def cut_out(body: bytearray, least_bytes: int = BIG_BYTES) -> tuple[dict[str, Any], BigArgs] | None:
    """The body without `args`, decoded, and these as text; None for a small body, or one not understood.

    The text holds nothing that decoding it and writing it anew would refuse, or bring to light: no
    number that is none in JSON, or too large, and no reference to something stored in escapes.
    """
    if len(body) < least_bytes or (found := BEGIN.search(body)) is None:
        return None
    whole = memoryview(body)
    for end, rest in _guesses(body, found.end()):
        text = bytes(whole[found.end() : end])
        try:
            IS_OBJECT.validate_json(text)
        except ValidationError:
            continue
        if _needs_decoding(text):
            return None
        del rest["args"]
        return rest, BigArgs(text, hashlib.sha256(text).hexdigest())
    return None


def _guesses(body: bytearray, begin: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Where arguments that begin there may end, and what the body is without them; the shortest first."""
    word = secrets.token_hex(16)
    head = bytes(body[:begin]) + b'"' + word.encode() + b'"'
    found, budget, end = [], TRIES_BYTES, len(body)
    while budget > 0 and (end := body.rfind(b"}", begin, end)) >= 0:
        if END.match(body, end + 1) is None:
            continue
        tail = bytes(body[end + 1 :])
        budget -= len(head) + len(tail)
        try:
            rest = from_json(head + tail, allow_inf_nan=False)
        except ValueError:
            continue
        if isinstance(rest, dict) and rest.get("args") == word:
            found.append((end + 1, rest))
    return reversed(found)


def _needs_decoding(text: bytes) -> bool:
    """Whether the text may have more in it than meets the eye; most texts have none of it."""
    # A single byte is found many times as fast as a longer text.
    if any(word[:1] in text and word in text for word in NO_NUMBERS):
        return True
    if (b"$" in text or b"\\u0024" in text) and ESCAPED_ASCII.search(text) is not None:
        return True
    return any(
        _overflows(text[at : at + PIECE_BYTES + OVERFLOW_BYTES]) for at in range(0, len(text), PIECE_BYTES)
    )


def _overflows(piece: bytes) -> bool:
    shapes = piece.translate(SHAPES)
    return any(shape in shapes for shape in OVERFLOWS)
