"""Frames, manifests, heads of scripts, image names, SQL, expressions, YAML: valid ones, changed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlrun import declarations
from sqlrun.errors import BadInput as SqlBadInput
from sqlrun.lexer import DUCKDB, MYSQL, POSTGRESQL, comment_lines, statements

from executor.api.bigargs import cut_out
from executor.errors import BadInput, ConfigurationError
from executor.flows.expressions.paths import NotPlain, follow, parse
from executor.flows.files import parse_flow
from executor.reach import parse_all
from executor.runtimes import MANIFEST, Manifest, bundled, read, scan
from executor.sandbox import references
from executor.sandbox.frames import Exit, FrameError, FrameReader
from executor.sandbox.header import HeaderError, header_of
from tests.fuzz.mutation import mutated, random, seeded, spliced

Check = Callable[[Any], None]

# ---------------------------------------------------------------- frames

EXIT = b'{"type":"exit","code":0,"signal":null,"stopped":null,"wall_ms":1,"cpu_ms":1,"memory_peak_bytes":1,"oom_kills":0}\n'
SESSIONS = [
    b'{"type":"ready"}\n{"type":"log","stream":"stdout","text":"x\\n"}\n{"type":"result","value":[1,{"a":null}]}\n'
    + EXIT,
    b'{"type":"ready"}\n{"type":"stream","text":"\\ud83d\\ude00"}\n'
    b'{"type":"error","name":"E","message":"m","stack":"","extra":{"a":[1.5]},"reason":null}\n' + EXIT,
]
BYTES = [
    b"\n",
    b"\0",
    b'"',
    b"{",
    b"}",
    b"]",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3",
    b"1e999",
    b"NaN",
    b"null",
    b"[" * 300,
]


def check_frames(given: tuple[bytes, int]) -> None:
    """Cut anywhere, a stream gives the same frames, and the same FrameError at its end."""
    stream, size = given

    def told(pieces: list[bytes]) -> tuple[list[Any], bool]:
        reader, frames = FrameReader(10_000), []
        for piece in pieces:
            try:
                for frame in reader.feed(piece):
                    frames += [frame]  # those before a broken one count
            except FrameError:
                return frames, True
        return frames, False

    whole = told([stream])
    assert told([stream[at : at + size] for at in range(0, len(stream), size)]) == whole
    for frame in whole[0]:
        if isinstance(frame, Exit):
            assert -(2**63) <= frame.memory_peak_bytes < 2**63


frames = st.tuples(spliced(SESSIONS, BYTES), st.integers(1, 50))

# ---------------------------------------------------------------- manifests

TEXTS = {
    folder.parent.name: folder.read_text("utf-8") for folder in bundled("runtimes").glob(f"*/{MANIFEST}")
}
VALUES = [tomllib.loads(text) for text in TEXTS.values()]


def toml(value: Any) -> str:
    """A value as TOML writes it, tables inline; raises ValueError for what TOML has not."""
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(str(key))} = {toml(inner)}" for key, inner in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if value is None:
        raise ValueError("TOML has no null")
    return json.dumps(value)


def as_toml(value: Any) -> str:
    return "\n".join(f"{json.dumps(str(key))} = {toml(inner)}" for key, inner in value.items())


def check_manifest(folder: Path, text: str) -> None:
    """A runtime, or a ConfigurationError that names the file and, if it is TOML, the field."""
    path = folder / MANIFEST
    path.write_text(text, "utf-8", "surrogatepass")
    try:
        runtime = read(folder)
    except ConfigurationError as error:
        assert str(error).startswith(f"{path}: ")
        try:
            fields = tomllib.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError):
            return
        known = [*Manifest.model_fields, *fields]
        assert any(str(error).removeprefix(f"{path}: ").startswith(name) for name in known), error
        return
    assert runtime.stages
    assert runtime.manifest.title


# ---------------------------------------------------------------- heads of scripts, names of images

MANIFESTS = [runtime.manifest for runtime in scan()]
HEADS = [
    '# image: python:3.12-slim\n# command: ["python", "-c", "1"]\n# entrypoint: []\n# user: image\n# writable: true\n',
    "# sandbox registry.example.com:5000/team/x:1@sha256:" + "a" * 64 + "\ndef main(): pass\n",
    "// sandbox denoland/deno\nexport function main() {}\n",
    "#!/bin/sh\n# image: alpine\necho hi\n",
]
WORDS = [
    "\n",
    "#",
    "# ",
    ":",
    "image: ",
    "sandbox ",
    "command: ",
    '["a"]',
    '"',
    "\0",
    "\r",
    "@sha256:",
    "/",
    "é",
    "\ud800",
    " " * 50,
]
IMAGES = [
    "python",
    "docker.io/library/python:3.12",
    "r.example.com:5000/a/b:t@sha256:" + "b" * 64,
    "sha256:" + "c" * 64,
]


def check_head(text: str) -> None:
    """A header, none, or a HeaderError with words."""
    for manifest in MANIFESTS:
        try:
            found = header_of(manifest, text)
        except HeaderError as error:
            assert str(error)
            assert len(str(error)) < 3000
        else:
            assert found is None or references.parse(str(found.image)) == found.image


def check_image(text: str) -> None:
    """A reference that reads again the same, or a ValueError."""
    try:
        found = references.parse(text)
    except ValueError:
        return
    assert references.parse(str(found)) == found


# ---------------------------------------------------------------- SQL

SQL = [
    "-- $1 id (int) = 5\n-- $2 name (text)\n-- database f/x/db\nSELECT * FROM t WHERE a = $1 AND b = $2; SELECT 'x;''y';",
    "-- :id (int)\n/* a /* nested */ */ SELECT \"a;b\", $tag$ ; $tag$, E'\\';' FROM x WHERE y = :id::int;",
    '-- ? id (int)\nSELECT `a;b` FROM t # comment ;\nWHERE a = ? AND b = "c\\";";',
    "-- result_collection=last_statement_first_row\nBEGIN; INSERT INTO t VALUES (%%id%%); COMMIT",
]
MARKS = [
    ";",
    "'",
    '"',
    "`",
    "$",
    "$$",
    "$tag$",
    "/*",
    "*/",
    "--",
    "#",
    "\\",
    "\n",
    "$1",
    ":a",
    "?",
    "%%",
    "(",
    "\0",
    "é",
    "E'",
]


def check_sql(text: str) -> None:
    """Statements whose texts are in the script, in order; declarations, or an error of the script's."""
    for dialect in (POSTGRESQL, MYSQL, DUCKDB):
        at = 0
        for statement in statements(text, dialect):
            at = text.index(statement.text, at)
        assert all(isinstance(line, str) for line in comment_lines(text, dialect))
        with suppress(SqlBadInput):
            declarations.read(text, dialect)


