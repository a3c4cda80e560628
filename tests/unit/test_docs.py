"""The documents say what the code does."""

from __future__ import annotations

import re

import pytest

from executor.runtimes import Manifest
from tests.docs import DOCUMENTS, ROOT, rewritten


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_as_the_code_has_them(name: str) -> None:
    """`python -m tests.docs` writes them anew."""
    assert (ROOT / name).read_text("utf-8") == rewritten(name)


def test_every_manifest_key_is_explained() -> None:
    """CONTRIBUTING.md names each key of runtime.toml."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for key in Manifest.model_fields:
        shown = f"[{key}" if key in ("limits", "compile", "refused", "conformance") else f"`{key}`"
        assert shown in text, key


def test_every_dependency_is_justified() -> None:
    """ARCHITECTURE.md has a word on each direct dependency."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8").split("[project.scripts]")[0]
    for name in re.findall(r'^    "([a-z-]+)[>=]', project, re.MULTILINE):
        assert name in text, name


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name: str) -> None:
    """A path in backticks or a link that looks like one of ours is there."""
    text = (ROOT / name).read_text("utf-8")
    paths = re.findall(r"`((?:executor|runtimes|images|tests|docs)/[\w./-]+)`", text) + re.findall(
        r"\]\(([\w./-]+)\)", text
    )
    for path in paths:
        assert (ROOT / path).exists(), path
