"""`executor doctor`: does everything work here, and if not, what to do."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from executor.cli.abuse import examine
from executor.cli.abuse.page import page
from executor.cli.abuse.report import to_json
from executor.cli.abuse.tries import Attempt
from executor.cli.examples import ARGS, content_of
from executor.cli.process import own_worker_id
from executor.cli.screen import fail, out
from executor.containers import Parts, docker_parts, make_sandbox, make_shared
from executor.errors import ConfigurationError, EngineError, ExecutorError, Reason
from executor.flows.expressions.places import Place
from executor.flows.expressions.pool import Expressions
from executor.flows.expressions.scope import ExpressionFailed
from executor.runtimes import Runtime, Runtimes, scan
from executor.sandbox.conversation import Cancellation
from executor.sandbox.engine import Engine, EngineInfo
from executor.sandbox.order import Order
from executor.sandbox.run import Sandbox
from executor.sandbox.shared import Choice, SharedDirectory, Size
from executor.script import Returned, Script, compact_json, resolve_limits
from executor.settings import Settings, load
from executor.workspace.policy import RuntimeClass

PROBE_LANGUAGE = "bash"
PROBE_LIMITS = {"timeout_s": 30, "memory_mb": 64, "pids": 32, "tmp_mb": 8}
PROBE = r"""
status() { awk -v key="$1:" '$1 == key { print $2 }' /proc/self/status; }
first() { cat "$@" 2>/dev/null | head -n 1; }
touch /probe 2>/dev/null && root=writable || root=read-only
interfaces=$(awk -F: 'NR > 2 { gsub(/ /, "", $1); print $1 }' /proc/net/dev | tr '\n' ' ')
mib() { df -B1048576 --output=size "$1" | tail -n 1 | tr -d ' '; }
cat > result.json <<END
{"uid": $(id -u), "capabilities": "$(status CapEff)$(status CapBnd)", "no_new_privileges": "$(status NoNewPrivs)",
 "seccomp": "$(status Seccomp)", "root": "$root", "interfaces": "$interfaces",
 "memory": "$(first /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes)",
 "pids": "$(first /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max)",
 "tmp_mb": $(mib /tmp), "job_mb": $(mib /job), "core": "$(ulimit -c)", "files": "$(ulimit -n)"}
END
"""
SHARED_PROBE = r"""
mib=$(df -B1048576 --output=avail /shared | tail -n 1)
files=$(df --output=iavail /shared | tail -n 1)
options=$(awk '$5 == "/shared" { print $6 }' /proc/self/mountinfo)
echo probe > /shared/probe
test "$(cat shared/probe)" = probe
echo "{\"mib\": $mib, \"files\": $files, \"options\": \"$options\"}" > result.json
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
    misbehave: Annotated[
        bool, typer.Option("--abuse", help="run scripts that misbehave, and report what they could do")
    ] = False,
    page_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="with --abuse: the report as a page, too")
    ] = None,
) -> None:
    """Look at engine, images, limits, isolation and what flows need on this host; exit code 1 if anything is wrong."""
    if misbehave:
        sys.exit(0 if _abuse(as_json, page_file) else 1)
    if page_file is not None:
        fail("--html is a page of the report that --abuse makes; give both", 2)
    findings = asyncio.run(_examine(load()))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            _show(finding)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


def _show(finding: Finding) -> None:
    mark = "[green]ok[/]  " if finding.ok else "[red]FAIL[/]"
    out.print(f"{mark} {finding.name:<22}", end=" ")
    out.print(finding.detail, markup=False)
    if not finding.ok and finding.remedy:
        out.print(f"     → {finding.remedy}", markup=False, style="yellow")


def _abuse(as_json: bool, page_file: Path | None) -> bool:
    """Run the scripts that misbehave; report on stdout, and as a page where one is asked for."""
    if page_file is not None and not page_file.parent.is_dir():
        fail(f"--html: {page_file.parent} is no directory; make it, or name another file", 2)
    show = (lambda _: None) if as_json else _show_attempt
    report = asyncio.run(examine(load(), show))
    if page_file is not None:
        page_file.write_text(page(report), "utf-8")
    if as_json:
        print(to_json(report))
        return report.ok
    for name, said in {**report.versions, **report.host}.items():
        out.print(f"     {name:<22} {said}", markup=False)
    tried, failed = len(report.attempts), len(report.failed)
    out.print(f"{tried - failed} of {tried} attempts ended as they must", style="red" if failed else "green")
    return report.ok


