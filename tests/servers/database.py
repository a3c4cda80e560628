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
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.models.networks import Network

from executor.reach import Reach
from executor.runtimes import scan
from executor.sandbox import hostsettings, imagebuild
from executor.sandbox.hostnet import own_addresses
from executor.sandbox.images import Images
from executor.settings import load

HERE = Path(__file__).parent
LABEL = "executor.test-server"
START_S = 60
USER = "app"
SILENT_PORT = 9999
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
    silent_port: int
    elsewhere: dict[str, Any]
    """Host and port of another way to the same server, an address that its certificate does not name."""

    def connection(self, **changes: Any) -> dict[str, Any]:
        """The connection object of this server, as scripts get it in the argument `database`."""
        name = "dbname" if self.kind == "postgresql" else "database"
        own = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        return {**own, name: self.database, **changes}

    def ask(self, sql: str) -> str:
        """What the server itself answers, asked as its administrator, past everything under test."""
        return _said(self.container, *CLIENTS[self.kind], sql).strip()

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Kill PostgreSQL, all that it was doing included, and start it again at the end, in the same place."""
        kill = 'touch /server/gone && kill -KILL "$(head -n 1 /var/lib/postgresql/test/postmaster.pid)"'
        _said(self.container, "sh", "-c", kill)
        try:
            yield
        finally:
            _said(self.container, "rm", "/server/gone")

    @property
    def reach(self) -> tuple[Reach, ...]:
        """What a job may reach so that it can talk to this server, and to whom it would rather not."""
        own = f"{self.host}/32"
        other = Reach(f"{self.elsewhere['host']}/32", (self.elsewhere["port"],))
        return (Reach(own, (self.port, self.silent_port)), other, Reach("0.0.0.0/0"))

    def fall_silent(self) -> int:
        """Have something on the server's host take connections and never say a word; its port."""
        listen = f"import socket, time; s = socket.create_server(('', {SILENT_PORT})); time.sleep(600)"
        self.container.exec_run(["python3", "-c", listen], detach=True)
        waiting = f"import socket; socket.create_connection(('127.0.0.1', {SILENT_PORT})).close()"
        for _ in range(100):
            if self.container.exec_run(["python3", "-c", waiting])[0] == 0:
                return self.silent_port
        raise AssertionError("nothing listens on the silent port")


@contextmanager
def running(kind: str) -> Iterator[DatabaseServer]:
    """A server of this kind (`postgresql`, `mariadb`) while the context lasts.

    It is reached as any database on this host: at one of the host's addresses, that of its own bridge.
    """
    client = docker.from_env()
    try:
        name, password = f"executor-test-{kind}-{uuid.uuid4()}", secrets.token_urlsafe(12)
        network = client.networks.create(name, labels={LABEL: kind})
        try:
            address = _gateway(network)
            other = _gateway(client.networks.get("bridge"))
            ports: Any = {  # the stubs know no list of addresses
                f"{PORTS[kind]}/tcp": [(address, 0), (other, 0)],
                f"{SILENT_PORT}/tcp": (address, 0),
            }
            container = client.containers.run(
                _image(client, kind),
                name=name,
                detach=True,
                network=network.name,
                ports=ports,
                environment={
                    "SERVER_USER": USER,
                    "SERVER_PASSWORD": password,
                    "SERVER_ADDRESS": address,
                },
                labels={LABEL: kind},
            )
            try:
                yield _ready(container, kind, password, address)
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


def _ready(container: Container, kind: str, password: str, address: str) -> DatabaseServer:
    """Wait for the server. Raises AssertionError with its log if it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        container.reload()
        if container.status == "running" and container.exec_run(["test", "-e", "/server/ready"])[0] == 0:
            break
        if container.status == "exited" or time.monotonic() > deadline:
            raise AssertionError(f"the {kind} server did not start:\n{container.logs().decode()}")
        time.sleep(0.1)
    container.reload()
    published = container.attrs["NetworkSettings"]["Ports"]
    ways = [{"host": one["HostIp"], "port": int(one["HostPort"])} for one in published[f"{PORTS[kind]}/tcp"]]
    own, other = sorted(ways, key=lambda way: way["host"] != address)
    return DatabaseServer(
        kind,
        container,
        **own,
        user=USER,
        password=password,
        database=USER,
        ca_pem=_said(container, "cat", "/server/tls/ca.pem"),
        silent_port=int(published[f"{SILENT_PORT}/tcp"][0]["HostPort"]),
        elsewhere=other,
    )


def _gateway(network: Network) -> str:
    """The host's own address on a network of the engine's."""
    network.reload()
    # A new engine's first bridge names no gateway.
    subnet = ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])
    return next(address for address in own_addresses(Path("/proc")) if ip_address(address) in subnet)


def _said(container: Container, *command: str) -> str:
    """What a command in the container prints. Raises AssertionError if it fails."""
    done: Any = container.exec_run(list(command))
    text = str(done.output.decode("utf-8", "replace"))
    if done.exit_code != 0:
        raise AssertionError(f"{command[0]} in {container.name} failed: {text}")
    return text