# ---------------------------------------------------------------- expressions, flow files, ranges, arguments

EXPRESSIONS = [
    "flow_input.a.b[0]",
    'results.a["b c"]?.d',
    "flow_input.iter.value",
    "`x ${results.a}`",
    "'text'",
    "1.5",
    "true",
    "null",
]
SIGNS = [
    ".",
    "?.",
    "[",
    "]",
    "[0]",
    '"',
    "'",
    "\\",
    "(",
    ")",
    "flow_input",
    "results",
    "__proto__",
    "\0",
    "é",
    "9" * 30,
    "\ud800",
    "//",
    "/*",
]
YAMLS = [
    "summary: x\nvalue:\n  modules:\n    - id: a\n      value: {type: identity}\n",
    "value: &v\n  modules: []\nother: *v\nlist: [1, 0x1f, 1e3, ~, 'a', \"b\\n\"]\nblock: |\n  a\n  b\n",
]
INDENTS = [
    "\n",
    "  ",
    "- ",
    ": ",
    "&a ",
    "*a",
    "{",
    "}",
    "[",
    "]",
    "!!str ",
    "? ",
    "|",
    ">",
    "#",
    "'",
    '"',
    "\t",
    "---\n",
    "%YAML 9\n",
    "\0",
]
RANGES = ["10.0.0.0/8:5432,3306 192.168.1.5", "[fd00::/8]:443 2001:db8::1", "0.0.0.0/0"]
BODIES = [
    b'{"language":"bash","content":"x","args":{"a":"' + b"x" * 200 + b'"},"path":"f/a/b"}',
    b'{"args":{"a":[1,2,{"b":"}\\"{"}]},"content":"\\"args\\":{","language":"bash"}',
]


