"""The distribution images start from, and how this host reaches packages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from executor.sandbox import distro, hostsettings
from executor.sandbox.aptsources import (
    Source,
    deb822_format,
    native_pairs,
    of_distribution,
    one_line_format,
    read_sources,
)

WISHED = "example/debian:12"
needs_debian = pytest.mark.skipif(distro.stand_in_tag() is None, reason="only Debian and Ubuntu bootstrap")


class FakeApi:
    """An engine's images, and a registry that may have one."""

    def __init__(self, here: dict[str, dict[str, str]], offered: str | None = None) -> None:
        self.here = here
        self.offered = offered

    def inspect_image(self, reference: str) -> dict[str, Any]:
        if reference not in self.here:
            raise ImageNotFound(reference)
        return {"Config": {"Labels": self.here[reference]}}

    def pull(self, repository: str, tag: str, **_: Any) -> list[dict[str, str]]:
        if f"{repository}:{tag}" != self.offered:
            raise APIError("500 Server Error", explanation="no such host\n (really)")
        self.here[self.offered] = {}
        return [{"id": "layer", "status": "Pull complete"}]


def engine(api: FakeApi) -> docker.DockerClient:
    """A client of the fake."""
    return cast(docker.DockerClient, SimpleNamespace(api=api))


def stand_in() -> str:
    """Tag of the stand-in on this host."""
    tag = distro.stand_in_tag()
    assert tag is not None
    return tag


def test_present_image_is_used_without_asking_a_registry() -> None:
    """What the operator loaded by hand counts."""
    lines: list[str] = []
    assert distro.settle(engine(FakeApi({WISHED: {}})), WISHED, lines.append) == WISHED
    assert lines == []


def test_absent_image_is_pulled() -> None:
    """Where a registry is in reach, the image wished for is used."""
    lines: list[str] = []
    client = engine(FakeApi({}, offered=WISHED))
    assert distro.chosen(client, WISHED) is None
    assert distro.settle(client, WISHED, lines.append) == WISHED
    assert lines == [f"pulling {WISHED}", "layer Pull complete"]


@needs_debian
def test_stand_in_is_kept_even_if_the_image_appears_later() -> None:
    """Tags must not change because a registry came back or a test tagged an image."""
    api = FakeApi({stand_in(): {distro.STANDS_FOR: WISHED}, WISHED: {}})
    assert distro.chosen(engine(api), WISHED) == stand_in()
    assert distro.settle(engine(api), WISHED, lambda line: None) == stand_in()


@needs_debian
def test_stand_in_for_another_image_is_the_last_resort() -> None:
    """Another wish is tried first; if it cannot be had, nothing is bootstrapped twice."""
    lines: list[str] = []
    api = FakeApi({stand_in(): {distro.STANDS_FOR: "example/else:1"}})
    assert distro.settle(engine(api), WISHED, lines.append) == stand_in()
    assert lines == [f"pulling {WISHED}", f"cannot pull {WISHED}: no such host (really)"]


def test_fresh_keeps_an_image_that_cannot_be_pulled_again() -> None:
    """An image loaded by hand has no registry to come from."""
    assert distro.settle(engine(FakeApi({WISHED: {}})), WISHED, lambda line: None, fresh=True) == WISHED


DEB822 = """\
# comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
# a comment inside
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://third.example/apt
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://inline.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main  # the main one
deb [arch=amd64 signed-by=/etc/apt/keyrings/M.gpg] https://m.example/debian bookworm-security main
deb [trusted=yes] file:/srv/packages bookworm main
deb-src http://mirror.example/debian bookworm main
deb http://flat.example/ ./
"""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_stanzas_of_sources_are_read() -> None:
    """Every URI with every suite; sources that are off, or only of source packages, do not count."""
    found = list(deb822_format(DEB822))
    assert found[0] == Source("http://mirror.example/debian", "bookworm", ("main", "contrib"), KEYRING)
    assert [(s.uri.split("/")[2], s.suite) for s in found] == [
        ("mirror.example", "bookworm"),
        ("mirror.example", "bookworm-updates"),
        ("third.example", "nodistro"),
        ("inline.example", "bookworm"),
    ]


def test_lines_of_sources_are_read() -> None:
    """Options in brackets belong to the source; a line goes out as it came in."""
    found = list(one_line_format(ONE_LINE))
    assert [s.line for s in found] == [
        "deb http://mirror.example/debian bookworm main",
        "deb [signed-by=/etc/apt/keyrings/M.gpg] https://m.example/debian bookworm-security main",
        "deb [trusted=yes] file:/srv/packages bookworm main",
    ]


