"""This host as Debian sees it: what it is, installing packages, running programs with their lines shown.

Used by set-up only. It knows nothing about engines, images or languages.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from executor.errors import EngineError

Report = Callable[[str], None]

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAIL_LINES = 20


def distribution(os_release: Path = Path("/etc/os-release")) -> dict[str, str]:
    """The fields of os-release; empty if there is none."""
    try:
        lines = os_release.read_text("utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def is_debian(release: Mapping[str, str]) -> bool:
    """Whether packages are Debian's or Ubuntu's (or those of a distribution built on them)."""
    kinds = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    return bool(kinds & {"debian", "ubuntu"})


def find_program(name: str) -> str | None:
    """Path of a program, looking where system programs are even if PATH does not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


@contextmanager
def exclusive(path: Path, report: Report) -> Iterator[None]:
    """Hold the lock file `path`; a second process waits here, and says so once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another set-up is at work: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def apt_install(packages: Sequence[str], report: Report) -> None:
    """Install Debian packages, each line of apt reported; raise EngineError with apt's last lines.

    What is installed stays as it is: an upgrade could replace a CA bundle the host was given.
    """
    apt = ["apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]
    code, _ = run_reporting([*apt, "update"], report)
    if code != 0:  # one broken repository is no reason to stop: the lists may suffice
        report(f"apt-get update failed ({code}); trying with the package lists that are there")
    code, tail = run_reporting(
        [*apt, "install", "--no-upgrade", "--no-install-recommends", *packages], report
    )
    if code != 0:
        names = " ".join(packages)
        raise EngineError(
            f"apt-get could not install {names} (exit status {code}):\n{indented(tail)}\n"
            f"  run it by hand: apt-get update && apt-get install -y --no-install-recommends {names}"
        )


def run_reporting(argv: Sequence[str], report: Report) -> tuple[int, list[str]]:
    """Run a program, report each line it prints; its exit status and last lines."""
    environment = {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}",
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_MODE": "l",
        "LC_ALL": "C.UTF-8",
    }
    tail: list[str] = []
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line := line.rstrip():
                report(line)
                tail = [*tail[1 - TAIL_LINES :], line]
    return process.returncode, tail


def indented(lines: Sequence[str]) -> str:
    """Lines of another program, set off from our own."""
    return "\n".join(f"    {line}" for line in lines)