def _show_attempt(attempt: Attempt) -> None:
    case = attempt.case
    happened = f"{attempt.took_s:.1f} s" if attempt.ok else attempt.happened
    _show(Finding(case.id, attempt.ok, f"{case.tries}: {happened}", f"it must {case.must}"))


async def _examine(settings: Settings) -> list[Finding]:
    findings = [_data_dir(settings)]
    runtimes = scan(settings.runtimes)
    parts = docker_parts(settings, runtimes)
    try:
        info = await parts.engine.info()
        await parts.settle()
    except EngineError as error:
        return [*findings, Finding("engine", False, str(error), "run `executor setup` as root")]
    except ConfigurationError as error:
        return [*findings, Finding("engine", False, str(error), "set EXECUTOR_ENGINE=auto")]
    try:
        with tempfile.TemporaryDirectory(prefix="executor-doctor-") as folder:
            Path(folder).chmod(0o711)
            sandbox = make_sandbox(parts, Path(folder), "doctor", own_worker_id())
            findings += [*_engine(info), *_shared_loopback(settings, parts.engine.name)]
            findings.append(await _runtime_classes(parts.engine))
            findings += [await _image(sandbox, runtimes, name) for name in runtimes.names()]
            findings += [await _language(settings, sandbox, runtime) for runtime in runtimes]
            findings += await _isolation(settings, sandbox, runtimes)
            findings.append(await _shared(settings, parts, sandbox, runtimes))
            findings.append(await _expressions())
            if any(runtime.manifest.network == "egress" for runtime in runtimes):
                findings += await _egress(settings, sandbox)
            await sandbox.close(10)
    finally:
        parts.engine.close()
    return findings


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    existing = next((p for p in (folder, *folder.resolve().parents) if p.is_dir()), Path("/"))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        remedy = "make it writable, or set EXECUTOR_DATA_DIR to another directory"
        return Finding("data directory", False, f"{folder}: {error.strerror}", remedy)
    if not folder.is_dir():
        return Finding("data directory", True, f"{folder.resolve()} can be made")
    open_to_others = folder.stat().st_mode & 0o077
    state = "open to other users" if open_to_others else "writable, and only ours"
    return Finding(
        "data directory", not open_to_others, f"{folder.resolve()} is {state}", f"chmod 700 {folder}"
    )


def _engine(info: EngineInfo) -> list[Finding]:
    seccomp = any("seccomp" in option for option in info.security)
    return [
        Finding(
            "engine",
            True,
            info.about
            or f"{info.name} {info.version}, runtime {info.runtime}, cgroup v{info.cgroup_version}",
        ),
        Finding(
            "engine's seccomp",
            seccomp,
            "it takes our profile" if seccomp else "the engine filters no system calls",
            "use an engine and a kernel with seccomp; the engine starts nothing with our profile otherwise",
        ),
    ]


def _shared_loopback(settings: Settings, engine: str) -> list[Finding]:
    """What EXECUTOR_NETWORK_SHARED changes here, if it is set."""
    if not settings.network_shared:
        return []
    said = (
        "jobs of one workspace share a loopback and abstract sockets (EXECUTOR_NETWORK_SHARED)"
        if engine == "docker"
        else f"EXECUTOR_NETWORK_SHARED does not count for what {engine} makes: each such job has a loopback "
        "of its own, which costs little there; only images that scripts name share one"
    )
    return [Finding("shared loopback", True, said)]


async def _runtime_classes(engine: Engine) -> Finding:
    """Which OCI runtimes a policy may name here; that one cannot be had is no fault."""
    said = {name: await engine.unfit(name) for name in get_args(RuntimeClass)}
    kept = [name for name, why in said.items() if why is None]
    reasons = [f"not {name}: {why}" for name, why in said.items() if why is not None]
    return Finding("runtime classes", True, "; ".join([", ".join(kept) or "none", *reasons]))


async def _image(sandbox: Sandbox, runtimes: Runtimes, name: str) -> Finding:
    tags = [await sandbox.image_of(stage) for stage in runtimes.by_name[name].stages]
    missing = [tag for tag in tags if not await sandbox.engine.has_image(tag)]
    detail = f"{missing[0]} is missing" if missing else ", ".join(tags)
    return Finding(f"image {name}", not missing, detail, "run `executor images build`")


