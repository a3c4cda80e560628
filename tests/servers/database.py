"""Starts database servers as containers, waits until they answer, and removes them.

Their images are made from the distribution's packages and tagged by their content, so that only
the first run builds them. Without an engine this fails: a skipped test would say nothing.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from executor.runtimes import scan
from executor.sandbox import hostsettings, imagebuild
from executor.sandbox.images import Images
from executor.settings import load

HERE = Path(__file__).parent
LABEL = "executor.test-server"
START_S = 60
USER = "app"
PORTS = {"postgresql": 5432, "mariadb": 3306}
CLIENTS = {
    "postgresql": ["psql", "-U", "postgres", "-d", USER, "-At", "-c"],
    "mariadb": ["mariadb", "-N", "-B", USER, "-e"],
}


@dataclass(frozen=True)
class DatabaseServer:
    """A server that runs: where it is, who may log in, and which authority signed its certificate."""

    kind: str
    container: Container
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    ca_pem: str = field(repr=False)

    def connection(self, **changes: Any) -> dict[str, Any]:
        """The connection object of this server, as scripts get it in the argument `database`."""
        name = "dbname" if self.kind == "postgresql" else "database"
        own = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        return {**own, name: self.database, **changes}

    def ask(self, sql: str) -> str:
        """What the server itself answers, asked as its administrator, past everything under test."""
        return _said(self.container, *CLIENTS[self.kind], sql).strip()

    def fall_silent_on(self, port: int) -> None:
        """Have something on the server's host take connections at `port` and never say a word."""
        listen = f"import socket, time; s = socket.create_server(('', {port})); time.sleep(600)"
        self.container.exec_run(["python3", "-c", listen], detach=True)
        waiting = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        for _ in range(100):
            if self.container.exec_run(["python3", "-c", waiting])[0] == 0:
                return
        raise AssertionError(f"nothing listens on port {port}")


@contextmanager
def running(kind: str) -> Iterator[DatabaseServer]:
    """A server of this kind (`postgresql`, `mariadb`) on a network of its own while the context lasts."""
    client = docker.from_env()
    try:
        name, password = f"executor-test-{kind}-{uuid.uuid4()}", secrets.token_urlsafe(12)
        network = client.networks.create(name, labels={LABEL: kind})
        try:
            container = client.containers.run(
                _image(client, kind),
                name=name,
                detach=True,
                network=network.name,
                environment={"SERVER_USER": USER, "SERVER_PASSWORD": password},
                labels={LABEL: kind},
            )
            try:
                yield _ready(container, kind, password)
            finally:
                container.remove(force=True, v=True)
        finally:
            network.remove()
    finally:
        client.close()


def _image(client: docker.DockerClient, kind: str) -> str:
    """The tag of the server's image, built if the engine does not have it."""
    images = Images(load().base_image, scan())
    try:
        builder = next(plan for plan in images.plan() if plan.name == "builder")
        if not builder.present:
            images.build(None, lambda progress: None)
    finally:
        images.close()
    files = imagebuild.folder_files(HERE / kind, without={"Dockerfile"})
    files["certificates.sh"] = imagebuild.File((HERE / "certificates.sh").read_bytes())
    dockerfile = (HERE / kind / "Dockerfile").read_text("utf-8")
    recipe = imagebuild.Recipe(f"test-{kind}", dockerfile, files, {"BUILDER": builder.tag})
    if not client.images.list(name=recipe.tag):
        proxies = hostsettings.proxy_arguments()
        imagebuild.build(client, recipe, {}, proxies, recipe.digest, lambda step, steps, line: None)
    return recipe.tag


def _ready(container: Container, kind: str, password: str) -> DatabaseServer:
    """Wait for the server. Raises AssertionError with its log if it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        container.reload()
        if container.status == "running" and container.exec_run(["test", "-e", "/server/ready"])[0] == 0:
            break
        if container.status == "exited" or time.monotonic() > deadline:
            raise AssertionError(f"the {kind} server did not start:\n{container.logs().decode()}")
        time.sleep(0.1)
    (attached,) = container.attrs["NetworkSettings"]["Networks"].values()
    ca_pem = _said(container, "cat", "/server/tls/ca.pem")
    return DatabaseServer(kind, container, attached["IPAddress"], PORTS[kind], USER, password, USER, ca_pem)


def _said(container: Container, *command: str) -> str:
    """What a command in the container prints. Raises AssertionError if it fails."""
    done: Any = container.exec_run(list(command))
    text = str(done.output.decode("utf-8", "replace"))
    if done.exit_code != 0:
        raise AssertionError(f"{command[0]} in {container.name} failed: {text}")
    return text
