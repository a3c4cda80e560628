"""The distribution that all images start from: present, pulled, or bootstrapped from its packages.

The choice is made once and kept: a bootstrapped stand-in carries the name of the image it stands
in for, and is used from then on, so that tags do not change when a registry comes and goes.
"""

from __future__ import annotations

import os
import platform
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils import parse_repository_tag

from executor import debian
from executor.debian import Report
from executor.errors import EngineError
from executor.sandbox import aptsources

PULL_IDLE_S = 60
ROOMY = "/var/tmp"  # some hundred MB lie there for a minute; /tmp is often in memory
STANDS_FOR = "executor.stands_for"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}
APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
# Documentation in a container that runs one script is only weight; copyright notices stay.
UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")
WANTED = ("/usr/share/doc/*/copyright",)
# An image is thrown away if making it is cut short: syncing each file to the disk would be in vain.
DPKG_SETTINGS = ("force-unsafe-io",)


def stand_in_tag() -> str | None:
    """Tag of the distribution bootstrapped on this host; None where there is none to bootstrap."""
    release = debian.distribution()
    suite = release.get("VERSION_CODENAME", "")
    if release.get("ID") not in ("debian", "ubuntu") or not suite:
        return None
    return f"executor/distro:{suite}-{ARCHITECTURES.get(platform.machine(), platform.machine())}"


def chosen(client: docker.DockerClient, base_image: str) -> str | None:
    """The distribution in use on this engine; None if the choice is still to be made."""
    if meant := _stand_in_for(client, base_image):
        return meant
    any_stand_in = stand_in_tag()
    return next((i for i in (base_image, any_stand_in) if i and _labels(client, i) is not None), None)


def settle(client: docker.DockerClient, base_image: str, report: Report, *, fresh: bool = False) -> str:
    """Make sure there is a distribution to start from; the image to use. Raises EngineError.

    `fresh` gets it anew, with the packages of today, where it can be had.
    """
    in_use = chosen(client, base_image)
    if in_use is not None and not fresh and in_use in (base_image, _stand_in_for(client, base_image)):
        return in_use
    report(f"pulling {base_image}")
    why = pull(client, base_image, report)
    if why is None:
        return base_image
    report(f"cannot pull {base_image}: {why}")
    if in_use == base_image or (in_use is not None and not fresh):
        return in_use
    return bootstrap(client, base_image, report)


def _labels(client: docker.DockerClient, reference: str) -> dict[str, str] | None:
    """Labels of an image; None if the engine does not have it."""
    api: Any = client.api
    try:
        found = api.inspect_image(reference)
    except ImageNotFound:
        return None
    return dict(found.get("Config", {}).get("Labels") or {})


def _stand_in_for(client: docker.DockerClient, base_image: str) -> str | None:
    """The stand-in, if it was made because this very image could not be had."""
    stand_in = stand_in_tag()
    is_meant = stand_in is not None and (_labels(client, stand_in) or {}).get(STANDS_FOR) == base_image
    return stand_in if is_meant else None


@dataclass(frozen=True)
class _Ended:
    """The last thing a pull says: why it failed, or None."""

    why: str | None


def pull(client: docker.DockerClient, reference: str, report: Report) -> str | None:
    """Pull an image; None if it is here now, else why not, in one line.

    Runs in a thread of its own, for the engine may stay silent as long as the network keeps it waiting.
    """
    events: queue.Queue[str | _Ended] = queue.Queue()
    threading.Thread(target=_pull_into, args=(client, reference, events), name="pull", daemon=True).start()
    last = ""
    while True:
        try:
            event = events.get(timeout=PULL_IDLE_S)
        except queue.Empty:
            return f"nothing came for {PULL_IDLE_S} s"
        if isinstance(event, _Ended):
            return event.why
        if event != last:
            report(event)
            last = event


