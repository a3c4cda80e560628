"""`executor demo`: the main job, shown: one script in each language over HTTP, and a flow."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

from executor.cli.client import Client
from executor.cli.examples import ARGS, content_of
from executor.cli.flow import follow, submitted
from executor.cli.ownservice import own_service
from executor.cli.screen import fail, out, step
from executor.flows.files import read_flow_file
from executor.reach import Reach
from executor.runtimes import Runtimes, scan
from executor.settings import Settings, load

FLOW = Path(__file__).with_name("demo_flow.yaml")
FLOW_ARGS = {"count": 4}


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
    """Start a service, run a script in each language and a flow of several, show what happened, stop it."""
    settings = load()
    connections = dict(_connection(text) for text in connection or [])
    examples, missing = _examples(settings, scan(settings.runtimes), connections)
    with (
        tempfile.TemporaryDirectory(prefix="executor-demo-") as folder,
        own_service(Path(folder), reach_of(connections)) as client,
    ):
        failed = [example.language for example in examples if not _show(client, example)]
        if not _show_flow(client):
            failed.append("the flow")
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


def reach_of(connections: dict[str, dict[str, Any]]) -> list[Reach]:
    """What jobs must reach to talk to these databases."""
    return [Reach(f"{to['host']}/32", (int(to["port"]),)) for to in connections.values()]


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


def _show_flow(client: Client) -> bool:
    """Run a flow of several languages, print it and what became of it; whether it worked."""
    text = FLOW.read_text("utf-8")
    out.print()
    out.print(Panel(Syntax(text.rstrip(), "yaml"), title="a flow", expand=False))
    document = read_flow_file(FLOW)
    job = follow(client, submitted(client, {"value": document.value, "args": FLOW_ARGS}), document.summary)
    out.print(f"[bold]result[/] {json.dumps(job['result'])}")
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