def check_expression(text: str) -> None:
    """A plain path, which any document answers or leaves to the engine, or None."""
    found = parse(text)
    if found is not None:
        for document in (b"{}", b'{"a":{"b":[1]}}', b"[1,[2]]", b"null", b'"x"'):
            with suppress(NotPlain):
                follow(found, document)


def check_yaml(text: str) -> None:
    """A flow file, or a BadInput that names it."""
    for is_json in (False, True):
        try:
            parse_flow(text, "x.yaml", is_json=is_json)
        except BadInput as error:
            assert "x.yaml" in error.detail


def check_ranges(text: str) -> None:
    """Ranges that read again the same, or a ValueError."""
    with suppress(ValueError):
        found = parse_all(text)
        assert parse_all(" ".join(map(str, found))) == found


def check_body(body: bytes) -> None:
    """Arguments cut out of a body are what decoding the whole body gives; else nothing is cut."""
    found = cut_out(bytearray(body), least_bytes=10)
    if found is not None:
        rest, args = found
        whole = json.loads(body)
        assert whole == {**rest, "args": json.loads(args.text)}


CASES: dict[str, tuple[st.SearchStrategy[Any], Check]] = {
    "frames": (frames, check_frames),
    "heads": (spliced(HEADS, WORDS), check_head),
    "images": (spliced(IMAGES, WORDS), check_image),
    "sql": (spliced(SQL, MARKS), check_sql),
    "expressions": (spliced(EXPRESSIONS, SIGNS), check_expression),
    "yaml": (spliced(YAMLS, INDENTS), check_yaml),
    "ranges": (spliced(RANGES, [" ", ":", ",", "/", "[", "]", "é", "9", "\0", "-"]), check_ranges),
    "bodies": (spliced(BODIES, BYTES), check_body),
}


@pytest.mark.parametrize("name", CASES)
def test_a_changed_text_is_read_or_complained_about(name: str) -> None:
    """Nothing else is raised, and nothing takes long."""
    inputs, check = CASES[name]
    seeded(400)(given(inputs)(check))()


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_randomly_changed_text_is_read_or_complained_about(name: str) -> None:
    """The same, with other changes each time."""
    inputs, check = CASES[name]
    random(20_000)(given(inputs)(check))()


def manifests(folder: Path, how: Callable[[int], Callable[[Any], Any]], count: int) -> None:
    """Change the languages' own manifests, as texts and as values."""
    assert len(TEXTS) >= 7

    @how(count)
    @given(
        spliced(
            list(TEXTS.values()), ["\n", "=", '"', "[", "]", "[limits]\n", "true", "-1", "é", "\0", "''", "{"]
        )
    )
    def texts(text: str) -> None:
        check_manifest(folder, text)

    @how(count)
    @given(mutated(VALUES))
    def values(value: Any) -> None:
        with suppress(ValueError):
            text = as_toml(value)
            check_manifest(folder, text)

    texts()
    values()


def test_a_changed_manifest_is_a_language_or_names_its_field(tmp_path: Path) -> None:
    """And its file."""
    folder = tmp_path / "language"
    folder.mkdir()
    manifests(folder, seeded, 300)


@pytest.mark.long
def test_a_randomly_changed_manifest_is_a_language_or_names_its_field(tmp_path: Path) -> None:
    """The same, with other changes each time."""
    folder = tmp_path / "language"
    folder.mkdir()
    manifests(folder, random, 10_000)
