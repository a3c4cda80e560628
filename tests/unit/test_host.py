"""Finding, installing and starting the container engine: the parts that decide."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from executor import debian, host
from executor.errors import EngineError, EngineUnreachable
from executor.host import Places, Process

DEBIAN = {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12"}
STARTED = 900
OUR_CONTAINERD = ("containerd", "--config", "/var/run/docker/containerd/containerd.toml")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A host with no process and nothing running."""
    found = Places(tmp_path / "proc", tmp_path / "run", tmp_path / "os-release", tmp_path / "dockerd.log")
    found.proc.mkdir()
    (found.proc / "mounts").write_text("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    found.containerd_pid.parent.mkdir(parents=True)
    found.containerd_socket.parent.mkdir(parents=True)
    return found


def add_process(places: Places, pid: int, comm: str, state: str = "S", argv: tuple[str, ...] = ()) -> None:
    """Make /proc show one more process."""
    folder = places.proc / str(pid)
    folder.mkdir()
    (folder / "stat").write_text(f"{pid} ({comm}) {state} 1 {pid} {pid} 0 -1 4194560 {'0 ' * 12}{STARTED}\n")
    (folder / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in argv))


def cleared(places: Places) -> list[str]:
    """What clear_leftovers reports of its doings."""
    lines: list[str] = []
    host.clear_leftovers(lines.append, places)
    return lines


def test_process_whose_name_has_parentheses_is_read_right(places: Places) -> None:
    """The name ends at the last parenthesis of its line."""
    add_process(places, 7, "a) Z (b", argv=("x", "y z"))
    assert host.read_process(7, places.proc) == Process(7, "a) Z (b", "S", 1, STARTED, ("x", "y z"))


def test_pid_file_of_a_living_dockerd_names_it(places: Places) -> None:
    """A dockerd that lives is waited for, not replaced."""
    add_process(places, 7, "dockerd")
    places.dockerd_pid.write_text("7\n")
    found = host.process_of(places.dockerd_pid, "dockerd", places)
    assert found is not None
    assert found.pid == 7


@pytest.mark.parametrize(
    ("comm", "state", "content"),
    [("dockerd", "Z", "7"), ("bash", "S", "7"), ("dockerd", "S", "8"), ("dockerd", "S", "rubbish")],
    ids=["zombie", "pid of another program", "no such process", "no number"],
)
def test_stale_pid_file_names_nobody(places: Places, comm: str, state: str, content: str) -> None:
    """A zombie, a reused pid, a missing process and a damaged file all mean: no dockerd."""
    add_process(places, 7, comm, state)
    places.dockerd_pid.write_text(content)
    assert host.process_of(places.dockerd_pid, "dockerd", places) is None


def test_stale_pid_files_are_removed(places: Places) -> None:
    """dockerd would refuse to start, or wait for a containerd that never answers."""
    places.dockerd_pid.write_text("7")
    places.containerd_pid.write_text("8")
    lines = cleared(places)
    assert not places.dockerd_pid.exists()
    assert not places.containerd_pid.exists()
    assert len(lines) == 2


def test_nothing_left_over_is_nothing_to_report(places: Places) -> None:
    """A clean host is not touched."""
    assert cleared(places) == []


def test_dead_containerd_socket_is_removed(places: Places) -> None:
    """dockerd takes that file for a running system containerd."""
    places.containerd_socket.touch()
    cleared(places)
    assert not places.containerd_socket.exists()


def test_socket_of_a_living_system_containerd_stays(places: Places) -> None:
    """The system's own containerd is none of our business, and is not ended."""
    add_process(places, 7, "containerd", argv=("/usr/bin/containerd",))
    places.containerd_socket.touch()
    assert cleared(places) == []
    assert places.containerd_socket.exists()


@pytest.mark.parametrize(
    ("comm", "state", "argv", "expected"),
    [
        ("containerd", "S", OUR_CONTAINERD, True),
        ("containerd", "Z", OUR_CONTAINERD, False),
        ("containerd", "S", ("/usr/bin/containerd",), False),
        ("vi", "S", ("vi", "/var/run/docker/containerd/containerd.toml"), False),
    ],
)
def test_only_dockers_own_living_containerd_is_an_orphan(
    comm: str, state: str, argv: tuple[str, ...], expected: bool
) -> None:
    """Name, state and configuration path must all fit before a process is ended."""
    assert host.is_dockers_containerd(Process(7, comm, state, 1, STARTED, argv)) is expected


