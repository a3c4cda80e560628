"""A real registry on this host's loopback, which wants a password."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import requests

from tests.foreign.workshop import REGISTRY, Workshop

USER, PASSWORD = "ada", "pass-word-that-nobody-may-see"
READY_S = 30


class Hub:
    """Debian's registry in a container; images are pushed to it, removed here, and pulled by jobs."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        api = workshop.api
        self.container = f"executor-test-hub-{workshop.mark}"
        image = workshop.build("hub", REGISTRY, PASSWORD=PASSWORD)
        host = api.create_host_config(port_bindings={5000: ("127.0.0.1", None)})
        api.create_container(image, name=self.container, ports=[5000], host_config=host)
        api.start(self.container)
        port = api.inspect_container(self.container)["NetworkSettings"]["Ports"]["5000/tcp"][0]["HostPort"]
        self.address = f"127.0.0.1:{port}"
        deadline = time.monotonic() + READY_S
        while not self._answers():
            assert time.monotonic() < deadline, api.logs(self.container)
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            session = requests.Session()
            session.trust_env = False
            return session.get(f"http://{self.address}/v2/", timeout=5).status_code == 401
        except requests.RequestException:
            return False

    def push(self, image: str, name: str) -> str:
        """Put an image into the registry, as team/`name`, and off this host; its digest."""
        api, repository = self._workshop.api, f"{self.address}/team/{name.partition(':')[0]}"
        tag = name.partition(":")[2]
        api.tag(image, repository, tag)
        auth = {"username": USER, "password": PASSWORD}
        said = list(api.push(repository, tag, stream=True, decode=True, auth_config=auth))
        assert not [event["error"] for event in said if "error" in event], said
        self.forget(f"{repository}:{tag}")
        return str(next(event["aux"]["Digest"] for event in said if "aux" in event))

    def forget(self, name: str) -> None:
        """Take a pulled image off this host again."""
        self._workshop.remove(name)

    def requests(self) -> str:
        """What the registry has been asked for."""
        return str(self._workshop.api.logs(self.container).decode("utf-8", "replace"))

    def close(self) -> None:
        """Remove the container."""
        self._workshop.api.remove_container(self.container, force=True, v=True)


def registry_config(path: Path, address: str, password: str = PASSWORD, user: str = USER) -> Path:
    """A file as `docker login` writes it."""
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    said: dict[str, Any] = {"auths": {address: {"auth": secret}}}
    path.write_text(json.dumps(said), "utf-8")
    return path
