"""What the first lines of a script say about its image: read exactly, and complained about usefully."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.runtimes import Manifest, scan
from executor.sandbox.header import Header, HeaderError, header_of
from executor.sandbox.references import parse

RUNTIMES = scan().by_name
DOCKER, PYTHON, BASH, DENO, GO = (
    RUNTIMES[name].manifest for name in ("docker", "python3", "bash", "deno", "go")
)

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def complaint(manifest: Manifest, content: str) -> str:
    """What the script is told."""
    with pytest.raises(HeaderError) as caught:
        header_of(manifest, content)
    return str(caught.value)


def test_an_image_is_enough() -> None:
    assert header_of(DOCKER, "# image: alpine") == Header(parse("alpine"), has_script=False)


@given(
    st.none() | st.lists(words, max_size=5),
    st.none() | st.lists(words, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_what_was_written_is_what_is_read(
    command: list[str] | None, entrypoint: list[str] | None, user: bool, writable: bool
) -> None:
    """Whatever the strings hold, in any JSON spelling."""
    lines = ["#!/bin/sh", "", "# image: registry.example:5000/a/b:1"]
    if command is not None:
        lines.append(f"#command: {json.dumps(command)}")
    if entrypoint is not None:
        lines.append(f"  #   entrypoint:{json.dumps(entrypoint, indent=None, ensure_ascii=True)}  ")
    lines += (
        ["# user: image"] * user + ["# writable: true\r"] * writable + ["# Told in passing: nothing.", ""]
    )
    header = header_of(DOCKER, "\n".join(lines))
    assert header == Header(
        image=parse("registry.example:5000/a/b:1"),
        has_script=False,
        command=None if command is None else tuple(command),
        entrypoint=None if entrypoint is None else tuple(entrypoint),
        image_user=user,
        writable=writable,
    )


@given(st.sampled_from([DOCKER, PYTHON, BASH, DENO, GO]), st.text())
def test_any_text_is_read_or_complained_about(manifest: Manifest, content: str) -> None:
    """Nothing else ever comes out."""
    try:
        header_of(manifest, f"# image: a\n# command: {content}")
        header_of(manifest, f"# sandbox {content}")
        header_of(manifest, content)
    except HeaderError as complained:
        told = str(complained)
        assert told


@given(words.filter(lambda text: text.strip() and not text.strip().startswith("#") and "\n" not in text))
def test_any_other_line_makes_it_a_script(line: str) -> None:
    header = header_of(DOCKER, f"# image: alpine\n\n# a comment\n  {line}\n# user: nobody's business")
    assert header == Header(parse("alpine"), has_script=True)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "there is no `# image: NAME` in the first lines"),
        ("echo hello", "there is no `# image: NAME`"),
        ("echo\n# image: alpine", "there is no `# image: NAME`"),
        ("# image:", "line 1, 'image:': '' is no image"),
        ("# image: Alpine", "line 1, 'image: Alpine': 'Alpine' is no image"),
        ("# image: a b", "line 1"),
        ("# image: a@sha256:1", "after @ a digest belongs"),
        ("# image: a\n\n# image: b", "line 3, 'image: b': `image:` was there before; write it once"),
        ("# image: a\n# command: echo", "line 2, 'command: echo': the value is not JSON"),
        ('# image: a\n# command: {"a": 1}', "not an array of strings; write a JSON array of strings, as"),
        ("# image: a\n# command: [1]", "not an array of strings"),
        ("# image: a\n# entrypoint: null", "not an array of strings"),
        (r"# image: a" + "\n" + r'# command: ["\u0000"]', "NUL"),
        (r"# image: a" + "\n" + r'# command: ["\ud800"]', "half a character"),
        (f'# image: a\n# command: ["{"x" * 70_000}"]', "over 65536 bytes"),
        ("# image: a\n# command: " + "[" * 100_000, "not JSON"),
        (
            "# image: a\n# user: root",
            "'root' is no value of `user:`; write `user: image`, or remove the line",
        ),
        ("# image: a\n# writable: yes", "write `writable: true`"),
        ("# image: a\n# entrypont: []", "there is no `entrypont:`; write `entrypoint:`"),
        ('# image: a\n# entrypoint: ["sh"]\necho', "line 2, 'entrypoint: [\"sh\"]': a shell script follows"),
    ],
)
def test_a_wrong_header_is_told_with_its_line_and_the_remedy(lines: str, says: str) -> None:
    assert says in complaint(DOCKER, lines)


def test_a_complaint_shows_little_of_a_long_line() -> None:
    assert len(complaint(DOCKER, f"# image: a\n# user: {'x' * 10_000}")) < 11_000
    assert len(complaint(DOCKER, "# image: " + "x" * 10_000)) < 11_000


@pytest.mark.parametrize(
    ("manifest", "content"),
    [
        (PYTHON, "# sandbox python:3.12\ndef main(): pass"),
        (PYTHON, "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n\n#sandbox python:3.12\nimport x"),
        (BASH, "#!/bin/bash\n# What it does.\n#   sandbox   python:3.12  \necho"),
        (DENO, "// sandbox python:3.12\nexport function main() {}"),
        (PYTHON, "# sandbox python:3.12\n# sandbox python:3.12\n# sandbox docker.io/library/python:3.12"),
    ],
)
def test_a_script_names_its_image_in_its_first_comments(manifest: Manifest, content: str) -> None:
    assert header_of(manifest, content) == Header(parse("python:3.12"), has_script=True)


@pytest.mark.parametrize(
    ("manifest", "content"),
    [
        (PYTHON, "# sandbox\ndef main(): pass"),
        (PYTHON, "# sandbox account of the bank\n"),
        (PYTHON, "# Sandbox python:3.12"),
        (PYTHON, "# sandboxed python:3.12"),
        (PYTHON, "import os\n# sandbox python:3.12"),
        (PYTHON, "// sandbox python:3.12"),
        (DENO, "# sandbox python:3.12"),
        (DENO, "/* sandbox python:3.12 */"),
        (GO, "// sandbox\npackage inner"),
        (PYTHON, "# docker"),
        (BASH, "# docker is not used here"),
        (BASH, "echo\n# docker"),
        (PYTHON, ""),
    ],
)
def test_all_others_run_in_their_language_s_own_image(manifest: Manifest, content: str) -> None:
    assert header_of(manifest, content) is None


@pytest.mark.parametrize(
    ("manifest", "content", "says"),
    [
        (PYTHON, "# sandbox Python", "line 1, 'sandbox Python': 'Python' is no image"),
        (PYTHON, "# sandbox a:1\n# sandbox a:2", "line 2, 'sandbox a:2': another image was named before"),
        (PYTHON, "# sandbox a:1 please", "write `sandbox a:1` alone on its line"),
        (GO, "// sandbox golang", "a script in Go cannot choose its image"),
        (DOCKER, "# sandbox alpine", "there is no `# image: NAME`"),
    ],
)
def test_a_wrong_sandbox_is_told(manifest: Manifest, content: str, says: str) -> None:
    assert says in complaint(manifest, content)


def test_a_script_that_would_call_docker_is_refused_in_the_page_s_words() -> None:
    told = (
        "'# docker' mode is not supported: "
        "use a step of language 'docker' with '# image: NAME', or '# sandbox IMAGE'"
    )
    for content in ("# docker", "#!/bin/bash\n#docker\necho", "# sandbox a\n# docker"):
        assert complaint(BASH, content) == told


def said(**fields: Any) -> Manifest:
    """A language of somebody's own."""
    base = {"title": "T", "source": "main.x", "runner": ["x"], "label": "x run"}
    return Manifest.model_validate({**base, **fields})


def test_the_comment_s_mark_is_the_manifest_s() -> None:
    sql = said(comment="--", sandbox=True)
    assert header_of(sql, "-- sandbox a\nselect 1") == Header(parse("a"), has_script=True)
    assert "a script in T cannot choose" in complaint(said(comment="--"), "-- sandbox a")