def _pull_into(client: docker.DockerClient, reference: str, events: queue.Queue[str | _Ended]) -> None:
    repository, tag = parse_repository_tag(reference)
    why: str | None = "the pull broke off"
    try:
        error = ""
        for event in client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            error = str(event.get("error", error))
            events.put(" ".join(str(event[key]) for key in ("id", "status") if event.get(key)))
        why = _one_line(error) or None
    except APIError as refusal:
        why = _one_line(str(refusal.explanation or refusal))
    except (DockerException, OSError) as trouble:
        why = _one_line(str(trouble))
    finally:
        events.put(_Ended(why))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def bootstrap(client: docker.DockerClient, base_image: str, report: Report) -> str:
    """Make the stand-in from this host's own package sources; its tag."""
    tag = stand_in_tag()
    if tag is None:
        raise EngineError(
            f"there is no {base_image} here, it cannot be pulled, and this host is not Debian or Ubuntu,\n"
            "  so that no distribution can be bootstrapped from its packages\n"
            "  load an image by hand (`docker load -i FILE`) and name it in EXECUTOR_BASE_IMAGE"
        )
    if debian.find_program("mmdebstrap") is None:
        _install_mmdebstrap(base_image, report)
    suite = tag.partition(":")[2].rpartition("-")[0]
    report(f"bootstrapping {tag} from this host's package sources")
    with tempfile.TemporaryDirectory(prefix="executor-distro-", dir=ROOMY) as folder:
        archive = Path(folder) / "distro.tar"
        code, tail = debian.run_reporting(mmdebstrap_argv(suite, archive, host_sources(suite)), report)
        if code != 0:
            raise EngineError(f"mmdebstrap failed (exit status {code}):\n{debian.indented(tail)}")
        report(f"importing {tag}")
        return _import(client, archive, tag, base_image)


def _install_mmdebstrap(base_image: str, report: Report) -> None:
    if os.geteuid() != 0:
        raise EngineError(
            f"there is no {base_image} here and it cannot be pulled; bootstrapping one needs mmdebstrap:\n"
            "  sudo apt-get install -y --no-install-recommends mmdebstrap"
        )
    debian.apt_install(["mmdebstrap"], report)


def _import(client: docker.DockerClient, archive: Path, tag: str, base_image: str) -> str:
    """Import a root file system as the stand-in for `base_image`."""
    labels = f'LABEL executor.image="distro" {STANDS_FOR}="{base_image}"'
    repository, _, version = tag.partition(":")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        client.api.import_image_from_file(
            str(archive), repository=repository, tag=version, changes=['CMD ["bash"]', f"ENV {path}", labels]
        )
    except (DockerException, OSError) as error:
        raise EngineError(f"the engine could not import {tag}: {error}") from error
    if _labels(client, tag) is None:
        raise EngineError(f"the engine could not import {tag}: it does not have it afterwards")
    return tag


def mmdebstrap_argv(suite: str, archive: Path, sources: Sequence[aptsources.Source]) -> list[str]:
    """The command that makes the distribution; without sources mmdebstrap uses its own default."""
    argv = ["env", f"TMPDIR={ROOMY}", "mmdebstrap", "--variant=minbase", "--format=tar"]
    argv += ['--aptopt=APT::Install-Recommends "false"', *(f"--dpkgopt={line}" for line in DPKG_SETTINGS)]
    argv += [f"--aptopt={setting}" for setting in host_apt_settings()]
    argv += [f"--dpkgopt=path-exclude={path}" for path in UNWANTED]
    argv += [f"--dpkgopt=path-include={path}" for path in WANTED]
    for keyring in sorted({source.signed_by for source in sources if source.signed_by}):
        if not keyring.startswith("/usr/share/keyrings/"):  # those come with the distribution's packages
            argv.append(f"--setup-hook=mkdir -p \"$1\"'{Path(keyring).parent}'")
            argv.append(f"--setup-hook=upload '{keyring}' '{keyring}'")
    return [*argv, suite, str(archive), *(source.line for source in sources)]


def host_sources(suite: str) -> list[aptsources.Source]:
    """The host's own sources of this suite; empty if it has none that an image could use."""
    shown = _output_of(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(ORIGIN)"])
    return aptsources.of_distribution(aptsources.read_sources(), suite, aptsources.native_pairs(shown))


def host_apt_settings() -> list[str]:
    """The host's apt settings about reaching a mirror (a proxy, say), in apt's own notation."""
    shown = _output_of(["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n', *APT_SETTINGS])
    return [line for line in shown.splitlines() if line.strip()]


def _output_of(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
