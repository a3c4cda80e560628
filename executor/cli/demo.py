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
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

from executor.cli.client import Client
from executor.cli.examples import ARGS, content_of
from executor.cli.screen import fail, out, step
from executor.reach import Reach
from executor.runtimes import Runtimes, scan
from executor.settings import Settings, load

READY_S = 60
STOP_S = 45


@dataclass(frozen=True)
class Example:
    """A script of the demonstration, and the database that it asks, if any."""

    language: str
    file: Path
    content: str
    database: dict[str, Any] | None


def demo(
    connection: Annotated[
        list[str] | None,
        typer.Option(help="LANGUAGE=FILE: a JSON file with the connection of a database for this language"),
    ] = None,
) -> None:
    """Start a service, run one script in each language over HTTP, show what happened, stop it."""
    settings = load()
    connections = dict(_connection(text) for text in connection or [])
    examples, missing = _examples(settings, scan(settings.runtimes), connections)
    with (
        tempfile.TemporaryDirectory(prefix="executor-demo-") as folder,
        _service(Path(folder), connections) as client,
    ):
        failed = [example.language for example in examples if not _show(client, example)]
        step("stopping the service")
    for language in missing:
        step(f"{language} was not shown: give it a database with --connection {language}=FILE")
    if failed:
        fail(f"not as it should be: {', '.join(failed)}", 1)


def _connection(text: str) -> tuple[str, dict[str, Any]]:
    language, equals, name = text.partition("=")
    try:
        found = json.loads(Path(name).read_bytes())
    except (OSError, ValueError) as error:
        fail(f"--connection {text!r}: {error}", 2)
    if not equals or not isinstance(found, dict) or not {"host", "port"} <= found.keys():
        fail(f"--connection {text!r}: write LANGUAGE=FILE; the file holds an object with host and port", 2)
    return language, found


def _examples(
    settings: Settings, runtimes: Runtimes, connections: dict[str, dict[str, Any]]
) -> tuple[list[Example], list[str]]:
    """Each language's own example; and the languages that cannot show theirs without a database."""
    examples, missing = [], []
    for runtime in runtimes:
        if runtime.example is None:
            continue
        if runtime.manifest.needs_server and runtime.name not in connections:
            missing.append(runtime.name)
            continue
        content, database = content_of(runtime, settings), connections.get(runtime.name)
        examples.append(Example(runtime.name, runtime.example, content, database))
    return examples, missing


@contextmanager
def _service(folder: Path, connections: dict[str, dict[str, Any]]) -> Iterator[Client]:
    """A service on a free port with a data directory of its own, whose jobs reach these databases."""
    port = _free_port()
    settings = {"EXECUTOR_PORT": str(port), "EXECUTOR_DATA_DIR": str(folder), "EXECUTOR_HOST": "127.0.0.1"}
    opened = [str(Reach(f"{to['host']}/32", (int(to["port"]),))) for to in connections.values()]
    settings["EXECUTOR_NETWORKS"] = " ".join(opened)
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
            Syntax(example.content.rstrip(), Syntax.guess_lexer(example.file.name)),
            title=example.language,
            expand=False,
        )
    )
    args = ARGS if example.database is None else {**ARGS, "database": example.database}
    body = {"language": example.language, "content": example.content, "args": args}
    began = time.monotonic()
    job_id = client.call("POST", "/api/w/main/jobs/run/preview", body).text
    while not client.call("GET", f"/api/w/main/jobs_u/completed/get_result_maybe/{job_id}").json()[
        "completed"
    ]:
        time.sleep(0.01)
    took = time.monotonic() - began
    job = client.call("GET", f"/api/w/main/jobs_u/get/{job_id}").json()
    out.print(_account(job, took, with_database=example.database is not None))
    return bool(job["success"])


def _account(job: dict[str, Any], took: float, *, with_database: bool) -> Table:
    sandbox = job["sandbox"] or {}
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="dim", justify="right")
    table.add_column()
    hidden = {"database": "…"} if with_database else {}
    table.add_row("args", json.dumps({**job["args"], **hidden}, ensure_ascii=False))
    if job["logs"].strip():
        table.add_row("log", job["logs"].rstrip())
    table.add_row("[bold]result[/]" if job["success"] else "[bold red]failed[/]", json.dumps(job["result"]))
    table.add_row("time", f"{took * 1000:.0f} ms from request to result, making the container included")
    table.add_row("container", f"{sandbox.get('container')}, made for this job and gone")
    table.add_row(
        "isolation",
        f"{sandbox.get('engine')} ({sandbox.get('runtime')}), image {sandbox.get('image')}, "
        f"user {sandbox.get('user')}, capabilities {', '.join(sandbox.get('capabilities', [])) or 'none'}, "
        f"root {'read-only' if sandbox.get('read_only_root') else 'writable'}, network {_network(sandbox)}",
    )
    table.add_row(
        "limits",
        f"{sandbox.get('memory_mb')} MiB memory, {sandbox.get('cpus'):g} CPU, {sandbox.get('pids')} processes, "
        f"{job['limits']['timeout_s']:g} s",
    )
    return table


def _network(sandbox: dict[str, Any]) -> str:
    reach = sandbox.get("reach")
    return f"only to {' '.join(reach)}" if reach else str(sandbox.get("network"))
