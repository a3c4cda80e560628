"""Our Python image as llm-sandbox wants one: `python` where it looks for it, root, a process that just waits."""

from __future__ import annotations

import io
import uuid
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
    """Its tag, this run's own; the image goes afterwards, with containers that a killed peer left of it."""
    tag = f"{TAG}:{uuid.uuid4()}"
    with closing(docker.from_env()) as client:
        client.images.build(
            fileobj=io.BytesIO(DOCKERFILE.format(image=image("python3")).encode()),
            tag=tag,
            rm=True,
            forcerm=True,
        )
        try:
            yield tag
        finally:
            for container in client.containers.list(all=True, filters={"ancestor": tag}):
                container.remove(force=True)
            client.images.remove(tag)
