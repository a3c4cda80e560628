"""The languages' own examples, which the demonstration and `doctor` run: `example.*` in each folder."""

from __future__ import annotations

import re
from contextlib import closing

from executor.runtimes import Runtime, scan
from executor.sandbox.images import Images
from executor.settings import Settings

ARGS = {"name": "Ada", "numbers": [3, 1, 2]}
"""What every example is called with."""
IMAGE = re.compile(r"\{image:([a-z0-9_-]+)\}")


def content_of(runtime: Runtime, settings: Settings) -> str:
    """A language's example; `{image:LANGUAGE}` in it becomes that language's image on this host."""
    if runtime.example is None:
        raise AssertionError(f"BUG: {runtime.name} has no example")
    content = runtime.example.read_text("utf-8")
    with closing(Images(settings.base_image, scan(settings.runtimes))) as images:
        for name in set(IMAGE.findall(content)):
            content = content.replace(f"{{image:{name}}}", images.tag_for(name))
    return content