def test_end_process_ends_exactly_that_process() -> None:
    """SIGTERM suffices here; a zombie that nobody has reaped yet counts as ended."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        process = host.read_process(sleeper.pid, Path("/proc"))
        assert process is not None
        host.end_process(process, Path("/proc"))
        assert sleeper.wait(timeout=5) == -signal.SIGTERM


def test_end_process_leaves_another_process_with_the_same_pid_alone() -> None:
    """A pid that was given to another process in the meantime is not touched."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        found = host.read_process(sleeper.pid, Path("/proc"))
        assert found is not None
        earlier = dataclasses.replace(found, started_ticks=found.started_ticks - 1)
        host.end_process(earlier, Path("/proc"))
        assert sleeper.poll() is None
        sleeper.kill()


@pytest.mark.parametrize(
    ("address", "uid", "release", "remedy"),
    [
        ("tcp://elsewhere:2375", 0, DEBIAN, "unset DOCKER_HOST"),
        (host.DEFAULT_SOCKET, 0, {"ID": "fedora"}, "install Docker Engine"),
        (host.DEFAULT_SOCKET, 0, {}, "install Docker Engine"),
        (host.DEFAULT_SOCKET, 1000, DEBIAN, "sudo apt-get update && sudo apt-get install -y"),
    ],
)
def test_engine_we_may_not_start_is_refused_with_the_remedy(
    address: str, uid: int, release: dict[str, str], remedy: str
) -> None:
    """Where set-up cannot help itself, it says which commands to run."""
    with pytest.raises(EngineUnreachable) as caught:
        host.refuse_unless_ours_to_start(address, uid, release)
    assert remedy in str(caught.value)


def test_engine_of_other_users_is_not_started_a_second_time() -> None:
    """Who lacks permission is told how to get it."""
    with pytest.raises(EngineUnreachable, match="usermod -aG docker"):
        host.refuse_if_forbidden(host.DEFAULT_SOCKET, PermissionError())
    host.refuse_if_forbidden(host.DEFAULT_SOCKET, ConnectionRefusedError())
    host.refuse_if_forbidden(host.DEFAULT_SOCKET, None)


@pytest.mark.parametrize("release", [DEBIAN, {"ID": "ubuntu"}, {"ID": "mint", "ID_LIKE": "ubuntu debian"}])
def test_root_on_debian_or_a_relative_may_start_an_engine(release: dict[str, str]) -> None:
    """Debian, Ubuntu and what is built on them have the packages."""
    host.refuse_unless_ours_to_start(host.DEFAULT_SOCKET, 0, release)


def test_daemon_inherits_proxies_but_no_secrets() -> None:
    """What stays in a daemon's environment is readable for as long as it lives."""
    kept = host.daemon_environment({"https_proxy": "http://p:1", "EXECUTOR_TOKEN": "t", "PATH": "/x"})
    assert kept["https_proxy"] == "http://p:1"
    assert "EXECUTOR_TOKEN" not in kept
    assert kept["PATH"].startswith("/x:")
    assert "/usr/sbin" in kept["PATH"]


def test_waiting_stops_when_no_answer_can_come_any_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A dockerd that ended is not waited for."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    began = time.monotonic()
    assert host.wait_for_answer(lambda: False) is None
    assert time.monotonic() - began < 5


def hang_up_on_everybody(listener: socket.socket) -> None:
    """Accept connections and close them, until the listener is closed."""
    with suppress(OSError):
        while True:
            listener.accept()[0].close()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that wins over the system's; no engine answers, and none of ours is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    return folder


def add_program(folder: Path, name: str, text: str) -> None:
    """Make `name` a program that does what the script says."""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


FAKE_DOCKERD = f"""#!{sys.executable}
import http.server, json, os, socketserver

INFO = {{"ServerVersion": "99.1", "Driver": "overlay2", "DockerRootDir": "/d", "ApiVersion": "1.44"}}

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"OK" if self.path.endswith("/_ping") else json.dumps(INFO).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "client"

path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docker.sock")
with socketserver.UnixStreamServer(path, Answer) as server:
    print("pid", os.getpid(), flush=True)
    for _ in range(6):
        server.handle_request()
"""


