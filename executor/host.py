"""The container engine of this host: find it, install it, start it.

Only set-up uses this module; the service itself never installs or starts anything. It knows
Docker's daemon and Debian's packages; it does not know images, languages or jobs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import docker
from docker.errors import DockerException

from executor.debian import (
    SYSTEM_PATH,
    Report,
    apt_install,
    distribution,
    exclusive,
    find_program,
    indented,
    is_debian,
    run_reporting,
)
from executor.errors import EngineError, EngineUnreachable

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
PACKAGES = ("docker.io", "iptables", "ca-certificates")
RUNTIME_PACKAGES = ("crun",)
ATTEMPTS = 3
ANSWER_S = 60.0
PAUSE_S = 0.2
# What a daemon may inherit from us: how it reaches registries. Everything else, such as tokens in
# the environment of whoever runs the set-up, would stay readable in it for as long as it lives.
DAEMON_ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
CONTAINERD_CONFIGS = (
    "/var/run/docker/containerd/containerd.toml",
    "/run/docker/containerd/containerd.toml",
)


@dataclass(frozen=True)
class EngineInfo:
    """The engine that answered."""

    address: str
    version: str
    storage: str
    root: str
    started_now: bool = False


@dataclass(frozen=True)
class Places:
    """Where the host keeps what we look at; tests point them into a temporary directory."""

    proc: Path = Path("/proc")
    run: Path = Path("/run")
    os_release: Path = Path("/etc/os-release")
    log: Path = Path("/var/log/dockerd.log")

    @property
    def dockerd_pid(self) -> Path:
        """dockerd's pid file."""
        return self.run / "docker.pid"

    @property
    def containerd_pid(self) -> Path:
        """Pid file of the containerd that dockerd starts for itself."""
        return self.run / "docker/containerd/containerd.pid"

    @property
    def containerd_socket(self) -> Path:
        """Socket of a system-wide containerd, which dockerd prefers if the file exists."""
        return self.run / "containerd/containerd.sock"


@dataclass(frozen=True)
class Process:
    """One process, as /proc shows it."""

    pid: int
    comm: str
    state: str
    parent: int
    started_ticks: int  # since boot; with the pid it names one process, also while that changes its program
    argv: tuple[str, ...]

    @property
    def is_alive(self) -> bool:
        """Whether it can still do anything; a zombie cannot, though its pid exists."""
        return self.state not in "ZXx"


def ensure_engine(report: Report, places: Places = Places()) -> EngineInfo:
    """Find an engine that answers, else install and start one; raise EngineUnreachable with the remedy."""
    if engine := probe():
        return engine
    address = os.environ.get("DOCKER_HOST", DEFAULT_SOCKET)
    refuse_if_forbidden(address, connection_error(address, timeout_s=5))
    refuse_unless_ours_to_start(address, os.geteuid(), distribution(places.os_release))
    with exclusive(places.run / "executor-engine.lock", report):
        if engine := probe():  # someone else's set-up may have started it while we waited
            return engine
        if find_program("dockerd") is None:
            report("no container engine answers: installing Debian's docker.io")
            apt_install(PACKAGES, report)
        return start_engine(report, places)


def ensure_runtime(report: Report, places: Places = Places()) -> None:
    """Install crun, with which containers start fastest; without it runc, Docker's own, is used.

    Never a reason to fail: where it cannot be installed, that is only reported.
    """
    if find_program("crun") is not None:
        return
    if not is_debian(distribution(places.os_release)) or os.geteuid() != 0:
        report("crun is not installed; with it containers start faster (package `crun`)")
        return
    with exclusive(places.run / "executor-engine.lock", report):
        if find_program("crun") is None:
            report("installing crun, with which containers start fastest")
            try:
                apt_install(RUNTIME_PACKAGES, report)
            except EngineError as error:
                report(f"going on without crun: {error}")


def probe(timeout_s: int = 10) -> EngineInfo | None:
    """The engine that answers at DOCKER_HOST, or at the default socket; None if none does."""
    address = os.environ.get("DOCKER_HOST", DEFAULT_SOCKET)
    if connection_error(address, timeout_s):
        return None
    try:
        client = docker.from_env(timeout=timeout_s)
        try:
            client.ping()
            info = client.info()
        finally:
            client.close()
    except (DockerException, OSError):
        return None
    return EngineInfo(
        address=address,
        version=str(info["ServerVersion"]),
        storage=str(info["Driver"]),
        root=str(info["DockerRootDir"]),
    )


