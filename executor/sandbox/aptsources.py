"""Where this host gets the packages of its own distribution from: text in, sources out.

A bootstrapped image uses the same places, so that a private mirror works. Third-party
repositories are left out: they have other suites, or say that they are not the distribution's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NATIVE_ORIGINS = ("Debian", "Ubuntu")
REMOTE = re.compile(r"(https?|mirror|mirror\+https?|tor\+https?)://")


@dataclass(frozen=True)
class Source:
    """One place packages come from, of one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None
    is_trusted: bool = False

    @property
    def line(self) -> str:
        """As one line of a sources.list."""
        options = [f"signed-by={self.signed_by}"] if self.signed_by else []
        options += ["trusted=yes"] if self.is_trusted else []
        prefix = f"deb [{' '.join(options)}]" if options else "deb"
        return " ".join((prefix, self.uri, self.suite, *self.components))


def read_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """Every binary package source that is switched on, from both of apt's file formats."""
    found: list[Source] = []
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))):
        if path.is_file():
            found += one_line_format(path.read_text("utf-8", "replace"))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        found += deb822_format(path.read_text("utf-8", "replace"))
    return found


def one_line_format(text: str) -> Iterator[Source]:
    """Sources in lines like `deb [signed-by=…] URI SUITE COMPONENT…`."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        named = dict(option.lower().split("=", 1) for option in (options or "").split() if "=" in option)
        keyring = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
        yield Source(
            uri,
            suite,
            tuple(components.split()),
            keyring.group(1) if keyring else None,
            named.get("trusted") == "yes",
        )


def deb822_format(text: str) -> Iterator[Source]:
    """Sources in stanzas of `Types:`, `URIs:`, `Suites:`, `Components:` fields."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", plain):
        fields: dict[str, str] = {}
        for name, value in re.findall(r"^([A-Za-z-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE):
            fields[name.lower()] = value.strip()
        is_off = fields.get("enabled", "yes").lower() in ("no", "false", "0", "off")
        if is_off or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    uri,
                    suite,
                    tuple(fields.get("components", "").split()),
                    fields.get("signed-by") or None,
                    fields.get("trusted", "").lower() == "yes",
                )


def of_distribution(sources: Iterable[Source], suite: str, native: set[tuple[str, str]]) -> list[Source]:
    """Those of the distribution itself: its suite, its updates and its security fixes.

    `native` holds the (URI, suite) pairs whose signed index says the distribution made it; empty
    if apt could not tell. A key written into the source itself has no file to name, and is left out.
    """
    suites = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    usable = [
        source
        for source in sources
        if source.suite in suites
        and "main" in source.components
        and REMOTE.match(source.uri)
        and (source.signed_by is None or source.signed_by.startswith("/"))
    ]
    known = [source for source in usable if (source.uri.rstrip("/"), source.suite) in native]
    chosen = known or usable
    return chosen if any(source.suite == suite for source in chosen) else []


def native_pairs(index_targets: str) -> set[tuple[str, str]]:
    """The (URI, suite) pairs of the distribution, from `URI|SUITE|ORIGIN` lines that apt printed."""
    rows = (line.split("|") for line in index_targets.splitlines() if line.count("|") == 2)
    return {(uri.rstrip("/"), suite) for uri, suite, origin in rows if origin in NATIVE_ORIGINS}
