"""`executor token create|list|delete`, on a running service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from executor.cli.client import Client
from executor.cli.screen import out, step
from executor.settings import load
from executor.workspace.tokens import Right

app = typer.Typer(help="Tokens: who may call, what they may do, where, until when.", no_args_is_help=True)
Days = Annotated[
    float | None, typer.Option("--days", min=0.0001, help="how long it holds; default: for ever")
]


@app.command("create")
def create(
    label: Annotated[str, typer.Argument(help="what it is for")],
    right: Annotated[Right, typer.Option(help="each includes those before it")] = Right.RUN,
    workspace: Annotated[str | None, typer.Option(help="the one it is for; default: all")] = None,
    user: Annotated[str | None, typer.Option(help="whose it is; default: the caller's")] = None,
    days: Days = None,
) -> None:
    """Make a token and print it. It is not shown again: the service keeps a hash."""
    body: dict[str, Any] = {"label": label, "right": right.value, "workspace_id": workspace, "user": user}
    if days is not None:
        body["expiration"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    print(Client.of(load()).call("POST", "/api/users/tokens/create", body).text)


@app.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False) -> None:
    """List the tokens, by their beginnings."""
    found = Client.of(load()).call("GET", "/api/users/tokens/list").json()
    if as_json:
        print(json.dumps(found))
        return
    table = Table("begins with", "label", "user", "right", "workspaces", "until", "last used")
    for token in found:
        where = ", ".join(token["workspaces"]) if token["workspaces"] is not None else "all"
        shown = (token["token_prefix"], token["label"], token["user"], token["right"], where)
        table.add_row(*shown, token["expiration"] or "for ever", token["last_used_at"] or "never")
    out.print(table)


@app.command("delete")
def delete(prefix: Annotated[str, typer.Argument(help="as `token list` shows it")]) -> None:
    """End a token at once."""
    Client.of(load()).call("DELETE", f"/api/users/tokens/delete/{quote(prefix, safe='')}")
    step(f"the token {prefix}… holds no more")
