"""`executor doctor --abuse`: scripts that misbehave, on this host's own engine, and a report of it."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from executor.cli.abuse.cases import cases
from executor.cli.abuse.report import Report, report_of
from executor.cli.abuse.tries import Attempt, Trials
from executor.cli.process import own_worker_id
from executor.containers import docker_parts, make_sandbox
from executor.runtimes import scan
from executor.settings import Settings


async def examine(settings: Settings, told: Callable[[Attempt], None]) -> Report:
    """Try every case, each told as it ends; raises EngineError or ConfigurationError where nothing can run."""
    runtimes = scan(settings.runtimes)
    parts = docker_parts(settings, runtimes)
    instance = f"abuse-{uuid.uuid4()}"
    attempts = []
    try:
        await parts.engine.info()
        await parts.settle()
        with tempfile.TemporaryDirectory(prefix="executor-abuse-") as folder:
            Path(folder).chmod(0o711)
            sandbox = make_sandbox(parts, Path(folder), instance, own_worker_id())
            async for attempt in Trials(sandbox, runtimes, settings.limits, instance).all(cases()):
                told(attempt)
                attempts.append(attempt)
            return await report_of(settings, sandbox, runtimes, attempts)
    finally:
        parts.engine.close()
