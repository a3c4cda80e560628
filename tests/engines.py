"""The engines that tests of containers run on."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from pathlib import Path

import docker
import pytest

from executor.sandbox.oci.engine import CONTAINERS, RUN

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the oci engine needs root")
BOTH = ["docker", pytest.param("oci", marks=needs_root)]
"""As parameters; each as EXECUTOR_ENGINE, so that one that does not work is a failure and no fallback."""


def shown(name: str) -> str:
    """All that a running container shows to the host: what its engine keeps of it, its processes' arguments."""
    folder = RUN / CONTAINERS / name
    if not folder.is_dir():
        with closing(docker.from_env()) as client:
            container = client.containers.get(name)
            return json.dumps([container.attrs, container.top()])
    texts = [path.read_text("utf-8") for path in folder.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if name in (process / "cgroup").read_text():
                texts.append((process / "cmdline").read_text())
    return "\n".join(texts)
