"""A real service in a process of its own, with real containers, as an operator runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import httpx

from executor.sandbox.engine import LABEL
from executor.sandbox.oci.engine import left_by

TOKEN = "acceptance-token"
SERVE = [sys.executable, "-m", "executor", "serve"]
READY_S = 60
STOP_S = 60


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RealService:
    """`executor serve` on a data directory; may be killed and started again."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=120,
            trust_env=False,
            limits=httpx.Limits(max_connections=200),
        )

    @property
    def instance(self) -> str:
        """The label's value of this service's containers."""
        return (self.folder / "instance").read_text("utf-8").strip()

    @property
    def environment(self) -> dict[str, str]:
        """What the process is started with."""
        return {
            **os.environ,
            "EXECUTOR_DATA_DIR": str(self.folder),
            "EXECUTOR_PORT": str(self.port),
            "EXECUTOR_TOKEN": TOKEN,
            "EXECUTOR_LOG_LEVEL": "warning",
            "EXECUTOR_POOL_MAX": "0",  # else containers are left after the last job, as they should be
            "X_SECRET": "of-the-service",
            **self.settings,
        }

    @property
    def log_file(self) -> Path:
        """Where the process writes."""
        return self.folder.parent / "serve.log"

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(SERVE, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        said = ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError("the service did not start: " + self.log()[-2000:])
            with suppress(httpx.TransportError):
                response = self.http.get("/ready")
                if response.status_code == 200:
                    return
                said = response.text  # an engine with much to do may answer later
            time.sleep(0.05)
        raise AssertionError(f"the service did not become ready: {said}\n{self.log()[-2000:]}")

    def log(self) -> str:
        """What the service has written so far."""
        return self.log_file.read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for the process to be gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(STOP_S)

    def stop(self) -> None:
        """SIGTERM, and wait; the process must end by itself."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            self.process.wait(STOP_S)

    def close(self) -> None:
        """Stop the process and let go of the connections to it."""
        try:
            self.stop()
        finally:
            self.http.close()

    # ------------------------------------------------------------ jobs

    def submit(self, language: str, content: str, args: dict[str, Any] | None = None, **more: Any) -> str:
        """Post a script; give its job's id."""
        query = more.pop("query", {})
        body = {"language": language, "content": content, "args": args or {}, **more}
        response = self.http.post("/api/w/main/jobs/run/preview", json=body, params=query)
        assert response.status_code == 201, response.text
        return response.text

    def maybe(self, job_id: str) -> dict[str, Any]:
        """The job's result, if it has one."""
        found: dict[str, Any] = self.http.get(
            f"/api/w/main/jobs_u/completed/get_result_maybe/{job_id}"
        ).json()
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        response = self.http.get(f"/api/w/main/jobs_u/get/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ended(self, job_id: str, timeout_s: float = 120) -> dict[str, Any]:
        """The job once it is completed."""
        deadline = time.monotonic() + timeout_s
        while not self.maybe(job_id)["completed"]:
            assert time.monotonic() < deadline, f"job {job_id} has not ended after {timeout_s} s"
            time.sleep(0.02)
        return self.job(job_id)

    def running(self, job_id: str, timeout_s: float = 60) -> None:
        """Wait until the job's script has written its first line."""
        deadline = time.monotonic() + timeout_s
        while not self.http.get(f"/api/w/main/jobs_u/get_logs/{job_id}").text:
            assert time.monotonic() < deadline, f"job {job_id} does not run after {timeout_s} s"
            time.sleep(0.02)

    # ------------------------------------------------------------ what is left

    def containers(self) -> list[str]:
        """Names of all containers of this service on any engine, running or not."""
        client = docker.from_env(environment={**os.environ, **self.settings})
        try:
            found = client.api.containers(all=True, filters={"label": f"{LABEL}={self.instance}"})
            names = [container["Names"][0] for container in found]
            return names + [f"/{seen.name}" for seen in left_by(self.instance)]
        finally:
            client.close()

    def container_of(self, job_id: str, timeout_s: float = 10) -> str:
        """The name of the container that the job's script runs in, which is noted a moment after it starts."""
        deadline = time.monotonic() + timeout_s
        while (sandbox := self.job(job_id)["sandbox"]) is None:
            assert time.monotonic() < deadline, f"job {job_id} runs nowhere"
            time.sleep(0.02)
        name: str = sandbox["container"]
        return name

    def await_no_containers(self, timeout_s: float = 5) -> None:
        """Nothing may be left `timeout_s` after the last job."""
        deadline = time.monotonic() + timeout_s
        while (left := self.containers() + self.folders()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []

    def folders(self) -> list[str]:
        """Names of the containers' own directories; one goes just after its container."""
        return [folder.name for folder in (self.folder / "containers").iterdir()]


def processes_with(marker: str) -> list[str]:
    """Command lines of this host's processes that hold the marker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = (path.parent / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marker in line and state not in ("Z", "X") and path.parent.name != str(os.getpid()):
            found.append(line)
    return found
