"""`executor flow run FILE`: one flow, from JSON or YAML, on a service of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from executor.cli.client import Client
from executor.cli.flowtree import FlowTree
from executor.cli.ownservice import own_service
from executor.cli.run import arguments, reach_from
from executor.cli.screen import err, fail, step
from executor.errors import BadInput
from executor.flows.document import FlowLimits, read_flow, with_ids
from executor.flows.files import FlowFile, read_flow_file
from executor.runtimes import scan
from executor.settings import load

app = typer.Typer(help="OpenFlow documents: run one here, without a service.", no_args_is_help=True)
LOOK_S = 0.15
MAIN = "/api/w/main"


@app.command("run")
def run(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON or YAML")],
    arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; VALUE is JSON, else text")] = None,
    args: Annotated[Path | None, typer.Option(help="a JSON file of arguments")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="CIDR[:PORT,…] that languages with network may reach")
    ] = None,
    logs: Annotated[
        bool, typer.Option("--logs", help="print the steps' logs to stderr as they come")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the whole job as JSON")] = False,
) -> None:
    """Run a flow: its progress is shown as a tree on stderr, its result printed as JSON to stdout.

    Where it waits for an approval, the link to the approval's page is shown. Ctrl-C cancels it. Steps that
    name stored scripts or flows need a service that has them (POST /api/w/main/jobs/run/f/PATH).

    Exit code: 0 success, 1 the flow failed, 2 wrong usage or a wrong flow, 130 cancelled.
    """
    try:
        document = _checked(read_flow_file(file))
        given = arguments(args, arg or [])
        reach = [reach_from(text) for text in allow or []]
    except BadInput as error:
        fail(explained(error.detail, error.remedy), 2)
    body = {"value": document.value, "args": given, "path": f"u/admin/{file.stem}"}
    if document.schema is not None:
        body["schema"] = document.schema
    with (
        tempfile.TemporaryDirectory(prefix="executor-flow-") as folder,
        own_service(Path(folder), reach) as client,
    ):
        job = follow(client, submitted(client, body), document.summary or file.name, logs=logs)
    print(json.dumps(job if as_json else job["result"], ensure_ascii=False))
    sys.exit(0 if job["success"] else 130 if job["status"] == "canceled" else 1)


def _checked(document: FlowFile) -> FlowFile:
    """The flow, if it is one: what is wrong with it is said before anything is started. Raises BadInput."""
    settings = load()
    runtimes = scan(settings.runtimes)
    read_flow(
        with_ids(document.value),
        languages=runtimes.canonical,
        limits=FlowLimits.of(settings),
        supported=runtimes.names(),
    )
    return document


def explained(detail: str, remedy: str | None) -> str:
    """A complaint with what to do."""
    return f"{detail} ({remedy})" if remedy else detail


def submitted(client: Client, body: dict[str, Any]) -> str:
    """Hand the flow in; its job's id. A wrong flow ends the command, naming the place."""
    response = client.call("POST", f"{MAIN}/jobs/run/preview_flow", body, refusals=False)
    if response.status_code >= 400:
        problem = response.json()
        fail(explained(problem["detail"], problem.get("remedy")), 2)
    return response.text


def follow(client: Client, job_id: str, title: str, *, logs: bool = False) -> dict[str, Any]:
    """Show a run until it has ended; Ctrl-C cancels it."""
    telling = Telling(client, job_id, logs=logs)
    tree = FlowTree(client)
    with drawing() as live:
        while True:
            try:
                job: dict[str, Any] = client.call("GET", f"{MAIN}/jobs_u/get/{job_id}?no_logs=true").json()
                telling.tell(job)
                live.update(tree.draw(job, title))
                telling.ask(tree.gates)
                if job["type"] == "CompletedJob":
                    return job
                time.sleep(LOOK_S)
            except KeyboardInterrupt:
                step("cancelling the flow")
                client.call("POST", f"{MAIN}/jobs_u/queue/cancel/{job_id}", {"reason": "Ctrl-C"})


@contextmanager
def drawing() -> Iterator[Live]:
    """A picture that changes in a terminal; elsewhere it is printed once, and Rich forgets to end its last line."""
    try:
        with Live(console=err, refresh_per_second=10, transient=False) as live:
            yield live
    finally:
        if not err.is_terminal:
            err.line()


class Telling:
    """What is said once, above the tree: whom the flow waits for, and what its steps log."""

    def __init__(self, client: Client, job_id: str, *, logs: bool) -> None:
        self._client = client
        self._job_id = job_id
        self._logs = logs
        self._offset = 0
        self._rest = ""
        self._asked: set[tuple[str, int]] = set()

    def tell(self, job: dict[str, Any]) -> None:
        """Print the log from where it was left; all that there is of a run that has ended."""
        while self._logs:
            update = self._client.call(
                "GET", f"{MAIN}/jobs_u/getupdate/{self._job_id}?log_offset={self._offset}"
            ).json()
            self._offset = update["log_offset"]
            has_ended = job["type"] == "CompletedJob" and not update["new_logs"]
            lines, _, self._rest = (self._rest + update["new_logs"]).rpartition("\n")
            for text in filter(None, (lines, self._rest if has_ended else "")):
                err.print(text, markup=False)  # whole lines: the tree is drawn below
            if has_ended or job["type"] != "CompletedJob":
                return

    def ask(self, gates: dict[str, tuple[str, int]]) -> None:
        """Print a link for each approval that is missing: a step's job, its name, and how many it waits for."""
        for job_id, (name, missing) in gates.items():
            if (job_id, missing) in self._asked:
                continue
            self._asked.add((job_id, missing))
            urls = self._client.call("GET", f"{MAIN}/jobs/resume_urls/{job_id}/{missing}").json()
            more = f" (the first of {missing})" if missing > 1 else ""
            step(f"step {name} waits for an approval{more}: {urls['approvalPage']}")