def connection_error(address: str, timeout_s: float) -> OSError | None:
    """Why nobody can be reached at a socket file; None for other addresses, where only asking tells.

    The SDK leaks a socket with each attempt on a dead one, and we may try for a minute.
    """
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return None
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(timeout_s)
        try:
            attempt.connect(path)
        except OSError as error:
            return error
    return None


def refuse_if_forbidden(address: str, error: OSError | None) -> None:
    """Raise EngineUnreachable if an engine may well be there, but not for this user."""
    if isinstance(error, PermissionError):
        raise EngineUnreachable(
            f"this user may not talk to the container engine at {address}\n"
            "  sudo usermod -aG docker $USER    (then log in again, and run the same command)"
        )


def refuse_unless_ours_to_start(address: str, uid: int, release: Mapping[str, str]) -> None:
    """Raise EngineUnreachable, saying what to do, where we may not or cannot start an engine."""
    if address not in (DEFAULT_SOCKET, "unix:///run/docker.sock"):
        raise EngineUnreachable(
            f"no container engine answers at DOCKER_HOST={address}\n"
            "  start that engine, or `unset DOCKER_HOST` to use one on this machine"
        )
    if not is_debian(release):
        name = release.get("PRETTY_NAME", "this system")
        raise EngineUnreachable(
            f"no container engine answers, and set-up installs one only on Debian or Ubuntu, not on {name}\n"
            "  install Docker Engine with your system's packages, start it, and run the same command again;\n"
            "  if an engine listens elsewhere: export DOCKER_HOST=unix:///path/to/its.sock"
        )
    if uid != 0:
        raise EngineUnreachable(
            "no container engine answers, and installing one needs root; run this as root, or:\n"
            f"  sudo apt-get update && sudo apt-get install -y --no-install-recommends {' '.join(PACKAGES)}\n"
            "  sudo systemctl enable --now docker\n"
            "  sudo usermod -aG docker $USER    (then log in again)\n"
            "  if an engine listens elsewhere: export DOCKER_HOST=unix:///path/to/its.sock"
        )


def start_engine(report: Report, places: Places) -> EngineInfo:
    """Start dockerd and wait until it answers, up to three times over."""
    has_systemd = (places.run / "systemd/system").is_dir()
    for attempt in range(1, ATTEMPTS + 1):
        if engine := wait_for_living_dockerd(report, places):
            return engine
        clear_leftovers(report, places)
        report("starting dockerd" + (f", attempt {attempt} of {ATTEMPTS}" if attempt > 1 else ""))
        engine = start_by_systemd(report) if has_systemd else start_by_hand(report, places)
        if engine:
            report(f"dockerd answers: Docker {engine.version}")
            return replace(engine, started_now=True)
        report("dockerd did not start")
    tail = journal_tail() if has_systemd else file_tail(places.log)
    look = "journalctl -u docker" if has_systemd else str(places.log)
    raise EngineUnreachable(
        f"dockerd does not start ({ATTEMPTS} attempts); its last lines ({look}):\n{indented(tail)}\n"
        "  mend what they name and run the same command again;\n"
        "  an engine elsewhere can be used with: export DOCKER_HOST=unix:///path/to/its.sock"
    )


def wait_for_living_dockerd(report: Report, places: Places) -> EngineInfo | None:
    """Give a dockerd that runs but does not answer (starting or stopping) time; None once it is gone."""
    deadline = time.monotonic() + ANSWER_S
    said = False
    while (dockerd := process_of(places.dockerd_pid, "dockerd", places)) is not None:
        if engine := probe(timeout_s=2):
            return engine
        if not said:
            report(f"dockerd runs (pid {dockerd.pid}) but does not answer yet: waiting")
            said = True
        if time.monotonic() > deadline:
            raise EngineUnreachable(
                f"dockerd runs (pid {dockerd.pid}) but has not answered for {ANSWER_S:.0f} s\n"
                f"  look at its log, then end it with `kill {dockerd.pid}` and run the same command again"
            )
        time.sleep(PAUSE_S)
    return None


def read_process(pid: int, proc: Path) -> Process | None:
    """The process with this pid, or None."""
    try:
        stat = (proc / str(pid) / "stat").read_text("utf-8", "replace")
        argv = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    # comm may itself hold spaces and parentheses: it ends at the last one.
    comm, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    arguments = tuple(part.decode(errors="replace") for part in argv.split(b"\0") if part)
    return Process(pid, comm, fields[0], int(fields[1]), int(fields[19]), arguments)


def process_of(pid_file: Path, comm: str, places: Places) -> Process | None:
    """The living process a pid file names, if it still is the program that wrote the file."""
    try:
        pid = int(pid_file.read_text("utf-8").strip())
    except (OSError, ValueError):
        return None
    process = read_process(pid, places.proc)
    return process if process and process.comm == comm and process.is_alive else None


