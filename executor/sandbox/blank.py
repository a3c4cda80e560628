"""What decides whether a waiting container may be a job's: everything it is made of."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, replace

from executor.sandbox.demand import USED_DEPTH
from executor.sandbox.spec import ContainerSpec


@dataclass(frozen=True)
class Bounds:
    """What all waiting containers may be together; `cores` are the host's."""

    count: int
    memory_bytes: int
    cores: int

    @classmethod
    def of_host(cls, count: int, memory_share: float) -> Bounds:
        """So many containers, in this share of the host's memory."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(count, int(memory * memory_share), os.cpu_count() or 1)


@dataclass(frozen=True)
class Blank:
    """What a container is to be made of, all but its name, its own directory and its labels.

    `policy` is what else must be the same: what the workspace's network reaches. The rest
    says for whom, and is no part of it.
    """

    spec: ContainerSpec
    language: str
    workspace: str
    policy: Hashable = ()
    depth: int = USED_DEPTH
    """How many may wait for the mere idleness."""

    def key(self) -> Hashable:
        """Equal for containers that may stand for each other."""
        return (_key(self.spec), self.policy)

    def family(self) -> Hashable:
        """Equal for containers that differ in no more than what the engine can change later."""
        hard = replace(self.spec.hardening, cpus=0, pids=0)
        if not any("{heap_mb}" in word for word in self.spec.entrypoint):  # else told to a runner at its boot
            hard = replace(hard, memory_bytes=0)
        return (_key(replace(self.spec, hardening=hard)), self.policy)


def _key(spec: ContainerSpec) -> Hashable:
    """All of a spec but whose it is; a field that is added later counts too."""
    values = (getattr(spec, each.name) for each in fields(spec) if each.name not in ("name", "labels"))
    return tuple(tuple(sorted(value.items())) if isinstance(value, Mapping) else value for value in values)