async def _language(settings: Settings, sandbox: Sandbox, runtime: Runtime) -> Finding:
    """Whether the language's example runs; one that asks a database is run without, to see it say so."""
    name = f"language {runtime.name}"
    if runtime.example is None:
        return Finding(name, True, "it has no example to try")
    order = replace(
        _order(settings, runtime, content_of(runtime, settings)), limits=resolve_limits({}, settings.limits)
    )
    order = replace(order, script=replace(order.script, args=compact_json(ARGS)))
    began = time.monotonic()
    try:
        outcome = await sandbox.run(order)
    except ExecutorError as error:
        return Finding(name, False, str(error), "run `executor images build`, then look at the engine's log")
    took = f"{time.monotonic() - began:.1f} s"
    if isinstance(outcome, Returned):
        return Finding(name, True, f"its example ran in {took}")
    if runtime.manifest.needs_server and outcome.reason is Reason.BAD_INPUT:
        return Finding(name, True, f"its runner answered in {took}; scripts name their database")
    return Finding(name, False, outcome.message, "build its image anew: `executor images build --fresh`")


async def _isolation(settings: Settings, sandbox: Sandbox, runtimes: Runtimes) -> list[Finding]:
    """What a script really finds in its container, against what it was meant to find."""
    runtime = runtimes.find(PROBE_LANGUAGE)
    if runtime is None:
        return [Finding("isolation", False, f"no runtime {PROBE_LANGUAGE!r} to probe with", "add it")]
    try:
        outcome = await sandbox.run(_order(settings, runtime, PROBE))
    except ExecutorError as error:
        return [
            Finding(
                "a script in a container",
                False,
                str(error),
                "run `executor setup`, then look at the engine's log",
            )
        ]
    if not isinstance(outcome, Returned):
        return [Finding("a script in a container", False, outcome.message, "look at the engine's log")]
    return judge_probe(json.loads(outcome.value))


def _order(settings: Settings, runtime: Runtime, probe: str, shared: SharedDirectory | None = None) -> Order:
    return Order(
        name=f"executor-doctor-{uuid.uuid4()}",
        runtime=runtime,
        script=Script(runtime.name, probe),
        limits=resolve_limits(PROBE_LIMITS, settings.limits),
        cancellation=Cancellation(settings.cancel_grace_s),
        shared=shared,
    )


class _Nothing:
    """The scope of an expression that asks for nothing."""

    names: Mapping[str, bytes] = {}

    def result_ids(self) -> Collection[str]:
        return ()

    async def result(self, step_id: str) -> bytes | None:
        raise AssertionError(f"BUG: nobody asks for {step_id}")

    async def variable(self, path: str) -> bytes:
        raise AssertionError(f"BUG: nobody asks for {path}")

    async def resource(self, path: str) -> bytes:
        raise AssertionError(f"BUG: nobody asks for {path}")


async def _expressions() -> Finding:
    """Whether the expressions of flows are evaluated here, in their children's sandbox."""
    name = "flows' expressions"
    remedy = "flows need child processes of the service: look at its limits, and at what stops them"
    began = time.monotonic()
    try:
        async with Expressions() as expressions:
            said = await expressions.evaluate("[20, 1].map(n => n * 2)", _Nothing(), Place(frozenset()))
    except (ExecutorError, ExpressionFailed, OSError) as error:
        return Finding(name, False, str(error), remedy)
    took = f"evaluated in a process of their own, the first in {time.monotonic() - began:.1f} s"
    return Finding(name, said == b"[40,2]", took, remedy)


