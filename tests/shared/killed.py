"""A process that uses shared directories until it is killed: `killed.py FOLDER`; it says when it does."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from executor import telemetry
from executor.sandbox.shared import SharedDirectories
from executor.sandbox.shareddisk import Ext4
from tests.shared.bench import SMALL


async def main(folder: str) -> None:
    """Open, write, close, for ever; the run `kept` stays open."""
    telemetry.configure("error")
    directories = SharedDirectories(Path(folder), SMALL, (Ext4(),))
    kept = await directories.open("kept")
    assert kept.files is not None
    (kept.files / "note").write_text("written before the kill")
    print("begun", flush=True)
    for n in itertools.count():
        run = await directories.open(f"run-{n}")
        assert run.files is not None
        (run.files / "data").write_bytes(bytes(1024 * 1024))
        if n % 3:
            directories.close(f"run-{n}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
