"""What the comments at the head of a script say about the image it runs in. Pure.

`# sandbox IMAGE` runs a script with its language's own runner in that image. Where the manifest says
`run_image = "script"`, the head is a header: `# image: NAME` and what goes with it (docs/openflow.md
section 4.5). Every complaint names the line and what to write instead.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from executor.runtimes import Manifest
from executor.sandbox.references import Reference, parse

MEMBER = re.compile(r"([a-z]{1,20}):(.*)")
KEYS = ("image", "command", "entrypoint", "user", "writable")
COMMAND_BYTES_MAX = 64 * 1024
SHOWN = 120


class HeaderError(Exception):
    """The head of a script is wrong; the text says where, what, and what to write."""


@dataclass(frozen=True)
class Header:
    """Where and as what a script wants to run; `command` and `entrypoint` are None if not given."""

    image: Reference
    has_script: bool
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    image_user: bool = False
    writable: bool = False


@dataclass(frozen=True)
class Line:
    """A comment: its number in the script, and its text without the comment's mark."""

    number: int
    text: str

    def wrong(self, what: str, remedy: str) -> HeaderError:
        """A complaint about this line."""
        shown = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}…"
        return HeaderError(f"line {self.number}, {shown!r}: {what}; {remedy}")


def header_of(manifest: Manifest, content: str) -> Header | None:
    """What the script asks for; None if it runs in its language's own image. Raises HeaderError."""
    comments, has_more = _head(manifest.comment, content)
    for line in comments:
        if (message := manifest.refused.get(line.text)) is not None:
            raise HeaderError(message)
    if manifest.run_image == "script":
        return _image_header(comments, has_more)
    return _sandbox(manifest, comments)


def _head(mark: str, content: str) -> tuple[list[Line], bool]:
    """The comments before the first line that is neither blank nor one, and whether there is such a line."""
    comments: list[Line] = []
    for number, raw in enumerate(content.removeprefix("\ufeff").split("\n"), 1):
        line = raw.strip()
        if line and not line.startswith(mark):
            return comments, True
        if line:
            comments.append(Line(number, line.removeprefix(mark).strip()))
    return comments, False


def _sandbox(manifest: Manifest, comments: list[Line]) -> Header | None:
    """`sandbox IMAGE`; without an image the word changes nothing, and in a sentence it is only a word."""
    found: dict[Reference, Line] = {}
    for line in comments:
        words = line.text.split()
        if words[:1] != ["sandbox"] or len(words) < 2:
            continue
        if len(words) > 2:
            if re.search("[:/@]", words[1]):
                raise line.wrong(
                    "something follows the image", f"write `sandbox {words[1]}` alone on its line"
                )
            continue
        if not manifest.sandbox:
            raise line.wrong(
                f"a script in {manifest.title} cannot choose its image",
                "remove the line; a step of language `docker` runs any image",
            )
        found[_reference(line, words[1])] = line
    if len(found) > 1:
        raise list(found.values())[1].wrong("another image was named before", "name one")
    return next((Header(image, has_script=True) for image in found), None)


def _image_header(comments: list[Line], has_script: bool) -> Header:
    given = dict(_members(comments))
    if "image" not in given:
        raise HeaderError("there is no `# image: NAME` in the first lines; begin the step with it")
    command, entrypoint = (
        _strings(*given[key]) if key in given else None for key in ("command", "entrypoint")
    )
    if has_script and entrypoint is not None:
        raise given["entrypoint"][0].wrong(
            "a shell script follows, which /bin/sh runs", "remove this line, or the script"
        )
    return Header(
        image=_reference(*given["image"]),
        has_script=has_script,
        command=command,
        entrypoint=entrypoint,
        image_user=_choice(given, "user", "image"),
        writable=_choice(given, "writable", "true"),
    )


def _members(comments: list[Line]) -> Iterator[tuple[str, tuple[Line, str]]]:
    """The header's keys with their lines and values; other comments are passed over."""
    seen = set()
    for line in comments:
        if (match := MEMBER.fullmatch(line.text)) is None:
            continue
        key, value = match[1], match[2].strip()
        if key not in KEYS:
            if meant := difflib.get_close_matches(key, KEYS, 1, 0.8):
                raise line.wrong(
                    f"there is no `{key}:`", f"write `{meant[0]}:`, or move the comment below a command"
                )
            continue
        if key in seen:
            raise line.wrong(f"`{key}:` was there before", "write it once")
        seen.add(key)
        yield key, (line, value)


def _reference(line: Line, text: str) -> Reference:
    try:
        return parse(text)
    except ValueError as error:
        raise line.wrong(f"{text!r} is no image: {error}", "write for example python:3.12-slim") from None


def _strings(line: Line, text: str) -> tuple[str, ...]:
    remedy = 'write a JSON array of strings, as ["-n", "5"]'
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise line.wrong(f"the value is not JSON ({error})", remedy) from None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise line.wrong("the value is not an array of strings", remedy)
    try:
        size = sum(len(value.encode()) + 1 for value in values)
    except UnicodeEncodeError:
        raise line.wrong("a string holds half a character", remedy) from None
    if any("\0" in value for value in values):
        raise line.wrong("a string holds a NUL character, which no program can be given", remedy)
    if size > COMMAND_BYTES_MAX:
        raise line.wrong(
            f"it has over {COMMAND_BYTES_MAX} bytes", "pass what is big as an argument of the job"
        )
    return tuple(values)


def _choice(given: dict[str, tuple[Line, str]], key: str, only: str) -> bool:
    """Whether the key is there, with the one value it may have."""
    if key not in given:
        return False
    line, value = given[key]
    if value != only:
        raise line.wrong(f"{value!r} is no value of `{key}:`", f"write `{key}: {only}`, or remove the line")
    return True
