"""A Docker engine of a test's own, which may be stopped, killed and filled up: never the machine's.

It lives in a network namespace of its own, where it can neither see nor change the machine's rules,
with its files on a small disk. Everything about it is found again by its names and taken away at the end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import DockerException

from executor.sandbox import kernel
from executor.sandbox.oci.cgroups import Cgroups
from executor.sandbox.oci.engine import MOUNTS, RUN
from tests.faults.places import run, small_disk

START_S = 60
DISK_MIB = 1024


class SecondEngine:
    """A dockerd on `disk`, whose socket, state and pid file are in `folder`."""

    def __init__(self, folder: Path, disk: Path, namespace: str) -> None:
        self.disk = disk
        self.address = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._kill("containerd.toml")
        for left in (
            "docker.pid",
            "exec/containerd/containerd.pid",
        ):  # of one that was killed: it may be reused
            (self._folder / left).unlink(missing_ok=True)
        command = [
            *(
                "nsenter",
                f"--net=/run/netns/{self._namespace}",
                "dockerd",
                "--bridge=none",
                "--iptables=false",
            ),
            *("--data-root", str(self.disk / "docker"), "--exec-root", str(self._folder / "exec")),
            *("--host", self.address, "--pidfile", str(self._folder / "docker.pid")),
            *("--storage-driver", "overlay2", "--cgroup-parent", f"/{self._namespace}"),
        ]
        with (self._folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_S
        while not self.answers():
            told = (self._folder / "dockerd.log").read_text("utf-8", "replace")[-2000:]
            assert self._process.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether it is there."""
        with socket.socket(socket.AF_UNIX) as probe:  # the SDK leaks one with each try on a dead file
            if probe.connect_ex(self.address.removeprefix("unix://")) != 0:
                return False
        try:
            client = docker.DockerClient(base_url=self.address, timeout=5)
            try:
                return bool(client.ping())
            finally:
                client.close()
        except (DockerException, OSError):
            return False

    def end(self, how: signal.Signals) -> None:
        """Stop it, or kill it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)
        if how is signal.SIGKILL:  # as an init system does, which kills the whole unit
            self._kill("containerd.toml")

    def load(self, image: str, tag: str) -> None:
        """Give it an image that the machine's engine has, under this tag."""
        ours = ["docker", "--host", self.address]
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            load = [*ours, "load", "--quiet"]
            subprocess.run(load, stdin=saving.stdout, check=True, capture_output=True, timeout=120)
        run(*ours, "tag", image, tag)

    def clear(self) -> None:
        """End it and all that it has started: its containerd, what that runs, its mounts."""
        self.end(signal.SIGTERM)
        self._kill("")
        let_go_of_layers(self.disk)
        for line in reversed(Path("/proc/self/mountinfo").read_text("utf-8").splitlines()):
            place = line.split()[4]
            if place.startswith(f"{self._folder}/") and place != str(self.disk):
                run("umount", "--lazy", place)
        for tree in Cgroups.of().trees:
            groups = [path for path in (tree / self._namespace).rglob("*") if path.is_dir()]
            for group in [*sorted(groups, reverse=True), tree / self._namespace]:
                with suppress(OSError):
                    group.rmdir()

    def _kill(self, word: str) -> None:
        """Kill the processes whose command line names our folder and the word: containerd, containers' parents."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (process / "cmdline").read_bytes().decode("utf-8", "replace")
                if f"{self._folder}/exec" in line and word in line and int(process.name) != os.getpid():
                    os.kill(int(process.name), signal.SIGKILL)


def let_go_of_layers(disk: Path) -> None:
    """Unmount the images' trees that the oci engine has made of layers on this disk."""
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        place = Path(line.split()[4])
        if place.parent == RUN / MOUNTS and f"{disk}/" in line:
            kernel.unmount(place)
            place.rmdir()
            for note in place.parent.glob(f"{place.name}.*"):
                note.unlink()


@contextmanager
def second_engine(folder: Path) -> Iterator[SecondEngine]:
    """A second engine that runs, without images."""
    namespace = f"exec-test-{uuid.uuid4().hex[:8]}"
    with small_disk(folder, DISK_MIB) as disk:
        run("ip", "netns", "add", namespace)
        try:
            engine = SecondEngine(folder, disk, namespace)
            try:
                engine.start()
                yield engine
            finally:
                engine.clear()
        finally:
            run("ip", "netns", "delete", namespace)
