"""The tables in the documents that are made from the code: `python -m tests.docs` writes them anew.

tests/unit/test_docs.py fails when a document is not as this module would write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from executor.runtimes import scan
from executor.sandbox import seccomp
from executor.sandbox.hardening import harden
from executor.sandbox.oci.bundle import NOBODY_S
from executor.script import resolve_limits
from executor.settings import LimitBounds, Settings
from tests.runtimes.cases import common

ROOT = Path(__file__).parent.parent
SAME = "the same"
VARYING = {"concurrency": "twice the host's cores, at least 4"}
"""Defaults that depend on the host, and are told in words."""


def settings_table() -> Iterator[str]:
    """Every setting with its default."""
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        if name == "limits":
            continue
        default = VARYING.get(name, _shown(field.default))
        yield f"| `EXECUTOR_{name.upper()}` | {default} | {field.description} |"


def limits_table() -> Iterator[str]:
    """Defaults and maxima of a job's limits."""
    yield "| limit | default | maximum |"
    yield "|---|---|---|"
    for name, bound in LimitBounds():
        most = (
            "the host's cores"
            if name == "cpus"
            else f"{bound.maximum:g}"
            if bound.maximum < 1e6
            else _mib(bound.maximum)
        )
        least = f"{bound.default:g}" if bound.default < 1e6 else _mib(bound.default)
        yield f"| `{name}` | {least} | {most} |"


def cases_table() -> Iterator[str]:
    """What every language is asked."""
    yield "| case | what is asked |"
    yield "|---|---|"
    for name, case in common().items():
        shown = f"**`{name}`**" if case.get("mandatory") else f"`{name}`"
        yield f"| {shown} | {case['asks'].replace('|', chr(92) + '|')} |"


def confinement_table() -> Iterator[str]:
    """What `harden` decides for a script with the default limits, and what each engine makes of it."""
    hard = harden(scan().by_name["bash"], resolve_limits({}, LimitBounds()))
    user = f"`{hard.uid}:{hard.gid}` for every language and job"
    namespaces = f"its own: mnt, pid, uts, ipc ({hard.ipc}); net, unless it joins that of its workspace"
    users = f"its own where it joins no network: {hard.uid} is {hard.uid} outside, root is {NOBODY_S}, nobody else exists"
    yield "| what | oci | docker |"
    yield "|---|---|---|"
    rows: list[tuple[str, str, str]] = [
        ("user and group", user, SAME),
        ("capabilities", ", ".join(hard.capabilities) or "none, and none to gain", SAME),
        (
            "setuid programs",
            "without effect: no-new-privileges, `nosuid`" * hard.no_new_privileges,
            "without effect: no-new-privileges",
        ),
        ("system calls", f"profile `{hard.seccomp}` below", SAME),
        ("namespaces", namespaces, SAME),
        ("user namespace", users, "the engine's (`userns-remap` of dockerd, if set)"),
        ("AppArmor", "`docker-default`, where the kernel has it loaded", SAME),
        ("root", "read-only" if hard.read_only_root else "writable", SAME),
        ("masked", _paths(hard.masked), SAME),
        ("read-only", _paths(hard.read_only) + ", `/sys`, `/sys/fs/cgroup`", SAME),
        ("memory", f"{_mib(hard.memory_bytes)}, {hard.swap_bytes} of swap", SAME),
        ("CPU", f"{hard.cpus:g} core", SAME),
        ("processes and threads", str(hard.pids), SAME),
        ("open files", str(hard.open_files), SAME),
        ("size of a file", _mib(hard.file_bytes), SAME),
        ("core dumps", f"{hard.core_bytes} bytes", SAME),
        ("POSIX message queues", f"{hard.queue_bytes} bytes: none", SAME),
        ("locked memory", f"{hard.locked_bytes // 1024} KiB", SAME),
        ("signals and timers that wait", str(hard.signals), SAME),
        (
            "buffers of sockets",
            f"{_mib(hard.tcp_bytes)} (control groups of version 2: the container's memory)",
            SAME,
        ),
        ("pseudo-terminals", str(hard.terminals), "the host's stock"),
    ]
    yield from (f"| {' | '.join(row)} |" for row in rows)


def places_table() -> Iterator[str]:
    """Every place that a script can write to, with the default limits."""
    hard = harden(scan().by_name["bash"], resolve_limits({}, LimitBounds()))
    yield "| place | bytes | files | |"
    yield "|---|---|---|---|"
    for place in hard.tmpfs:
        run = "executable" if place.executable else "`noexec`"
        yield f"| `{place.path}` | {_mib(place.size_bytes)} | {place.inodes} | in memory, mode {place.mode}, {run}, `nosuid`, `nodev` |"
    yield "| `/shared` of a run | `EXECUTOR_SHARED_MB` | `EXECUTOR_SHARED_FILES` | in place of the one above; its kinds: docs/operating.md |"


def calls_table() -> Iterator[str]:
    """The calls that the profile refuses."""
    profile = seccomp.profile()
    if profile is None:
        raise AssertionError("BUG: documents are written on a machine whose calls we know")
    codes = {
        seccomp.EPERM: "EPERM",
        seccomp.ENOSYS: "ENOSYS",
        seccomp.EPROTONOSUPPORT: "EPROTONOSUPPORT",
        seccomp.EAFNOSUPPORT: "EAFNOSUPPORT",
        seccomp.NOTHING: "nothing is done, and no error",
    }
    yield "| calls | when | answer |"
    yield "|---|---|---|"
    for rule in profile["syscalls"]:
        names = ", ".join(f"`{name}`" for name in rule["names"])
        when = " and ".join(map(_condition, rule["args"])) or "always"
        yield f"| {names} | {when} | {codes[rule['errnoRet']]} |"


DOCUMENTS: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "docs/operating.md": {"settings": settings_table, "limits": limits_table},
    "docs/hardening.md": {"confinement": confinement_table, "places": places_table, "calls": calls_table},
    "CONTRIBUTING.md": {"cases": cases_table},
}


def rewritten(name: str) -> str:
    """The document with its tables as the code has them now."""
    text = (ROOT / name).read_text("utf-8")
    for marker, table in DOCUMENTS[name].items():
        begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
        before, found, rest = text.partition(begin)
        _, also_found, after = rest.partition(end)
        if not (found and also_found):
            raise AssertionError(f"BUG: {name} has no place for the table {marker}")
        text = f"{before}{begin}\n" + "\n".join(table()) + f"\n{end}{after}"
    return text


def _shown(value: Any) -> str:
    return "—" if value is None else f"`{value}`"


def _paths(paths: tuple[str, ...]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _condition(argument: dict[str, Any]) -> str:
    """One condition of a rule, in words."""
    shown = f"argument {argument['index'] + 1}"
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        mask, value = argument["value"], argument["valueTwo"]
        return f"{shown} has {mask:#x}" if mask == value else f"{shown} has {value} under {mask:#x}"
    relation = {"SCMP_CMP_EQ": "is", "SCMP_CMP_NE": "is not", "SCMP_CMP_GT": "is above"}[argument["op"]]
    return f"{shown} {relation} {argument['value']}"


def _mib(size: float) -> str:
    return f"{size / (1 << 20):g} MiB"


if __name__ == "__main__":
    for document in DOCUMENTS:
        (ROOT / document).write_text(rewritten(document), "utf-8")
