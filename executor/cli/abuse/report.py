"""The report of a host: what was tried, what happened, what confines scripts here, and of which versions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from executor import __version__
from executor.cli.abuse.cases import FILE
from executor.cli.abuse.tries import Attempt
from executor.runtimes import Runtimes
from executor.sandbox.hardening import harden
from executor.sandbox.run import Sandbox
from executor.script import compact_json, resolve_limits
from executor.settings import Settings

NOT_TOLD = "no image here"


@dataclass(frozen=True)
class Report:
    """Everything about one run of the cases; plain values throughout, so that JSON and pages say the same."""

    made_at: str
    host: dict[str, str]
    versions: dict[str, str]
    images: dict[str, dict[str, str]]
    """By language: the image's tag and its id, which is the digest of its configuration."""
    limits: dict[str, dict[str, float]]
    """A job's limits: the default and the most it may ask for."""
    policy: dict[str, Any]
    confinement: dict[str, dict[str, Any]]
    """By language: what a container of it is made with under the default limits."""
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The attempts that did not end as they must."""
        return [attempt for attempt in self.attempts if not attempt["ok"]]

    @property
    def ok(self) -> bool:
        """Whether all held."""
        return not self.failed

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        tried, failed = len(self.attempts), len(self.failed)
        return {
            "summary": {"ok": self.ok, "tried": tried, "held": tried - failed, "failed": failed},
            **asdict(self),
        }


async def report_of(
    settings: Settings, sandbox: Sandbox, runtimes: Runtimes, attempts: Sequence[Attempt]
) -> Report:
    """The report of these attempts on this host as it is now."""
    info = await sandbox.engine.info()
    versions = {
        "executor": __version__,
        "cases": sha256(FILE.read_bytes()).hexdigest(),
        "engine": info.about or f"{info.name} {info.version}",
        "container runtime": next((a.isolation.runtime for a in attempts if a.isolation), info.runtime),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    host = {
        "name": platform.node(),
        "system": _system(),
        "machine": platform.machine(),
        "control groups": f"version {info.cgroup_version}",
        "security of the engine": ", ".join(info.security),
    }
    defaults = resolve_limits({}, settings.limits)
    return Report(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=host,
        versions=versions,
        images={name: await _image(sandbox, runtimes, name) for name in runtimes.names()},
        limits=settings.limits.model_dump(),
        policy={
            "images that scripts may name": list(settings.images),
            "networks that are open without a policy": [str(reach) for reach in settings.reach],
            "shared directory, MiB": settings.shared_mb,
            "shared directory, files": settings.shared_files,
        },
        confinement={runtime.name: asdict(harden(runtime, defaults)) for runtime in runtimes},
        attempts=[as_dict(attempt) for attempt in attempts],
    )


def as_dict(attempt: Attempt) -> dict[str, Any]:
    """One attempt as plain values, with the script that was run."""
    case = attempt.case
    return {
        "id": case.id,
        "area": case.area,
        "tries": case.tries,
        "must": case.must,
        "ok": attempt.ok,
        "happened": attempt.happened,
        "took_s": round(attempt.took_s, 2),
        "language": case.language,
        "limits": dict(case.limits),
        "script": case.content,
        "isolation": attempt.isolation.as_dict() if attempt.isolation else None,
    }


async def _image(sandbox: Sandbox, runtimes: Runtimes, name: str) -> dict[str, str]:
    tag = await sandbox.image_of(runtimes.by_name[name])
    seen = await sandbox.engine.image(tag)
    return {"tag": tag, "id": seen.id if seen else NOT_TOLD}


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def to_json(report: Report) -> str:
    """The report as one JSON object."""
    return compact_json(report.as_dict()).decode()
