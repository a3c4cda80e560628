"""How this host reaches package registries, in a form that image builds can use.

CA bundle, proxy and index settings are the host's own: nothing here names a registry. They say how
something is fetched, not what, so that a changed index address makes no image new.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import certifi

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
CA_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
CA_IN_IMAGES = "/etc/ssl/certs/ca-certificates.crt"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "FTP_PROXY")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
PIP_LIST_S = 60


def ca_bundle(environment: Mapping[str, str] = os.environ) -> bytes:
    """The certificates this host trusts, as one PEM file."""
    named = [Path(environment[name]) for name in CA_VARIABLES if environment.get(name)]
    for path in (*named, *CA_BUNDLES):
        if path.is_file():
            return path.read_bytes()
    return Path(certifi.where()).read_bytes()


def proxy_arguments(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The proxy variables, as build arguments that every Dockerfile knows without declaring them."""
    return {name: value for name, value in environment.items() if value and name.upper() in PROXY_VARIABLES}


def pip_settings() -> str:
    """What `pip config list` says here: files and environment, as pip itself understands them."""
    argv = [sys.executable, "-m", "pip", "config", "list"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PIP_LIST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def pip_conf(settings: str, environment: Mapping[str, str] = os.environ) -> str:
    """A pip.conf for use inside a build: this host's indexes, without what only exists on this host."""
    found: dict[str, str] = {}
    for name, value in (*_listed(settings), *_in_environment(environment)):
        if kept := " ".join(word for word in value.split() if _is_reachable_in_build(word)):
            found[name] = kept
    lines = [f"{name} = {value}" for name, value in sorted(found.items())]
    return "\n".join(["[global]", f"cert = {CA_IN_IMAGES}", *lines, ""])


def _listed(settings: str) -> list[tuple[str, str]]:
    """Name and value of each setting we pass on, the environment's (which win) last."""
    pairs: list[tuple[bool, str, str]] = []
    for line in settings.splitlines():
        key, _, quoted = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if section in ("global", ":env:") and (name := _canonical(name)) in PIP_SETTINGS:
            pairs.append((section == ":env:", name, str(ast.literal_eval(quoted))))
    return [(name, value) for _, name, value in sorted(pairs, key=lambda pair: pair[0])]


def _in_environment(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The same settings from PIP_* variables, for a Python that has no pip to ask."""
    named = (
        (_canonical(key[4:].lower().replace("_", "-")), key) for key in environment if key.startswith("PIP_")
    )
    return [(name, environment[key]) for name, key in named if name in PIP_SETTINGS and environment[key]]


def _canonical(name: str) -> str:
    return "timeout" if name == "default-timeout" else name


def _is_reachable_in_build(word: str) -> bool:
    """Whether a build can use it: it cannot see this host's files."""
    return not word.startswith(("file:", "/", "."))