def is_dockers_containerd(process: Process) -> bool:
    """Whether it is the containerd that dockerd starts for itself, and alive."""
    ours = any(config in process.argv for config in CONTAINERD_CONFIGS)
    return process.comm == "containerd" and process.is_alive and ours


def clear_leftovers(report: Report, places: Places) -> None:
    """Remove what a killed dockerd left: an orphaned containerd, stale pid files, a dead socket.

    dockerd refuses to start while its pid file names any process, and takes whatever process
    containerd.pid names, even a zombie, for its containerd: it then waits for it in vain.
    """
    for folder in places.proc.glob("[0-9]*"):
        process = read_process(int(folder.name), places.proc)
        if process and is_dockers_containerd(process):
            report(f"ending the containerd (pid {process.pid}) of a dockerd that is gone")
            end_process(process, places.proc)
    for pid_file in (places.dockerd_pid, places.containerd_pid):
        if pid_file.exists():
            report(f"removing {pid_file}: its process is gone")
            pid_file.unlink(missing_ok=True)
    if places.containerd_socket.exists() and not any_containerd(places):
        report(f"removing {places.containerd_socket}: nobody listens there")
        places.containerd_socket.unlink(missing_ok=True)


def any_containerd(places: Places) -> bool:
    """Whether any containerd lives, for example the system's own."""
    found = (read_process(int(folder.name), places.proc) for folder in places.proc.glob("[0-9]*"))
    return any(process.comm == "containerd" and process.is_alive for process in found if process)


def end_process(process: Process, proc: Path) -> None:
    """End exactly this process: ask, then insist; raise EngineUnreachable if it stays."""
    for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)):
        now = read_process(process.pid, proc)
        if now is None or now.started_ticks != process.started_ticks or not now.is_alive:
            return
        os.kill(process.pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            now = read_process(process.pid, proc)
            if now is None or not now.is_alive:
                return
            time.sleep(0.05)
    raise EngineUnreachable(
        f"containerd (pid {process.pid}) does not end even after SIGKILL; restart the machine"
    )


def start_by_systemd(report: Report) -> EngineInfo | None:
    """Have systemd start dockerd, now and at each boot; None if it does not come to answer."""
    run_reporting(["systemctl", "reset-failed", "docker"], lambda line: None)
    code, _ = run_reporting(["systemctl", "enable", "--now", "docker"], report)
    return wait_for_answer(lambda: code == 0)


def mount_cgroups(report: Report, places: Places) -> None:
    """Mount the cgroup tree on a machine whose init mounted none; limits need it."""
    mounts = (places.proc / "mounts").read_text("utf-8", "replace").splitlines()
    if any(line.split()[2] in ("cgroup", "cgroup2") for line in mounts):
        return
    report("mounting the cgroup tree at /sys/fs/cgroup")
    run_reporting(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], report)


def start_by_hand(report: Report, places: Places) -> EngineInfo | None:
    """Start dockerd in a session of its own, so that it outlives us and our terminal; None if it ends."""
    mount_cgroups(report, places)
    places.log.parent.mkdir(parents=True, exist_ok=True)
    with places.log.open("ab") as output:
        daemon = subprocess.Popen(
            [find_program("dockerd") or "dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=daemon_environment(os.environ),
            start_new_session=True,
        )
    # Should it end while we still run, it must not stay a zombie that its pid file names.
    reaper = threading.Thread(target=daemon.wait, name="dockerd", daemon=True)
    reaper.start()
    return wait_for_answer(reaper.is_alive)


def daemon_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The few variables a dockerd we start inherits from us."""
    kept = {name: ours[name] for name in ours if name.upper() in DAEMON_ENVIRONMENT}
    return kept | {"PATH": f"{ours.get('PATH', '')}:{SYSTEM_PATH}", "HOME": "/root", "LANG": "C.UTF-8"}


def wait_for_answer(may_still_come: Callable[[], bool]) -> EngineInfo | None:
    """Wait until the engine answers; None once it cannot any more, or after a minute."""
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        if engine := probe(timeout_s=5):
            return engine
        if not may_still_come():
            return None
        time.sleep(PAUSE_S)
    return None


def file_tail(path: Path, lines: int = 20) -> list[str]:
    """Last lines of a log file."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 64 * 1024))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return [str(error)]


def journal_tail() -> list[str]:
    """Last lines that dockerd wrote to systemd's journal."""
    return run_reporting(
        ["journalctl", "-u", "docker", "-n", "20", "--no-pager", "-o", "cat"], lambda line: None
    )[1]
