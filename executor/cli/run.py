"""`executor run FILE`: one script in its container, without a server and without a database."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from executor.cli.process import own_worker_id, worker_is_alive
from executor.cli.screen import err, fail
from executor.containers import docker_parts, make_sandbox
from executor.errors import BadInput, Reason
from executor.reach import Reach, parse
from executor.runtimes import Runtime, Runtimes, scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.order import Listener, Order
from executor.script import Failed, Isolation, Limits, Outcome, Returned, Script, compact_json, resolve_limits
from executor.settings import Settings, load

INSTANCE = "run"
SETTLE_S = 10.0
EXIT_CODES = {
    Reason.TIMEOUT: 124,
    Reason.CANCELLED: 130,
    Reason.OUT_OF_MEMORY: 137,
    Reason.INFRASTRUCTURE: 75,
}
"""Those of timeout(1), of a shell for SIGINT and SIGKILL, and EX_TEMPFAIL; 1 for all other reasons."""


def run(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="the script")],
    arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; VALUE is JSON, else text")] = None,
    args: Annotated[Path | None, typer.Option(help="a JSON file of arguments")] = None,
    language: Annotated[str | None, typer.Option(help="default: by the file's name")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER, as memory_mb=128")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="CIDR[:PORT,…] that a language with network may reach")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print result, usage and isolation")] = False,
) -> None:
    """Run a script: its log goes to stderr as it comes, its result as JSON to stdout.

    Exit code: 0 success, 1 the script failed, 2 wrong usage, 124 time limit, 130 cancelled,
    137 out of memory, 75 trouble of the engine.
    """
    settings = load()
    try:
        runtime = find_runtime(scan(settings.runtimes), file, language)
        reach = tuple(reach_from(text) for text in allow) if allow else settings.reach
        limits = resolve_limits(dict(_pairs(limit or [], "--limit")), settings.limits)
        script = Script(runtime.name, file.read_text("utf-8"), compact_json(arguments(args, arg or [])))
    except (BadInput, UnicodeDecodeError, ValueError) as error:
        fail(getattr(error, "detail", str(error)), 2)
    outcome, isolation = asyncio.run(_run(settings, runtime, script, limits, reach))
    _show(outcome, isolation, as_json)
    sys.exit(0 if isinstance(outcome, Returned) else EXIT_CODES.get(outcome.reason, 1))


def find_runtime(runtimes: Runtimes, file: Path, language: str | None) -> Runtime:
    """The language asked for, else the one that the file's name tells; raises BadInput."""
    found = runtimes.find(language) if language else runtimes.for_file(file)
    if found is None:
        what = (
            f"no language is called {language!r}" if language else f"no language has files like {file.name}"
        )
        raise BadInput(f"{what}; use --language with one of {', '.join(runtimes.names())}")
    return found


def arguments(file: Path | None, pairs: list[str]) -> dict[str, Any]:
    """The arguments of a file of them and of NAME=VALUE pairs, which win; raises BadInput."""
    values: Any = {} if file is None else _object_in(file)
    values = {**values, **dict(_pairs(pairs, "--arg"))}
    try:
        compact_json(values)
    except ValueError:
        raise BadInput("--arg: a number in it is too large for JSON; write it as a text, in quotes") from None
    return dict(values)


def _object_in(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes(), parse_constant=_no_json)
    except OSError as error:
        raise BadInput(f"--args: {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--args: {file} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise BadInput(f"--args: {file} does not hold a JSON object")
    return values


def _pairs(pairs: list[str], option: str) -> list[tuple[str, Any]]:
    found = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise BadInput(f"{option} {pair!r}: write NAME=VALUE")
        try:
            found.append((name, json.loads(text, parse_constant=_no_json)))
        except (ValueError, RecursionError):
            found.append((name, text))
    return found


def _no_json(name: str) -> Any:
    """NaN and Infinity, which Python's decoder takes, are no JSON."""
    raise ValueError(f"{name} is no JSON")


def reach_from(text: str) -> Reach:
    """What an `--allow` opens; raises BadInput."""
    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(f"--allow {error}") from error


async def _run(
    settings: Settings, runtime: Runtime, script: Script, limits: Limits, reach: tuple[Reach, ...]
) -> tuple[Outcome, Isolation | None]:
    """Run it in a container that goes whatever happens to us."""
    # A single job has nobody to share a loopback with.
    parts = replace(docker_parts(settings, scan(settings.runtimes)), loopback=None)
    seen: list[Isolation] = []

    async def claimed(isolation: Isolation) -> None:
        seen.append(isolation)

    with tempfile.TemporaryDirectory(prefix="executor-run-") as folder:
        Path(folder).chmod(0o711)
        sandbox = make_sandbox(parts, Path(folder), INSTANCE, own_worker_id())
        cancellation = Cancellation(settings.cancel_grace_s)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, cancellation.ask)
        try:
            await sandbox.cleanup.reap(worker_is_alive)
            order = Order(
                name=f"executor-run-{uuid.uuid4()}",
                runtime=runtime,
                script=script,
                limits=limits,
                cancellation=cancellation,
                listener=Listener(claimed=claimed, log=_show_log),
                reach=reach,
                egress_limits=settings.egress_limits,
            )
            outcome = await sandbox.run(order)
        finally:
            await sandbox.close(SETTLE_S)
            parts.engine.close()
    return outcome, seen[0] if seen else None


def _show_log(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _show(outcome: Outcome, isolation: Isolation | None, as_json: bool) -> None:
    if as_json:
        result = outcome.value if isinstance(outcome, Returned) else outcome.as_json()
        members = {
            "success": isinstance(outcome, Returned),
            "usage": vars(outcome.usage),
            "sandbox": isolation.as_dict() if isolation else None,
        }
        sys.stdout.write(compact_json(members)[:-1].decode() + ',"result":' + result.decode() + "}\n")
    elif isinstance(outcome, Returned):
        sys.stdout.write(outcome.value.decode() + "\n")
    else:
        _show_failure(outcome)


def _show_failure(failed: Failed) -> None:
    err.print(f"{failed.reason.value}: {failed.name}: {failed.message}", style="red", markup=False)