async def _shared(settings: Settings, parts: Parts, sandbox: Sandbox, runtimes: Runtimes) -> Finding:
    """Which kind of shared directory works here, tried with a script, on the data directory's disk."""
    name = "shared directories"
    runtime = runtimes.find(PROBE_LANGUAGE)
    if runtime is None:
        return Finding(name, False, f"no runtime {PROBE_LANGUAGE!r} to probe with", "add it")
    disk = settings.data_dir if settings.data_dir.is_dir() else None
    with tempfile.TemporaryDirectory(
        prefix="executor-doctor-", dir=disk, ignore_cleanup_errors=True
    ) as folder:
        Path(folder).chmod(0o711)
        shared = make_shared(settings, parts, Path(folder), "doctor")
        try:
            chosen = await shared.chosen()
            outcome = await sandbox.run(_order(settings, runtime, SHARED_PROBE, await shared.open("doctor")))
        except ExecutorError as error:
            return Finding(name, False, str(error), "run the service as root, or mend what the message names")
        finally:
            await sandbox.cleanup.settle(10)
            shared.close("doctor")
            await shared.settle(10)
    if not isinstance(outcome, Returned):
        return Finding(name, False, outcome.message, "look at the engine's log")
    return judge_shared(json.loads(outcome.value), chosen, settings)


def judge_shared(seen: dict[str, Any], chosen: Choice, settings: Settings) -> Finding:
    """What a script found at /shared, against what was meant."""
    why = f" ({'; '.join(chosen.obstacles)})" if chosen.obstacles else ""
    least = Size.of(settings.shared_mb, settings.shared_files)
    options = set(seen["options"].strip().split(","))
    ok = {"nodev", "nosuid"} <= options and settings.shared_mb <= seen["mib"] <= settings.shared_mb * 1.25 + 4
    room = f"{seen['mib']} MiB and {seen['files']} files"
    return Finding(
        "shared directories",
        ok and seen["files"] >= least.files,
        f"{chosen.kind}: {chosen.about}; {room}, {','.join(sorted(options))}{why}",
        "the engine does not mount what it was asked to; do not run untrusted flows on this host",
    )


async def _egress(settings: Settings, sandbox: Sandbox) -> list[Finding]:
    """Whether a holder can be made, with rules in force, and what the instance opens by default."""
    egress = sandbox.egress
    if egress is None:
        raise AssertionError("BUG: a sandbox on this host's engines has egress")
    tag = await egress.image_tag()
    if not await sandbox.engine.has_image(tag):
        return [Finding("image holder", False, f"{tag} is missing", "run `executor images build`")]
    image = Finding("image holder", True, tag)
    opened = " ".join(map(str, settings.reach)) or "nothing, unless a workspace's policy says so"
    try:
        async with egress.joined("main", settings.reach, settings.egress_limits):
            found = [image, Finding("egress", True, f"a holder took its rules; jobs may reach {opened}")]
        missing = egress.abilities.missing if egress.abilities else ()
        lacks = "load the kernel's modules, or live without: all else about egress holds"
        return [*found, *(Finding("egress", False, what, lacks) for what in missing)]
    except EngineError as error:
        remedy = "languages with network cannot run; the kernel needs nftables (CONFIG_NF_TABLES)"
        return [image, Finding("egress", False, str(error), remedy)]


def judge_probe(seen: dict[str, Any]) -> list[Finding]:
    """The probe's account against the hardening it was started with."""
    limits = PROBE_LIMITS
    expected = [
        ("user", seen["uid"] not in (0, None), f"uid {seen['uid']}"),
        (
            "capabilities",
            int(seen["capabilities"], 16) == 0,
            f"effective and bounding: {seen['capabilities']}",
        ),
        ("no new privileges", seen["no_new_privileges"] == "1", f"NoNewPrivs {seen['no_new_privileges']}"),
        ("system call filter", seen["seccomp"] == "2", f"Seccomp {seen['seccomp']}"),
        ("root file system", seen["root"] == "read-only", seen["root"]),
        ("network", seen["interfaces"].split() == ["lo"], f"interfaces: {seen['interfaces']}"),
        ("memory limit", seen["memory"] == str(limits["memory_mb"] << 20), f"{seen['memory']} bytes"),
        ("process limit", seen["pids"] == str(limits["pids"]), seen["pids"]),
        ("/tmp size", seen["tmp_mb"] <= limits["tmp_mb"], f"{seen['tmp_mb']} MiB"),
        ("/job size", seen["job_mb"] <= limits["tmp_mb"], f"{seen['job_mb']} MiB"),
        ("core dumps", seen["core"] == "0", f"at most {seen['core']} blocks"),
        ("open files", seen["files"] == "1024", f"at most {seen['files']}"),
    ]
    remedy = "the engine does not enforce this; do not run untrusted scripts on this host"
    return [Finding(name, bool(ok), detail, remedy) for name, ok, detail in expected]
