"""`executor workspace create|policy|list|get`, on a running service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from executor.cli.client import Client
from executor.cli.screen import fail, out, step
from executor.settings import load

app = typer.Typer(help="Workspaces of a running service, and their policies.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="for machines")]


@app.command("create")
def create(
    workspace_id: Annotated[str, typer.Argument(metavar="ID")],
    name: Annotated[str | None, typer.Option(help="for people; default: the id")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="a JSON file: networks, images, limits, concurrency, validate_args")
    ] = None,
) -> None:
    """Make a workspace."""
    body: dict[str, Any] = {"id": workspace_id, "name": name}
    if policy is not None:
        body["policy"] = _policy(policy)
    Client.of(load()).call("POST", "/api/workspaces/create", body)
    step(f"workspace {workspace_id} is there")


@app.command("policy")
def set_policy(
    workspace_id: Annotated[str, typer.Argument(metavar="ID")],
    file: Annotated[Path, typer.Argument(help="a JSON file: networks, images, limits, concurrency")],
) -> None:
    """Give a workspace another policy; what jobs may reach changes for running ones too."""
    path = f"/api/workspaces/set_policy/{quote(workspace_id, safe='')}"
    Client.of(load()).call("POST", path, {"policy": _policy(file)})
    step(f"workspace {workspace_id} has this policy now")


def _policy(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"policy {file}: {error}", 2)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the workspaces."""
    found = Client.of(load()).call("GET", "/api/workspaces/list").json()
    if as_json:
        print(json.dumps(found))
        return
    table = Table("id", "name", "policy")
    for workspace in found:
        table.add_row(workspace["id"], workspace["name"], json.dumps(workspace["policy"]))
    out.print(table)


@app.command("get")
def get(workspace_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Print a workspace as JSON."""
    path = f"/api/workspaces/get/{quote(workspace_id, safe='')}"
    print(json.dumps(Client.of(load()).call("GET", path).json(), indent=2))
