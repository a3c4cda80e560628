"""Keeps secrets out of logs and errors: wherever one would be shown, there is a mask. Pure.

Known are the forms in which a script's output usually has them: as they are, line by line, escaped
as in JSON, a URL or base64, and cut into several writes. Whoever wants to get a secret out can: a
script may do with it what it likes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "********"
CHARS_MIN = 6
"""A shorter value is in every second line of a log by chance, and too short for a secret."""
DISTINCT_MIN = 3
BASE64_CHARS_MIN = 8
TRIVIAL = frozenset(
    ("password", "secret", "changeme", "default", "localhost", "undefined", "example", "postgres", "username")
)
"""What a variable may hold that is marked as a secret and is none; masking it would blank every log."""


class Redactor:
    """Masks the secrets it was told of, in a text that comes piece by piece."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._starts: frozenset[str] = frozenset()
        self._longest = 0
        self._pattern: re.Pattern[str] | None = None
        self._held = ""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """From now on this is masked too, unless it is too short or too common to be a secret."""
        if not is_secret(secret):
            return
        self._forms.update(forms(secret))
        self._starts = frozenset(form[0] for form in self._forms)
        self._longest = max(map(len, self._forms))
        by_length = sorted(self._forms, key=len, reverse=True)  # of two that fit, the longer one
        self._pattern = re.compile("|".join(map(re.escape, by_length)))

    def text(self, piece: str) -> str:
        """The next piece, masked; its end waits for the next one if it may be the beginning of a secret."""
        if self._pattern is None:
            return piece
        known = self._held + piece
        until = self._undecided(known)
        shown, at = [], 0
        for found in self._pattern.finditer(known):
            if found.start() >= until:
                break
            shown += [known[at : found.start()], MASK]
            at = found.end()
        until = max(until, at)
        self._held = known[until:]
        return "".join([*shown, known[at:until]])

    def rest(self) -> str:
        """What still waits, at the end of the text."""
        held, self._held = self._held, ""
        return self.whole(held)

    def whole(self, text: str) -> str:
        """A text that is all there, masked."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def _undecided(self, text: str) -> int:
        """Where the first secret may begin of which the end is not there yet."""
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[at] in self._starts:
                tail = text[at:]
                if any(len(form) > len(tail) and form.startswith(tail) for form in self._forms):
                    return at
        return len(text)


def is_secret(value: str) -> bool:
    """Whether masking this value hides something, rather than every second word."""
    plain = value.strip()
    return len(plain) >= CHARS_MIN and len(set(plain)) >= DISTINCT_MIN and plain.lower() not in TRIVIAL


def forms(secret: str) -> Iterator[str]:
    """The texts that a secret shows up as."""
    lines = [line.strip() for line in secret.splitlines()]
    for plain in {secret, secret.strip(), *filter(is_secret, lines)}:
        yield plain
        yield json.dumps(plain)[1:-1]
        yield json.dumps(plain, ensure_ascii=False)[1:-1]
        yield repr(plain)[1:-1]
        yield quote(plain, safe="", errors="replace")
        yield quote_plus(plain, errors="replace")
    yield from _in_base64(secret.strip().encode("utf-8", "replace"))


def _in_base64(data: bytes) -> Iterator[str]:
    """What base64 of any text that has these bytes in it has in it: it depends on where they begin, modulo three."""
    alone = base64.b64encode(data).decode()
    found = {alone, alone.rstrip("=")}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data)
        found.add(encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6].decode())
    for form in found:
        if len(form) >= BASE64_CHARS_MIN:
            yield form
            yield form.replace("+", "-").replace("/", "_")
