"""Our Python image as llm-sandbox wants one: `python` where it looks for it, root, a process that just waits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager

import docker

from tests.bench.native import image

TAG = "executor-bench/python3"
DOCKERFILE = """FROM {image}
USER root
RUN mkdir -p /sandbox/.sandbox-venv/bin \\
    && ln -s /usr/bin/python3 /sandbox/.sandbox-venv/bin/python \\
    && ln -s /usr/bin/python3 /usr/local/bin/python
ENTRYPOINT []
CMD ["sleep", "infinity"]
"""


@contextmanager
def image_for_peers() -> Iterator[str]:
    """Its tag; the image goes afterwards."""
    own = image("python3")
    tag = f"{TAG}:{own.rpartition(':')[2]}"
    with closing(docker.from_env()) as client:
        client.images.build(
            fileobj=io.BytesIO(DOCKERFILE.format(image=own).encode()), tag=tag, rm=True, forcerm=True
        )
        try:
            yield tag
        finally:
            client.images.remove(tag)
