"""Shared directories that the engine mounts: volumes in memory, for a service that cannot mount itself.

A volume of the engine's `local` driver may be a tmpfs of a given size. The engine mounts it with
the first container that has it and unmounts it, contents and all, with the last. A holder therefore
has it from the beginning to the end: a confined container that only sleeps. The contents outlive
the service, but not the engine's stop; the service itself cannot reach them.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import Mount

from executor.errors import EngineError, NoSharedDirectory
from executor.runtimes import Runtime
from executor.sandbox.docker import CALL_TIMEOUT_S, translated
from executor.sandbox.dockerspec import container_config
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER
from executor.sandbox.hardening import JOB_UID, SHARED, harden
from executor.sandbox.shared import Size
from executor.sandbox.spec import ContainerSpec, Volume
from executor.script import Limits

LABEL_SHARED = "executor.shared"
"""On a holder and its volume, with the instance as value; not LABEL, whose containers belong to jobs."""
Connect = Callable[[], docker.DockerClient]
SLEEP = ("sleep", "infinity")
HOLDER_LIMITS = Limits(timeout_s=1, memory_mb=32, cpus=0.1, pids=8, tmp_mb=1, log_bytes=1, result_bytes=1)
NOT_THERE = "bind source path does not exist"


def connect_from_env() -> docker.DockerClient:
    """The engine that the environment names; asked so seldom that no connection is kept."""
    return docker.from_env(timeout=CALL_TIMEOUT_S)


class EngineVolume:
    """A tmpfs that the engine mounts, held by a container in the image of `runtime`."""

    name = "volume"
    about = (
        "in memory, which counts for the job that writes; mounted by the engine and held by a container each; "
        "contents outlive the service, not the engine's restart; the service cannot read them"
    )

    def __init__(
        self, runtime: Runtime, image: Callable[[], str], instance: str, connect: Connect = connect_from_env
    ) -> None:
        self._connect = connect
        self._runtime = runtime
        self._image = image
        self._instance = instance

    def make(self, place: Path, size: Size) -> None:
        """Create the volume and its holder."""
        try:
            translated(self._create, (self._name(place), size))
        except EngineError as error:
            raise NoSharedDirectory(f"{self.name}: {error}") from error

    def find(self, place: Path) -> bool:
        """It is there as long as its holder runs."""
        return bool(translated(self._is_held, (self._name(place),)))

    def let_go(self, place: Path) -> None:
        """The holder stays: the contents are nowhere else."""

    def held(self, place: Path, size: Size) -> int:
        """All of it: what is written there only the engine can see."""
        return size.bytes

    def remove(self, place: Path) -> None:
        """End the holder, delete the volume; EngineError while a container still has it."""
        translated(self._remove, (self._name(place),))

    def mount(self, place: Path) -> Volume:
        """The volume itself."""
        return Volume(self._name(place), SHARED)

    def files(self, place: Path) -> None:
        """The engine's directories are closed to a service without root."""

    def sync(self, place: Path) -> None:
        """There is nothing that a power cut would leave."""

    def _name(self, place: Path) -> str:
        return f"executor-shared-{place.name}"

    def _create(self, name: str, size: Size) -> None:
        with closing(self._connect()) as client:
            self._create_on(client.api, name, size)

    def _create_on(self, api: Any, name: str, size: Size) -> None:
        bounds = f"size={size.bytes},nr_inodes={size.files + 1}"
        owner = f"uid={JOB_UID},gid={JOB_UID},mode=0700"
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"nodev,nosuid,{owner},{bounds}"}
        labels = {LABEL_SHARED: self._instance}
        api.create_volume(name, driver="local", driver_opts=options, labels=labels)
        holder = ContainerSpec(
            name=name,
            image=self._image(),
            hardening=harden(self._runtime, HOLDER_LIMITS, 0),
            labels={**labels, LABEL_ROLE: "holder"},
            entrypoint=SLEEP,
            volumes=(Volume(name, SHARED),),
        )
        api.create_container_from_config(container_config(api, holder), name=name)
        api.start(name)

    def _is_held(self, name: str) -> bool:
        with closing(self._connect()) as client:
            try:
                return bool(client.api.inspect_container(name)["State"]["Running"])
            except NotFound:
                return False

    def _remove(self, name: str) -> None:
        with closing(self._connect()) as client:
            with suppress(NotFound):
                client.api.remove_container(name, force=True)
            with suppress(NotFound):
                client.api.remove_volume(name)


class EngineSight:
    """Tells whether the engine finds what this service mounts; asked once, as it holds for the process."""

    def __init__(self, instance: str, connect: Connect = connect_from_env) -> None:
        self._connect = connect
        self._instance = instance
        self._answer: bool | None = None
        self._asking = threading.Lock()

    def __call__(self, path: Path) -> bool:
        """Whether the engine finds `path`; where it cannot be asked, the first container will tell."""
        with self._asking:
            if self._answer is None:
                try:
                    self._answer = bool(translated(self._finds, (path,)))
                except EngineError:
                    return True
            return self._answer

    def _finds(self, path: Path) -> bool:
        with closing(self._connect()) as client:
            return self._is_found(client.api, path)

    def _is_found(self, api: Any, path: Path) -> bool:
        """Create a container with the path, never to be started: the engine refuses if there is none."""
        images = api.images(quiet=True)
        name = f"executor-sight-{uuid.uuid4()}"
        config = api.create_container_config(
            image=images[0] if images else f"executor/none:{os.getpid()}",
            command=["true"],
            labels={LABEL: self._instance, LABEL_ROLE: "holder", LABEL_WORKER: ""},
            host_config=api.create_host_config(
                network_mode="none", mounts=[Mount(SHARED, str(path), type="bind")]
            ),
        )
        try:
            api.create_container_from_config(config, name=name)
        except ImageNotFound:
            return True  # the path was looked at first
        except APIError as error:
            if NOT_THERE in str(error):
                return False
            raise
        api.remove_container(name, force=True)
        return True
