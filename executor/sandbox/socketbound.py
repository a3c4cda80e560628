"""A bound for the buffers of a container's sockets, where the kernel does not count them as its memory.

Version 1 of the control groups has a limit of its own for them, without which connections to oneself fill
the memory that all TCP of the host may have. runc does not set it, whatever the configuration says.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

MEMORY = Path("/sys/fs/cgroup/memory")
"""Version 1's tree; there is none on a host of version 2 alone, where buffers are memory like any other."""
LIMIT = "memory.kmem.tcp.limit_in_bytes"
OF_DOCKER = ("docker/{id}", "system.slice/docker-{id}.scope")
"""Where Docker has a container's group, with the drivers that it has."""


def bound_sockets(group: Path, limit_bytes: int) -> None:
    """Bound the buffers in a control group of MEMORY; one that is not here has no sockets of this host."""
    with suppress(OSError):
        (group / LIMIT).write_text(str(limit_bytes), "ascii")


def bound_docker_s_sockets(container_id: str, limit_bytes: int) -> None:
    """The same for a container of Docker's, by its id."""
    for place in OF_DOCKER:
        bound_sockets(MEMORY / place.format(id=container_id), limit_bytes)
