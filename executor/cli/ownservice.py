"""A service of a command's own, which lives as long as the command needs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from executor.cli.client import Client
from executor.cli.screen import fail, step
from executor.reach import Reach

READY_S = 60
STOP_S = 45


@contextmanager
def own_service(folder: Path, reach: Sequence[Reach] = ()) -> Iterator[Client]:
    """A service on a free port with the data directory `folder`, whose jobs may reach these networks."""
    port = _free_port()
    settings = {"EXECUTOR_PORT": str(port), "EXECUTOR_DATA_DIR": str(folder), "EXECUTOR_HOST": "127.0.0.1"}
    if reach:
        settings["EXECUTOR_NETWORKS"] = " ".join(map(str, reach))
    environment = {**os.environ, **settings, "EXECUTOR_LOG_LEVEL": "warning", "EXECUTOR_DRAIN_S": "1"}
    for name in ("EXECUTOR_TOKEN", "EXECUTOR_DATABASE_URL"):  # it has its own
        environment.pop(name, None)
    step(f"starting the service on http://127.0.0.1:{port}")
    with _signals_end_us(), (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "executor", "serve"],
            env=environment,
            stderr=log,
            stdin=subprocess.DEVNULL,
            process_group=0,  # a Ctrl-C in the terminal is for the command, which may still need the service
        )
        try:
            yield _ready(process, port, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _signals_end_us() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as errors do, so that the service ends with it."""

    def leave(number: int, _: Any) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> Client:
    """A client once the service is ready."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            listening = probe.connect_ex(("127.0.0.1", port)) == 0
        if listening:
            client = Client(f"http://127.0.0.1:{port}", (folder / "token").read_text("utf-8").strip())
            response = client.call("GET", "/ready", refusals=False)
            if response.status_code == 200:
                return client
            wrong = [check["detail"] for check in response.json()["checks"] if not check["ok"]]
            fail("the service is not ready: " + "; ".join(wrong), 1)
        time.sleep(0.05)
    fail("the service did not start:\n" + (folder / "serve.log").read_text("utf-8", "replace")[-2000:], 1)
