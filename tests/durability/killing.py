"""A child process that serves, and is killed when the test likes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.service import TOKEN

ROOT = Path(__file__).parents[2]


class Child:
    """A service on `folder`; leaving the `with` block kills it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "tests.durability.child", str(folder), str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )

    def __enter__(self) -> Child:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert self.process.poll() is None, "the child did not start"
            try:
                if self.http.get("/health").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the child does not answer")

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end(signal.SIGKILL)
        self.http.close()

    def end(self, how: signal.Signals) -> int:
        """Signal the child, wait for its end, give its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(20)

    def submit(self, *steps: dict[str, Any], **query: Any) -> str | None:
        """The job's id once it is accepted; None if the child died before it said so."""
        body = {"language": "bash", "content": json.dumps(steps)}
        try:
            response = self.http.post("/api/w/main/jobs/run/preview", json=body, params=query)
        except httpx.TransportError:
            return None
        assert response.status_code == 201, response.text
        return response.text

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        response = self.http.get(f"/api/w/main/jobs_u/get/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ended(self, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """The job once it is completed."""
        until = time.monotonic() + timeout_s
        while (job := self.job(job_id))["type"] != "CompletedJob":
            assert time.monotonic() < until, job
            time.sleep(0.02)
        return job

    def until_running(self, job_id: str) -> None:
        """Wait until the job's script runs."""
        while self.job(job_id).get("sandbox") is None:
            time.sleep(0.01)
