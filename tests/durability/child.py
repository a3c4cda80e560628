"""The service in a process of its own, on the fake engine, to be killed: `child.py FOLDER PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from executor import telemetry
from executor.containers import Parts
from executor.sandbox.fake import FakeEngine
from executor.settings import Settings
from executor.wiring import Service
from tests.service import TOKEN


def main(folder: str, port: str) -> None:
    """Serve until killed."""
    telemetry.configure("error")
    settings = Settings(data_dir=Path(folder), port=int(port), token=TOKEN, concurrency=3, drain_s=0.3)
    service = Service.of(settings)
    service.make_parts = lambda _, __: Parts(FakeEngine(), lambda runtime: f"image-of-{runtime.name}")
    service.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