def test_dockerd_is_started_after_its_leftovers_are_gone(places: Places, programs: Path) -> None:
    """Without an init system it runs in a session of its own and writes its log to a file."""
    add_program(programs, "dockerd", FAKE_DOCKERD)
    places.dockerd_pid.write_text("1")
    lines: list[str] = []
    engine = host.start_engine(lines.append, places)
    pid = int(places.log.read_text().split()[1])
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGKILL)
    assert engine.started_now
    assert engine.version == "99.1"
    assert lines == [
        f"removing {places.dockerd_pid}: its process is gone",
        "starting dockerd",
        "dockerd answers: Docker 99.1",
    ]


def test_dockerd_that_ends_is_tried_three_times_and_its_log_shown(places: Places, programs: Path) -> None:
    """The message holds the reason, which only the log knows."""
    add_program(programs, "dockerd", "#!/bin/sh\necho no such device; exit 1\n")
    with pytest.raises(EngineUnreachable, match="no such device") as caught:
        host.start_engine(lambda line: None, places)
    assert str(places.log) in str(caught.value)
    assert places.log.read_text().count("no such device") == 3


def test_systemd_starts_dockerd_where_it_runs(places: Places, programs: Path) -> None:
    """Then its journal is what explains a failure, and no dockerd is started past it."""
    (places.run / "systemd/system").mkdir(parents=True)
    calls = programs / "calls"
    add_program(programs, "systemctl", f"#!/bin/sh\necho $* >>{calls}; exit 1\n")
    add_program(programs, "journalctl", "#!/bin/sh\necho unit failed: $*\n")
    add_program(programs, "dockerd", f"#!/bin/sh\necho dockerd >>{calls}\n")
    with pytest.raises(EngineUnreachable, match="unit failed: -u docker"):
        host.start_engine(lambda line: None, places)
    assert calls.read_text().splitlines() == 3 * ["reset-failed docker", "enable --now docker"]


def test_engine_that_does_not_speak_docker_is_no_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A socket that accepts and hangs up is not mistaken for an engine."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
        threading.Thread(target=hang_up_on_everybody, args=[listener], daemon=True).start()
        assert host.probe(timeout_s=2) is None


def test_log_tail_gives_the_last_lines(tmp_path: Path) -> None:
    """The reason why dockerd ended stands at the end of its log."""
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert host.file_tail(log) == [f"line {n}" for n in range(80, 100)]
    assert "No such file" in host.file_tail(tmp_path / "none")[0]


def test_os_release_is_read_without_its_quotes(tmp_path: Path) -> None:
    """Values may be quoted, lines may be comments."""
    path = tmp_path / "os-release"
    path.write_text("# comment\nID=debian\nVERSION_CODENAME='bookworm'\nPRETTY_NAME=\"Debian = 12\"\n")
    assert debian.distribution(path) == {
        "ID": "debian",
        "VERSION_CODENAME": "bookworm",
        "PRETTY_NAME": "Debian = 12",
    }
    assert debian.distribution(tmp_path / "none") == {}


def test_two_set_ups_take_turns(tmp_path: Path) -> None:
    """The second one says that it waits, and goes on when the first has ended."""
    lines: list[str] = []
    order: list[str] = []

    def second() -> None:
        with debian.exclusive(tmp_path / "lock", lines.append):
            order.append("second")

    with debian.exclusive(tmp_path / "lock", lines.append):
        thread = threading.Thread(target=second)
        thread.start()
        while not lines:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert lines == ["another set-up is at work: waiting for it"]


def test_program_is_shown_line_by_line_and_its_tail_kept() -> None:
    """Every line is reported; the last ones explain a failure."""
    lines: list[str] = []
    code, tail = debian.run_reporting(["sh", "-c", "seq 30; echo oops >&2; exit 3"], lines.append)
    assert code == 3
    assert len(lines) == 31
    assert tail == lines[-debian.TAIL_LINES :]


def test_failed_installation_says_what_apt_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has apt's last lines and the command to run by hand."""
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho E: no such package; exit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EngineError, match="E: no such package") as caught:
        debian.apt_install(["nonesuch"], lambda line: None)
    assert "apt-get install -y --no-install-recommends nonesuch" in str(caught.value)


def test_crun_that_is_there_is_left_alone(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it comes from; nothing is asked of the packages."""
    program = tmp_path / "crun"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    lines: list[str] = []
    host.ensure_runtime(lines.append, places)
    assert lines == []


def test_where_crun_cannot_be_installed_set_up_goes_on(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what would help, once."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "SYSTEM_PATH", str(tmp_path))
    places.os_release.write_text("ID=fedora\n")
    lines: list[str] = []
    host.ensure_runtime(lines.append, places)
    (line,) = lines
    assert "crun is not installed" in line
