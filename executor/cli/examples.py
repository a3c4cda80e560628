"""The languages' own examples, which the demonstration and `doctor` run: `example.*` in each folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    if not (names := images_in(content)):
        return content  # to name an image means to ask the engine and to hash what images are made of
    with closing(Images(settings.base_image, scan(settings.runtimes))) as images:
        return with_images(content, {name: images.tag_for(name) for name in names})


def images_in(content: str) -> set[str]:
    """The languages whose images a script names as `{image:LANGUAGE}`."""
    return set(IMAGE.findall(content))


def with_images(content: str, tags: Mapping[str, str]) -> str:
    """The script with these tags in place of `{image:LANGUAGE}`."""
    return IMAGE.sub(lambda match: tags[match.group(1)], content)
