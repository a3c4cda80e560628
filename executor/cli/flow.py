"""`executor flow run FILE`: one flow, from JSON or YAML, on a service of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from executor.cli.client import Client
from executor.cli.flowtree import FlowTree
from executor.cli.ownservice import own_service
from executor.cli.run import arguments, reach_from
from executor.cli.screen import err, fail
from executor.errors import BadInput
from executor.flows.files import read_flow_file

app = typer.Typer(help="Flows.", no_args_is_help=True)
LOOK_S = 0.15
JOBS = "/api/w/main/jobs_u"


@app.command("run")
def run(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON or YAML")],
    arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; VALUE is JSON, else text")] = None,
    args: Annotated[Path | None, typer.Option(help="a JSON file of arguments")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="CIDR[:PORT,…] that languages with network may reach")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the whole job as JSON")] = False,
) -> None:
    """Run a flow: its progress is shown as a tree on stderr, its result printed as JSON to stdout.

    Exit code: 0 success, 1 the flow failed, 2 wrong usage or a wrong flow, 130 cancelled.
    """
    try:
        document = read_flow_file(file)
        given = arguments(args, arg or [])
        reach = [reach_from(text) for text in allow or []]
    except BadInput as error:
        fail(error.detail, 2)
    body = {"value": document.value, "args": given, "path": f"u/admin/{file.stem}"}
    if document.schema is not None:
        body["schema"] = document.schema
    with (
        tempfile.TemporaryDirectory(prefix="executor-flow-") as folder,
        own_service(Path(folder), reach) as client,
    ):
        job = follow(client, submitted(client, body), document.summary or file.name)
    print(json.dumps(job if as_json else job["result"], ensure_ascii=False))
    sys.exit(0 if job["success"] else 130 if job["status"] == "canceled" else 1)


def submitted(client: Client, body: dict[str, Any]) -> str:
    """Hand the flow in; its job's id. A wrong flow ends the command, naming the place."""
    response = client.call("POST", "/api/w/main/jobs/run/preview_flow", body, refusals=False)
    if response.status_code >= 400:
        problem = response.json()
        remedy = f" ({problem['remedy']})" if problem.get("remedy") else ""
        fail(f"{problem['detail']}{remedy}", 2)
    return response.text


def follow(client: Client, job_id: str, title: str) -> dict[str, Any]:
    """Show a run until it has ended; Ctrl-C cancels it."""
    tree = FlowTree(client)
    with Live(console=err, refresh_per_second=10, transient=False) as live:
        while True:
            try:
                job: dict[str, Any] = client.call("GET", f"{JOBS}/get/{job_id}?no_logs=true").json()
                live.update(tree.draw(job, title))
                if job["type"] == "CompletedJob":
                    return job
                time.sleep(LOOK_S)
            except KeyboardInterrupt:
                client.call("POST", f"{JOBS}/queue/cancel/{job_id}", {"reason": "Ctrl-C"})
