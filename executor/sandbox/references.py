"""Names of images, and the patterns by which an operator allows them. Pure.

A name is read as the Docker engine reads it, and completed: `python` is
`docker.io/library/python:latest`. Only completed names go to the engine, so that none can be taken
for the beginning of an image's id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

DEFAULT_REGISTRY = "docker.io"
OFFICIAL = "library/"
NAME_CHARACTERS_MAX = 255
TEXT_CHARACTERS_MAX = 512

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Reference:
    """An image's completed name; one that is only an id has neither registry nor repository."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def is_id(self) -> bool:
        """Whether it is the id of an image on this host, which no registry knows."""
        return not self.repository

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """The digest, which wins, or the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        """The completed name, as the engine is given it."""
        if self.is_id:
            return self.version
        return f"{self.name}{'@' if self.digest else ':'}{self.version}"

    def spellings(self) -> Iterator[str]:
        """All names that a pattern may match: with and without tag, and without what is the default."""
        if self.is_id:
            yield self.version
            return
        names = [self.name]
        if self.registry == DEFAULT_REGISTRY:
            names.append(self.repository)
            if self.repository.startswith(OFFICIAL):
                names.append(self.repository.removeprefix(OFFICIAL))
        for name in names:
            yield name
            if self.tag is not None:
                yield f"{name}:{self.tag}"


def parse(text: str) -> Reference:
    """Read an image's name. Raises ValueError saying what is wrong with it."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"it has over {TEXT_CHARACTERS_MAX} characters")
    if DIGEST.fullmatch(text):
        return Reference("", "", None, text)
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise ValueError("after @ a digest belongs: sha256: and 64 of 0-9 and a-f")
    first, slash, _ = rest.partition("/")
    is_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry = first if is_registry else DEFAULT_REGISTRY
    path = rest.removeprefix(f"{first}/") if is_registry else rest
    repository, colon, tag = path.partition(":")
    if is_registry and not _REGISTRY.fullmatch(registry):
        raise ValueError(f"{registry!r} cannot be a registry")
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(
            f"{repository!r} cannot be an image's name: it has a-z, 0-9, and . _ - / between them"
        )
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} cannot be a tag: it has at most 128 of A-Z, a-z, 0-9, _ . and -")
    if registry in (DEFAULT_REGISTRY, "index.docker.io"):
        registry = DEFAULT_REGISTRY
        repository = repository if "/" in repository else OFFICIAL + repository
    if len(registry) + len(repository) > NAME_CHARACTERS_MAX:
        raise ValueError(f"the name has over {NAME_CHARACTERS_MAX} characters")
    if at:  # the engine goes by the digest alone, so a tag beside it must not count for anything
        return Reference(registry, repository, None, digest)
    return Reference(registry, repository, tag or "latest", None)


class Verdict(Enum):
    """What an image's name alone says."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    BY_CONTENT = "only its digest can tell"
    BY_CONTENT_HERE = "only its digest can tell, and nothing may be pulled to learn it"


@dataclass(frozen=True)
class AllowList:
    """Patterns of images; `source` says where they are written. See docs/operating.md."""

    source: str
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, source: str, patterns: Sequence[str]) -> AllowList:
        """The patterns without space around them and without empty ones."""
        return cls(source, tuple(kept for pattern in patterns if (kept := pattern.strip())))

    def names_registry(self, reference: Reference) -> bool:
        """Whether a pattern that allows the image names its registry's host, and not just any."""
        host = reference.registry.partition(":")[0]
        names = [name for name, _ in map(_halves, self.patterns) if name is not None]
        return any(
            name.partition("/")[0].partition(":")[0] == host and _matches(name, reference) for name in names
        )

    def verdict(self, reference: Reference) -> Verdict:
        """Whether the name is allowed, or may be, once the image's digest is known."""
        verdict = Verdict.REFUSED
        for name, digest in map(_halves, self.patterns):
            if name is not None and not _matches(name, reference):
                continue
            if digest is None or digest == reference.digest:
                return Verdict.ALLOWED
            if name is not None:
                verdict = Verdict.BY_CONTENT
            elif verdict is Verdict.REFUSED:
                verdict = Verdict.BY_CONTENT_HERE
        return verdict

    def allows(self, reference: Reference, image_id: str, digests: Sequence[str]) -> bool:
        """Whether the image is allowed that the engine holds under this id and these `NAME@DIGEST`."""
        found = list(_known(digests))
        for name, digest in map(_halves, self.patterns):
            if name is None:
                if digest in {image_id, *(d.digest for d in found)}:
                    return True
            elif _matches(name, reference) and (
                digest is None or digest in {image_id, *(d.digest for d in found if d.name == reference.name)}
            ):
                return True
        return False


def _known(digests: Sequence[str]) -> Iterator[Reference]:
    """The digests under which registries know an image; an engine may list others too."""
    for digest in digests:
        with suppress(ValueError):
            if (known := parse(digest)).digest is not None:
                yield known


def _halves(pattern: str) -> tuple[str | None, str | None]:
    """A pattern's name and digest; either may be missing."""
    if DIGEST.fullmatch(pattern):
        return None, pattern
    name, at, digest = pattern.partition("@")
    return name, digest if at else None


def _matches(pattern: str, reference: Reference) -> bool:
    expression = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    return any(expression.fullmatch(spelling) for spelling in reference.spellings())
