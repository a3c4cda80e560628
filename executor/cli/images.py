"""`executor setup`, `executor images build|list`."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from executor.cli.screen import err, out, step
from executor.errors import ConfigurationError
from executor.host import ensure_engine, ensure_runtime
from executor.runtimes import scan
from executor.sandbox.images import Images
from executor.sandbox.images import Progress as BuildProgress
from executor.settings import Settings, load

app = typer.Typer(help="The language images of this instance.", no_args_is_help=True)


def setup() -> None:
    """Get this machine ready: a Docker engine that runs, and every image."""
    settings = load()
    info = ensure_engine(step)
    step(f"Docker engine {info.version} answers at {info.address}")
    if settings.engine != "docker":
        ensure_runtime(step)
    build_missing(settings, None)


def build_missing(settings: Settings, only: list[str] | None, *, fresh: bool = False) -> None:
    """Build what is missing, with a progress bar on a terminal and lines elsewhere."""
    with closing(Images(settings.base_image, scan(settings.runtimes))) as images:
        built = _with_bar(images, only, fresh) if err.is_terminal else _with_lines(images, only, fresh)
    step(f"built {len(built)} images" if built else "all images are there")


def _with_lines(images: Images, only: list[str] | None, fresh: bool) -> list[str]:
    def report(progress: BuildProgress) -> None:
        if progress.is_done:
            step(f"image {progress.number} of {progress.total}: {progress.line}")
        elif progress.number == 0 or progress.line.startswith("Step "):
            step(f"{progress.image}: {progress.line}")

    return images.build(only, report, fresh=fresh)


def _with_bar(images: Images, only: list[str] | None, fresh: bool) -> list[str]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[line]}", style="dim", markup=False),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("images", total=None, line="")

        def report(progress: BuildProgress) -> None:
            if progress.is_done:
                bar.console.print(f"[cyan]›[/] image {progress.number} of {progress.total}: {progress.line}")
            bar.update(
                task,
                description=f"image {progress.image}",
                total=progress.steps or None,
                completed=progress.step,
                line=progress.line[:80],
            )

        return images.build(only, report, fresh=fresh)


@app.command("build")
def build(
    names: Annotated[list[str] | None, typer.Argument(help="languages; default: all")] = None,
    fresh: Annotated[bool, typer.Option(help="rebuild, with the distribution's packages of today")] = False,
    prune: Annotated[bool, typer.Option(help="then remove images of earlier versions")] = False,
) -> None:
    """Build the images that are missing."""
    settings = load()
    build_missing(settings, names or None, fresh=fresh)
    if prune:
        with closing(Images(settings.base_image, scan(settings.runtimes))) as images:
            for tag in images.remove_outdated():
                step(f"removed {tag}")


@app.command("list")
def list_images(
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """List the images: which there should be, and which there are."""
    settings = load()
    with closing(Images(settings.base_image, scan(settings.runtimes))) as images:
        plans = images.plan()
    if as_json:
        rows = [
            {"name": p.name, "tag": p.tag, "present": p.present, "outdated": p.outdated, "size": p.size_bytes}
            for p in plans
        ]
        print(json.dumps(rows))
        return
    table = Table("image", Column("tag", overflow="fold"), "here", "size", "made")
    for plan in plans:
        size = "" if plan.size_bytes is None else f"{plan.size_bytes / 1e6:.0f} MB"
        here = "outdated" if plan.outdated else "yes" if plan.present else "no"
        made = "" if plan.created is None else f"{plan.created:%Y-%m-%d %H:%M}"
        table.add_row(plan.name, plan.tag, here, size, made)
    out.print(table)


@app.command("tag")
def tag(name: Annotated[str, typer.Argument(help="a language")]) -> None:
    """Print the name of a language's image, for `docker run`."""
    settings = load()
    runtimes = scan(settings.runtimes)
    runtime = runtimes.find(name)
    if runtime is None:
        raise ConfigurationError(f"no language is called {name!r}; there are: {', '.join(runtimes.names())}")
    with closing(Images(settings.base_image, runtimes)) as images:
        print(images.tag_for(runtime.stages[0]))
