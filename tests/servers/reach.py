"""How a test's jobs reach a test's database server."""

from __future__ import annotations

from dataclasses import replace

from executor.sandbox.docker import DockerChannel, DockerEngine
from executor.sandbox.spec import ContainerSpec
from tests.servers.database import DatabaseServer


class InReach(DockerEngine):
    """The Docker engine, whose containers join a database server's network.

    The one place to change once a workspace's jobs have egress: then this class goes, and the
    policy names the server's address.
    """

    def __init__(self, server: DatabaseServer) -> None:
        super().__init__(threads=4)
        self._server = server

    async def start(self, spec: ContainerSpec) -> DockerChannel:
        """As the engine's own; a container that joins another's network cannot have a host name."""
        network = f"container:{self._server.container.id}"
        return await super().start(replace(spec, network=network, hostname=""))
