"""`executor demo`: the main job, shown: one script in each language over HTTP, on a service of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

from executor.cli.client import Client
from executor.cli.screen import fail, out, step

READY_S = 60
STOP_S = 45
ARGS = {"name": "Ada", "numbers": [3, 1, 2]}


@dataclass(frozen=True)
class Example:
    """A script of the demonstration."""

    language: str
    lexer: str
    content: str


EXAMPLES = (
    Example(
        "python3",
        "python",
        """import platform, statistics

def main(name: str, numbers: list):
    print(f"hello {name}, this is Python {platform.python_version()}")
    return {"mean": statistics.mean(numbers), "sorted": sorted(numbers)}
""",
    ),
    Example(
        "deno",
        "typescript",
        """export async function main(name: string, numbers: number[]) {
  console.log(`hello ${name}, this is Deno ${Deno.version.deno}`);
  const sum = numbers.reduce((a, b) => a + b);
  return { sum, reversed: numbers.toReversed() };
}
""",
    ),
    Example(
        "go",
        "go",
        """package inner

import (
	"fmt"
	"runtime"
	"slices"
)

type Summary struct {
	Max    int   `json:"max"`
	Sorted []int `json:"sorted"`
}

func main(name string, numbers []int) (Summary, error) {
	fmt.Printf("hello %s, this is %s, compiled for this job\\n", name, runtime.Version())
	slices.Sort(numbers)
	return Summary{slices.Max(numbers), numbers}, nil
}
""",
    ),
    Example(
        "bash",
        "bash",
        """name="$1"
numbers="$2"
echo "hello $name, this is Bash $BASH_VERSION"
first=$(jq '.[0]' <<< "$numbers")
echo "{\\"first\\": $first, \\"user\\": $(id -u)}" > result.json
""",
    ),
)


def demo() -> None:
    """Start a service, run one script in each language over HTTP, show what happened, stop it."""
    with tempfile.TemporaryDirectory(prefix="executor-demo-") as folder, _service(Path(folder)) as client:
        failed = [example.language for example in EXAMPLES if not _show(client, example)]
        step("stopping the service")
    if failed:
        fail(f"not as it should be: {', '.join(failed)}", 1)


@contextmanager
def _service(folder: Path) -> Iterator[Client]:
    """A service on a free port with a data directory of its own."""
    port = _free_port()
    settings = {"EXECUTOR_PORT": str(port), "EXECUTOR_DATA_DIR": str(folder), "EXECUTOR_HOST": "127.0.0.1"}
    environment = {**os.environ, **settings, "EXECUTOR_LOG_LEVEL": "warning"}
    environment.pop("EXECUTOR_TOKEN", None)
    step(f"starting the service on http://127.0.0.1:{port}")
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "executor", "serve"], env=environment, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        yield _ready(process, port, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


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


def _show(client: Client, example: Example) -> bool:
    """Run one example and print what went in and what came out; whether it worked."""
    out.print()
    out.print(
        Panel(
            Syntax(example.content.rstrip(), example.lexer),
            title=example.language,
            expand=False,
        )
    )
    body = {"language": example.language, "content": example.content, "args": ARGS}
    began = time.monotonic()
    job_id = client.call("POST", "/api/w/main/jobs/run/preview", body).text
    while not client.call("GET", f"/api/w/main/jobs_u/completed/get_result_maybe/{job_id}").json()[
        "completed"
    ]:
        time.sleep(0.01)
    took = time.monotonic() - began
    job = client.call("GET", f"/api/w/main/jobs_u/get/{job_id}").json()
    out.print(_account(job, took))
    return bool(job["success"])


def _account(job: dict[str, Any], took: float) -> Table:
    sandbox = job["sandbox"] or {}
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="dim", justify="right")
    table.add_column()
    table.add_row("args", json.dumps(job["args"]))
    table.add_row("log", job["logs"].rstrip())
    table.add_row("[bold]result[/]" if job["success"] else "[bold red]failed[/]", json.dumps(job["result"]))
    table.add_row("time", f"{took * 1000:.0f} ms from request to result, making the container included")
    table.add_row("container", f"{sandbox.get('container')}, made for this job and gone")
    table.add_row(
        "isolation",
        f"{sandbox.get('engine')} ({sandbox.get('runtime')}), image {sandbox.get('image')}, "
        f"user {sandbox.get('user')}, capabilities {', '.join(sandbox.get('capabilities', [])) or 'none'}, "
        f"root {'read-only' if sandbox.get('read_only_root') else 'writable'}, network {sandbox.get('network')}",
    )
    table.add_row(
        "limits",
        f"{sandbox.get('memory_mb')} MiB memory, {sandbox.get('cpus'):g} CPU, {sandbox.get('pids')} processes, "
        f"{job['limits']['timeout_s']:g} s",
    )
    return table
