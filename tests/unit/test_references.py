"""Names of images are read as the engine reads them, and allowed by name, by digest, or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.sandbox import dockerimages
from executor.sandbox.hostnet import own_addresses
from executor.sandbox.onhost import is_on_host
from executor.sandbox.references import AllowList, Reference, Verdict, parse

D, E = "sha256:" + "0123456789abcdef" * 4, "sha256:" + "e" * 64
part = st.from_regex(r"\A[a-z0-9]+([._-][a-z0-9]+)?\Z").filter(lambda name: name != "localhost")
registries = st.sampled_from(
    ["", "docker.io/", "localhost/", "localhost:5000/", "r.example.com/", "10.0.0.1:80/"]
)
tags = st.just("") | st.from_regex(r"\A:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")
names = st.builds(
    lambda registry, parts, tag, digest: registry + "/".join(parts) + tag + digest,
    registries, st.lists(part, min_size=1, max_size=3), tags, st.sampled_from(["", f"@{D}"]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12", "docker.io/library/python:3.12"),
        ("org/app", "docker.io/org/app:latest"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/python", "docker.io/library/python:latest"),
        ("docker.io/library/python:latest", "docker.io/library/python:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"),
        ("registry.example.com/team/app_x/b--c:V1.2-3", "registry.example.com/team/app_x/b--c:V1.2-3"),
        (f"python@{D}", f"docker.io/library/python@{D}"),
        (f"python:3.12@{D}", f"docker.io/library/python@{D}"),
        ("e21fc600e3fe", "docker.io/library/e21fc600e3fe:latest"),  # never the start of an id
        ("e" * 64, f"docker.io/library/{'e' * 64}:latest"),
        ("sha256:abc", "docker.io/library/sha256:abc"),  # a tag, to the engine too
        (D, D),
    ],
)
def test_a_name_is_completed_as_the_engine_does(text: str, completed: str) -> None:
    assert str(parse(text)) == completed


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a b", "A", "a:", "a:-", "a//b", "/a", "a/", "a.", "a..b", "-a", "a@", f"a@{D[:-1]}", f"a@{D}x",
        "a@md5:1", "a:b:c", f"a:{'x' * 129}", "a" * 256, "https://registry.example.com/a", "user:password@r.io/a",
        "r_.io/a", "r.io:port/a", "r.io:123456/a", "../a", "ü", "a\n", "a\0",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


@given(names)
def test_a_completed_name_is_complete(text: str) -> None:
    """Reading it again changes nothing."""
    completed = parse(text)
    again = parse(str(completed))
    assert (str(again), again.name, again.version) == (str(completed), completed.name, completed.version)
    assert not completed.is_id


def test_reading_takes_no_time() -> None:
    """Nor does a name that was made to be hard to read."""
    began = time.thread_time()
    for text in ("a" * 500 + "!/x", "a-" * 250 + ".io/x", "a." * 250, "a" * 5_000_000, ("a" * 120 + "_") * 4):
        with pytest.raises(ValueError, match=r"\w"):
            parse(text)
    assert time.thread_time() - began < 1


def verdict(pattern: str, text: str) -> Verdict:
    return AllowList.of("here", pattern.split(",")).verdict(parse(text))


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("*", ["python", "r.io/a:1", D, f"a@{D}"], []),
        ("", [], ["python", D]),
        (
            "python",
            ["python", "python:3.12", "docker.io/library/python:1", f"python@{D}"],
            ["python2", "r.io/python"],
        ),
        (
            "python:3.*",
            ["python:3.12", "library/python:3.1"],
            ["python", "python:2", f"python:3.12@{D}"],
        ),
        ("docker.io/*", ["python", "org/app"], ["r.io/python", "localhost/a"]),
        ("r.io/*, python", ["r.io/a/b:1", "python:3"], ["r.iox/a", "evil/r.io/a", "x.r.io/a"]),
        ("org/*", ["org/app", "docker.io/org/app:2"], ["r.io/org/app", "organ/app"]),
        ("r.io/a:1", ["r.io/a:1"], ["r.io/a:2", "r.io/a", "r.io/a:11"]),
        (f"python@{D}", [f"python@{D}", f"python:3@{D}"], [f"pythonx@{D}", D]),
        (D, [D, f"python@{D}", f"r.io/evil@{D}"], []),
        ("library/*", ["python"], [D, "org/python"]),
    ],
)
def test_a_pattern_allows_names(pattern: str, allowed: list[str], refused: list[str]) -> None:
    """Of the Docker Hub also by their short spellings; `*` is any text, nothing else is special."""
    for text in allowed:
        assert verdict(pattern, text) is Verdict.ALLOWED, text
    for text in refused:
        assert verdict(pattern, text) is not Verdict.ALLOWED, text


def test_a_pattern_with_a_digest_needs_the_content() -> None:
    """With a name it may be pulled to be looked at, without one it must be here already."""
    assert verdict(f"python@{D}", "python:3") is Verdict.BY_CONTENT
    assert verdict(f"python@{D}", f"python@{E}") is Verdict.BY_CONTENT
    assert verdict(f"python@{D}", "ruby") is Verdict.REFUSED
    assert verdict(D, "python:3") is Verdict.BY_CONTENT_HERE
    assert verdict(f"{D},python@{E}", "python:3") is Verdict.BY_CONTENT
    assert verdict(f"{D},python", "python:3") is Verdict.ALLOWED


def allows(pattern: str, reference: Reference, image_id: str, *digests: str) -> bool:
    return AllowList.of("here", pattern.split(",")).allows(reference, image_id, digests)


def test_the_image_itself_is_held_to_its_digests() -> None:
    """Its id, or a digest by which the very repository that was named knows it."""
    python = parse("python:3")
    known = f"python@{D}"  # as engines list those of the Docker Hub
    assert allows(f"python@{D}", python, E, known)
    assert allows(f"python@{E}", python, E)
    assert allows(D, python, E, known)
    assert allows(E, python, E)
    assert allows("python", python, E)
    assert not allows(D, python, E)
    assert not allows(f"python@{D}", python, E, f"r.io/python@{D}"), "another repository's word"
    assert not allows(f"ruby@{D}", python, E, known)
    assert not allows(D, python, E, "<none>@<none>", "")


@given(st.lists(names | st.sampled_from([D, E, "*", "a*", f"*@{D}"]), max_size=4), names | st.just(D))
def test_what_is_refused_by_name_is_never_allowed_by_content(patterns: list[str], text: str) -> None:
    """So that nothing needs to be pulled to refuse it."""
    listed, reference = AllowList.of("here", patterns), parse(text)
    image_id = reference.digest or E
    if listed.verdict(reference) is Verdict.REFUSED:
        assert not listed.allows(reference, image_id, [])
    if listed.verdict(reference) is Verdict.ALLOWED and reference.digest is None:
        assert listed.allows(reference, image_id, [])


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (["*"], "localhost:5000/a", False),
        (["localhost:5000/*"], "localhost:5000/a", True),
        (["*", "localhost:5000/*"], "localhost:6000/a", False),
        (["localhost:*/team/*"], "localhost:6000/team/a", True),
        (["*:5000/*"], "localhost:5000/a", False),
        (["python"], "python", False),
    ],
)
def test_a_registry_is_named_by_its_host(patterns: list[str], name: str, expected: bool) -> None:
    """By a pattern that allows the image; a star names nobody."""
    assert AllowList.of("test", patterns).names_registry(parse(name)) is expected


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("0.0.0.0:80", True),
        ("169.254.169.254", True),
        ("203.0.113.7:5000", False),
        ("no.such.host.invalid", False),
        (own_addresses(Path("/proc"))[0], True),
    ],
)
def test_what_leads_to_this_host_is_known(registry: str, expected: bool) -> None:
    assert is_on_host(registry) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("manifest unknown: no tag 7", "manifest unknown: no tag 7"),
        ('error parsing HTTP 403 response body: no details: "SECRET"', "what answers there is no registry"),
        ("Get x: invalid character 'S' looking for beginning of value", "what answers there is no registry"),
    ],
)
def test_what_a_server_has_answered_is_not_told(said: str, expected: str) -> None:
    """Whoever names a registry may name any server, and any of its pages."""
    assert dockerimages._told(said).endswith(expected)
    assert "SECRET" not in dockerimages._told(said)
