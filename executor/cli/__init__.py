"""The `executor` command. Exit codes: 0 it worked, 1 it did not, 2 wrong usage or settings."""

from __future__ import annotations

import sys

import typer

from executor import __version__, telemetry
from executor.cli import demo, doctor, flow, images, run, serve, token, workspace
from executor.cli.screen import fail
from executor.errors import ConfigurationError, ExecutorError

app = typer.Typer(
    name="executor",
    help="Runs scripts and flows, each script in its own fresh, hardened container.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("run")(run.run)
app.command("setup")(images.setup)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("migrate")(serve.migrate_database)
app.add_typer(flow.app, name="flow")
app.add_typer(images.app, name="images")
app.add_typer(token.app, name="token")
app.add_typer(workspace.app, name="workspace")


@app.command("version")
def version() -> None:
    """Print this version."""
    print(f"executor {__version__}")


def main() -> None:
    """Run the command; our own errors become one clear message and an exit code."""
    telemetry.configure("warning")  # on stderr: what a command prints may be for machines
    try:
        app()
    except ConfigurationError as error:
        fail(str(error), 2)
    except ExecutorError as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)