def test_both_formats_are_found_below_apts_folder(tmp_path: Path) -> None:
    """A host may use both at once."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/old.list.disabled").write_text("deb http://x.example/ bookworm main\n")
    assert len(read_sources(tmp_path)) == 7
    assert read_sources(tmp_path / "none") == []


def test_only_the_distributions_own_remote_sources_are_taken() -> None:
    """Third parties, local folders and keys without a file stay behind."""
    sources = [*deb822_format(DEB822), *one_line_format(ONE_LINE)]
    sources.append(Source("https://vendor.example/apt", "bookworm", ("stable",)))
    chosen = of_distribution(sources, "bookworm", set())
    assert {s.uri.split("/")[2] for s in chosen} == {"mirror.example", "m.example"}


def test_third_party_with_the_same_suite_is_told_by_its_origin() -> None:
    """apt knows from the signed index who made it."""
    ours = Source("http://mirror.example/debian", "bookworm", ("main",))
    theirs = Source("https://vendor.example", "bookworm", ("main",))
    shown = "http://mirror.example/debian/|bookworm|Debian\nhttps://vendor.example/|bookworm|Vendor\n"
    assert of_distribution([theirs, ours], "bookworm", native_pairs(shown)) == [ours]


def test_sources_without_the_suite_itself_are_no_sources() -> None:
    """Updates alone do not make a distribution: mmdebstrap's own default is better then."""
    updates = Source("http://mirror.example/debian", "bookworm-updates", ("main",))
    assert of_distribution([updates], "bookworm", set()) == []


def test_bootstrap_takes_private_keyrings_along(tmp_path: Path) -> None:
    """apt inside the image must be able to check what apt outside could."""
    private = Source("https://m.example/debian", "bookworm", ("main",), "/etc/apt/keyrings/M.gpg")
    usual = Source("https://m.example/debian", "bookworm-updates", ("main",), KEYRING)
    argv = distro.mmdebstrap_argv("bookworm", tmp_path / "out.tar", [private, usual])
    hooks = [part for part in argv if part.startswith("--setup-hook=")]
    assert hooks[-1] == "--setup-hook=upload '/etc/apt/keyrings/M.gpg' '/etc/apt/keyrings/M.gpg'"
    assert len(hooks) == 2
    assert argv[-4:] == ["bookworm", str(tmp_path / "out.tar"), private.line, usual.line]


PIP_LIST = """\
:env:.index-url='https://env.example/simple'
:env:.find-links='/opt/wheels'
global.cert='/etc/ssl/private.pem'
global.default-timeout='180'
global.extra-index-url='file:///opt/simple\\nhttps://extra.example/simple /srv/simple'
global.index-url='https://user:it%27s@file.example/simple'
install.user='true'
"""


def test_builds_use_this_hosts_indexes_but_not_its_files() -> None:
    """The environment wins over files; paths of this host mean nothing inside a build."""
    assert hostsettings.pip_conf(PIP_LIST, {}) == (
        "[global]\n"
        "cert = /etc/ssl/certs/ca-certificates.crt\n"
        "extra-index-url = https://extra.example/simple\n"
        "index-url = https://env.example/simple\n"
        "timeout = 180\n"
    )


def test_environment_counts_even_where_there_is_no_pip_to_ask() -> None:
    """PIP_* variables are read by ourselves then."""
    environment = {"PIP_INDEX_URL": "https://env.example/simple", "PIP_RETRIES": "9", "PIP_CERT": "/x"}
    assert hostsettings.pip_conf("", environment) == (
        "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n"
        "index-url = https://env.example/simple\nretries = 9\n"
    )


def test_certificates_come_from_the_variable_that_names_a_file(tmp_path: Path) -> None:
    """A variable that names nothing is passed over, and there is always some bundle."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"mine")
    environment = {"SSL_CERT_FILE": str(tmp_path / "none"), "REQUESTS_CA_BUNDLE": str(bundle)}
    assert hostsettings.ca_bundle(environment) == b"mine"
    assert b"BEGIN CERTIFICATE" in hostsettings.ca_bundle({})


def test_proxies_reach_builds_in_both_spellings() -> None:
    """Programs differ in which spelling they read; other variables stay outside."""
    environment = {"http_proxy": "http://p:1", "NO_PROXY": "localhost", "HTTPS_PROXY": "", "TOKEN": "t"}
    assert hostsettings.proxy_arguments(environment) == {"http_proxy": "http://p:1", "NO_PROXY": "localhost"}
