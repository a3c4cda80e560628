"""Keeps secrets out of logs and errors: wherever one would be shown, there is a mask. Pure.

Known are the forms in which a script's output usually has them: as they are, line by line, escaped
as in JSON, a URL or base64, and cut into several writes. Whoever wants to get a secret out can: a
script may do with it what it likes.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "********"
CHARS_MIN = 6
"""A shorter value is in every second line of a log by chance, and too short for a secret."""
DISTINCT_MIN = 3
BASE64_CHARS_MIN = 8
KEY_CHARS = CHARS_MIN
"""Every form has at least so many; a place whose next ones begin none is passed over at once."""
PART_CHARS = 256
CHARS_MAX = 1 << 20
"""So much of all secrets together is looked for whole; of further ones the first PART_CHARS."""
MISSES_MAX = 20_000
"""In one piece of text so many places may look like the beginning of a secret and be none; what follows is masked."""
TRIVIAL = frozenset(
    ("password", "secret", "changeme", "default", "localhost", "undefined", "example", "postgres", "username")
)
"""What a variable may hold that is marked as a secret and is none; masking it would blank every log."""


class Redactor:
    """Masks the secrets it was told of, in a text that comes piece by piece.

    What that takes grows with the text, and hardly with the number and the length of the secrets: both are a
    script's author's to choose, and it happens beside everybody else's requests.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._forms: list[str] = []
        """Sorted: the forms that a text begins with are just before it, those that begin with it just after."""
        self._shorter: dict[str, str] = {}
        """For a form the longest other one that it begins with."""
        self._far: dict[str, str] = {}
        """For a form a much shorter one of those that it begins with: many of them are passed in a few steps."""
        self._chars = 0
        self._keys: frozenset[str] = frozenset()
        self._first: re.Pattern[str] | None = None
        self._longest = 0
        self._held = ""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """From now on this is masked too, unless it is too short or too common to be a secret."""
        if self._chars + len(secret) > CHARS_MAX:
            secret = secret.strip()[:PART_CHARS]
        self._chars += len(secret)
        if not is_secret(secret):
            return
        self._known.update(part for form in forms(secret) for part in _parts(form))
        self._forms = []  # made anew when they are needed

    def text(self, piece: str) -> str:
        """The next piece, masked; its end waits for the next one if it may be the beginning of a secret."""
        if not self._known:
            return piece
        self._prepare()
        known = self._held + piece
        until = self._undecided(known)
        shown, at = [], 0
        for start, end in self._found(known):
            if start >= until:
                break
            shown += [known[at:start], MASK]
            at = end
        until = max(until, at)
        self._held = known[until:]
        return "".join([*shown, known[at:until]])

    def rest(self) -> str:
        """What still waits, at the end of the text."""
        held, self._held = self._held, ""
        return self.whole(held)

    def whole(self, text: str) -> str:
        """A text that is all there, masked."""
        if not self._known:
            return text
        self._prepare()
        shown, at = [], 0
        for start, end in self._found(text):
            shown += [text[at:start], MASK]
            at = end
        return "".join([*shown, text[at:]])

    def _prepare(self) -> None:
        if self._forms:
            return
        self._forms = sorted(self._known)
        self._shorter, self._far = {}, {}
        around: list[str] = []  # those that the present one begins with
        far: list[int] = []  # for each of them the place here of one far before it, as in a skip list
        for form in self._forms:
            while around and not form.startswith(around[-1]):
                around.pop()
                far.pop()
            if around:
                last = len(around) - 1
                once, twice = far[last], far[far[last]]
                far.append(twice if last - once == once - twice else last)
                self._shorter[form], self._far[form] = around[-1], around[far[-1]]
            else:
                far.append(0)
            around.append(form)
        self._keys = frozenset(form[:KEY_CHARS] for form in self._forms)
        self._first = re.compile("[" + "".join(map(re.escape, sorted({f[0] for f in self._forms}))) + "]")
        self._longest = max(map(len, self._forms))

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets begin and end in a text, none in another; of two that begin there, the longer one."""
        assert self._first is not None
        at, misses = 0, 0
        while (candidate := self._first.search(text, at)) is not None:
            at = candidate.start()
            if text[at : at + KEY_CHARS] not in self._keys:
                at += 1
            elif (end := self._end(text, at)) is not None:
                yield at, end
                at = end
            elif misses < MISSES_MAX:
                misses += 1
                at += 1
            else:
                yield at, len(text)
                return

    def _end(self, text: str, at: int) -> int | None:
        """Where the longest secret ends that begins at a place; None if none does."""
        here = text[at : at + self._longest]
        index = bisect_right(self._forms, here)
        form = self._forms[index - 1] if index else None
        while form is not None and not here.startswith(form):
            far = self._far.get(form)
            # What is no beginning of the text, nothing is that begins with it.
            form = far if far is not None and not here.startswith(far) else self._shorter.get(form)
        return None if form is None else at + len(form)

    def _undecided(self, text: str) -> int:
        """Where the first secret may begin of which the end is not there yet."""
        assert self._first is not None
        at = max(0, len(text) - self._longest + 1)
        while (candidate := self._first.search(text, at)) is not None:
            at = candidate.start()
            tail = text[at:]
            if len(tail) < KEY_CHARS or tail[:KEY_CHARS] in self._keys:
                index = bisect_right(self._forms, tail)  # behind the form that it is
                if index < len(self._forms) and self._forms[index].startswith(tail):
                    return at
            at += 1
        return len(text)


def _parts(form: str) -> Iterator[str]:
    """A form, or what it is made of: long ones are masked part by part."""
    last = max(0, len(form) // PART_CHARS - 1)  # the rest goes with the last one, so that none is short
    for number in range(last):
        yield form[number * PART_CHARS : (number + 1) * PART_CHARS]
    yield form[last * PART_CHARS :]


def is_secret(value: str) -> bool:
    """Whether masking this value hides something, rather than every second word."""
    plain = value.strip()
    return len(plain) >= CHARS_MIN and len(set(plain)) >= DISTINCT_MIN and plain.lower() not in TRIVIAL


def forms(secret: str) -> Iterator[str]:
    """The texts that a secret shows up as."""
    lines = [line.strip() for line in secret.splitlines()]
    for plain in {secret.lstrip(), secret.strip(), *filter(is_secret, lines)}:
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
