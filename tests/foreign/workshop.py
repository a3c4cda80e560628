"""Makes images of other people's kinds, on this host and without a registry, and takes them away again."""

from __future__ import annotations

import io
import uuid
from contextlib import closing, suppress
from typing import Any

import docker
from docker.errors import APIError

from executor.runtimes import scan
from executor.sandbox import hostsettings
from executor.sandbox.imagebuild import File, packed
from executor.sandbox.images import Images
from executor.settings import load

BUSYBOX = """
ARG BUILDER
FROM ${BUILDER} AS fetch
RUN apt-get update && apt-get install --yes --no-install-recommends busybox-static
FROM scratch
COPY --from=fetch /bin/busybox /bin/busybox
CMD ["/bin/busybox", "cat"]
"""
REGISTRY = """
ARG BUILDER
FROM ${BUILDER}
RUN apt-get update && apt-get install --yes --no-install-recommends docker-registry
ARG PASSWORD
RUN python3 -W ignore -c 'import crypt, sys; print("ada:" + crypt.crypt(sys.argv[1], crypt.mksalt(crypt.METHOD_BLOWFISH)))' \\
        "$PASSWORD" > /htpasswd
ENV REGISTRY_STORAGE=filesystem REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/srv \\
    REGISTRY_AUTH=htpasswd REGISTRY_AUTH_HTPASSWD_REALM=test REGISTRY_AUTH_HTPASSWD_PATH=/htpasswd \\
    REGISTRY_HTTP_ADDR=0.0.0.0:5000
RUN printf 'version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: /srv\\nhttp:\\n  addr: 0.0.0.0:5000\\n' > /config.yml
CMD ["docker-registry", "serve", "/config.yml"]
"""


class Workshop:
    """Images under names of its own; `close` removes what it made."""

    def __init__(self) -> None:
        self.client = docker.from_env(timeout=300)
        self.api: Any = self.client.api
        self.mark = uuid.uuid4().hex[:12]
        self._made: list[str] = []
        self.busybox = self.build("busybox", BUSYBOX)

    def build(self, name: str, dockerfile: str, **arguments: str) -> str:
        """Build an image and give its name; `${BUILDER}` and `${BUSYBOX}` are there to start from."""
        tag = f"executor-test/{name}:{self.mark}"
        settings = load()
        with closing(Images(settings.base_image, scan())) as images:
            given = {"BUILDER": images.tag_for("builder"), "BUSYBOX": getattr(self, "busybox", "")}
        events = list(
            self.api.build(
                fileobj=io.BytesIO(packed({"Dockerfile": File(dockerfile.encode())})),
                custom_context=True,
                decode=True,
                rm=True,
                forcerm=True,
                network_mode="host",
                tag=tag,
                buildargs={**hostsettings.proxy_arguments(), **given, **arguments},
            )
        )
        wrong = [event["error"] for event in events if "error" in event]
        assert not wrong, (wrong, events[-5:])
        self._made.append(tag)
        return tag

    def from_busybox(self, name: str, *lines: str) -> str:
        """An image that is busybox and these lines of a Dockerfile."""
        return self.build(name, "\n".join(["ARG BUSYBOX", "FROM ${BUSYBOX}", *lines]))

    def remove(self, name: str) -> None:
        """Remove an image's name, and the image if that was its last."""
        with suppress(APIError):
            self.api.remove_image(name, force=True)

    def close(self) -> None:
        """Remove every image that was made here."""
        for name in reversed(self._made):
            self.remove(name)
        self.client.close()
