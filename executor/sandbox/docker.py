"""The docker engine: hardened containers through the Docker SDK, frames over its attach stream.

The SDK blocks, so its calls run in threads of this adapter; the attached stream is a plain socket
that asyncio reads. Transient failures of the engine are retried here and nowhere else.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from executor import telemetry
from executor.errors import EngineError, EngineTransient, EngineUnreachable, ImageMissing
from executor.sandbox import dockerimages
from executor.sandbox.dockersaid import bounds_root, bridge_of, private_ipv6_subnet, storage
from executor.sandbox.dockerspec import container_config, updated_limits
from executor.sandbox.engine import LABEL, LABEL_WORKER, Bridge, Ended, EngineInfo, Maker, Seen
from executor.sandbox.references import Reference
from executor.sandbox.socketbound import bound_docker_s_sockets
from executor.sandbox.spec import ContainerSpec, Hardening, ImageSeen

P = ParamSpec("P")
T = TypeVar("T")

CALL_TIMEOUT_S = 60
RETRY_S = 20
PULLS = 4
"""How many images may be pulled at once; a registry that stands still holds no thread of jobs."""
HEADER = struct.Struct(">BxxxL")
STDOUT = 1
FINAL = (
    "unable to find user",
    "unable to find group",
    "storage-opt is supported only",
    "storage-opt is not supported",
    "unknown or invalid runtime name",
    "Unknown runtime specified",
    "seccomp is not enabled in your kernel",
)
"""What an engine says, as an error of its own, of containers that it can never make."""


class DockerEngine:
    """`executor.sandbox.engine.Engine` over the local Docker engine."""

    name = "docker"

    def __init__(self, threads: int, retry_s: float = RETRY_S, registry_config: Path | None = None) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="docker")
        self._pulls = ThreadPoolExecutor(PULLS, thread_name_prefix="docker-pull")
        self._registry_config = registry_config
        self._retry_s = retry_s
        self._pool_size = threads
        self._info_seen: EngineInfo | None = None
        self._ran: dict[str, str] = {}
        self._client: docker.DockerClient | None = None

    @property
    def runtime(self) -> str:
        """The engine's default OCI runtime, once the engine was asked."""
        return self._info_seen.runtime if self._info_seen else "unknown"

    async def start(self, spec: ContainerSpec) -> DockerChannel:
        """Create the container, attach to it, start it."""
        if spec.runtime_class is not None:
            self._ran[spec.name] = spec.runtime_class
        container_id = await self._call(self._create, spec)
        raw = await self._call(self._attach, spec.name)
        try:
            await self._call(self._start, spec.name)
            bound_docker_s_sockets(container_id, spec.hardening.tcp_bytes)
        except BaseException:
            raw.close()
            raise
        return await DockerChannel.over(raw)

    async def update(self, name: str, hardening: Hardening) -> bool:
        """Change a running container's memory, cpus and pids."""
        try:
            await self._call(self._update, name, hardening, retry=False)
        except EngineError as error:
            telemetry.log.info("the engine did not change a container's limits", error=str(error))
            return False
        return True

    async def ended(self, name: str) -> Ended:
        """Why a container's stream may have ended."""
        state = await self._call(self._state, name)
        return Ended(oom_killed=bool(state.get("OOMKilled")), running=bool(state.get("Running")))

    async def kill(self, name: str) -> None:
        """SIGKILL to PID 1, with which the kernel ends every process of the container."""
        await self._call(self._kill, name)

    async def remove(self, name: str) -> None:
        """Delete the container, killing it if it runs."""
        await self._call(self._remove, name)
        self._ran.pop(name, None)

    def ran(self, name: str) -> str:
        """The runtime that made the container."""
        return self._ran.get(name, self.runtime)

    def maker(self, name: str) -> Maker:
        """It makes them all itself."""
        return Maker(self.name, self.ran(name))

    async def engine_for(self, spec: ContainerSpec) -> str:
        """This one, for all."""
        return self.name

    async def unfit(self, runtime_class: str) -> str | None:
        """Whether it knows the runtime; whether that enforces limits is for `limitprobe` to find out."""
        known = (await self.info()).runtimes
        if runtime_class in known:
            return None
        return f"the docker engine has no runtime {runtime_class!r}, only {', '.join(known)}"

    async def process(self, name: str) -> tuple[int, str] | None:
        """A running container's PID 1 as the host numbers it, and the container's id."""
        return await self._call(self._process, name)

    async def containers(self, instance: str) -> list[Seen]:
        """Every container of the instance."""
        return await self._call(self._list, instance)

    async def make_network(self, name: str, labels: Mapping[str, str], *, ipv6: bool) -> Bridge:
        """A bridge whose containers do not reach each other."""
        return await self._call(self._make_network, name, labels, ipv6)

    async def remove_network(self, name: str) -> None:
        """Remove a network; while containers are on it, that is tried again."""
        await self._call(self._remove_network, name)

    async def networks(self, instance: str) -> list[Seen]:
        """Every network of the instance."""
        return await self._call(self._list_networks, instance)

    async def info(self) -> EngineInfo:
        """The engine's own account of itself."""
        self._info_seen = await self._call(self._info, retry=False)
        return self._info_seen

    async def has_image(self, tag: str) -> bool:
        """Whether the engine holds the image."""
        try:
            await self._call(self._inspect_image, tag, retry=False)
        except ImageMissing:
            return False
        return True

    async def image(self, reference: str) -> ImageSeen | None:
        """The image, if the engine holds it."""
        try:
            return dockerimages.seen(await self._call(self._inspect_image, reference))
        except ImageMissing:
            return None

    async def pull(self, reference: Reference) -> None:
        """Fetch an image, with the credentials of its registry."""
        given_up = threading.Event()
        work = partial(dockerimages.pull, self._api(), reference, self._registry_config, given_up)
        try:
            await asyncio.get_running_loop().run_in_executor(self._pulls, work)
        finally:
            given_up.set()

    async def pin(self, image_id: str, name: str) -> None:
        """Keep an image's layers until `remove(name)`."""
        await self._call(dockerimages.pin, self._api(), image_id, name)

    async def unpack(self, image_id: str, folder: Path) -> None:
        """Write an image's whole tree into an empty folder."""
        await self._call(dockerimages.unpack, self._api(), image_id, folder, retry=False)

    async def files(self, spec: ContainerSpec, path: str) -> bytes:
        """Make a container and read what lies in it."""
        await self._call(self._create, spec)
        return await self._call(dockerimages.files, self._api(), spec.name, path)

    def close(self) -> None:
        """Give up the threads; containers are not touched."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pulls.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    # ------------------------------------------------------------ calls, in threads

    def _api(self) -> Any:
        """The low-level client, made on first use so that an engine may come up after us."""
        if self._client is None:
            self._client = docker.from_env(timeout=CALL_TIMEOUT_S, max_pool_size=self._pool_size)
        return self._client.api

    async def _call(self, act: Callable[P, T], /, *args: Any, retry: bool = True) -> T:
        """Run a blocking SDK call in a thread, repeated while the engine's trouble is transient."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._insist, act, args, retry)

    def _insist(self, act: Callable[..., T], args: tuple[Any, ...], retry: bool) -> T:
        attempts = Retrying(
            retry=retry_if_exception_type(EngineTransient),
            stop=stop_after_delay(self._retry_s if retry else 0),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            before_sleep=lambda _: telemetry.engine_retries.inc(),
            reraise=True,
        )
        try:
            return attempts(lambda: translated(act, args))
        except RetryError as error:  # pragma: no cover - reraise=True gives the cause itself
            raise EngineError(str(error)) from error

    def _create(self, spec: ContainerSpec) -> str:
        api = self._api()
        try:
            made = api.create_container_from_config(container_config(api, spec), name=spec.name)
        except APIError as error:
            # An earlier create may have timed out after it had worked; names are ours alone.
            if error.status_code != 409:
                raise
            made = api.inspect_container(spec.name)
        return str(made["Id"])

    def _attach(self, name: str) -> socket.socket:
        params = {"stdin": 1, "stdout": 1, "stream": 1}
        wrapped = self._api().attach_socket(name, params=params)
        raw = wrapped._sock if hasattr(wrapped, "_sock") else wrapped
        own: socket.socket = raw.dup()
        wrapped.close()
        raw.close()  # else it stays open until the SDK's response is collected
        return own

    def _start(self, name: str) -> None:
        self._api().start(name)

    def _update(self, name: str, hardening: Hardening) -> None:
        api = self._api()  # whose own update_container does not know all of these
        url = api._url("/containers/{0}/update", name)
        api._raise_for_status(api._post_json(url, data=updated_limits(hardening)))

    def _state(self, name: str) -> dict[str, Any]:
        try:
            state: dict[str, Any] = self._api().inspect_container(name)["State"]
        except NotFound:
            return {}
        return state

    def _kill(self, name: str) -> None:
        try:
            self._api().kill(name)
        except APIError as error:
            if error.status_code not in (404, 409):  # never was, or does not run any more
                raise

    def _remove(self, name: str) -> None:
        try:
            self._api().remove_container(name, force=True, v=True)
        except APIError as error:
            if error.status_code == 404:
                return
            if error.status_code == 409:  # its removal is already under way
                raise EngineTransient(str(error)) from error
            raise

    def _process(self, name: str) -> tuple[int, str] | None:
        try:
            seen = self._api().inspect_container(name)
        except NotFound:
            return None
        return (int(seen["State"]["Pid"]), str(seen["Id"])) if seen["State"]["Running"] else None

    def _list(self, instance: str) -> list[Seen]:
        found = self._api().containers(all=True, filters={"label": f"{LABEL}={instance}"})
        return [
            Seen(c["Names"][0].lstrip("/"), c["Labels"].get(LABEL_WORKER, "")) for c in found if c["Names"]
        ]

    def _make_network(self, name: str, labels: Mapping[str, str], ipv6: bool) -> Bridge:
        api = self._api()
        try:
            api.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                labels=dict(labels),
                options={"com.docker.network.bridge.enable_icc": "false"},
                enable_ipv6=ipv6,
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=private_ipv6_subnet())]) if ipv6 else None,
            )
        except APIError as error:
            if error.status_code != 409:  # an earlier call may have timed out after it had worked
                raise
        return bridge_of(api.inspect_network(name))

    def _remove_network(self, name: str) -> None:
        try:
            self._api().remove_network(name)
        except NotFound:
            return
        except APIError as error:
            if error.status_code == 403:  # a container is still on it
                raise EngineTransient(str(error)) from error
            raise

    def _list_networks(self, instance: str) -> list[Seen]:
        found = self._api().networks(filters={"label": f"{LABEL}={instance}"})
        return [Seen(n["Name"], (n.get("Labels") or {}).get(LABEL_WORKER, "")) for n in found]

    def _info(self) -> EngineInfo:
        info = self._api().info()
        return EngineInfo(
            name="docker",
            version=info.get("ServerVersion", "unknown"),
            runtime=info.get("DefaultRuntime", "unknown"),
            cgroup_version=info.get("CgroupVersion", "1"),
            security=tuple(info.get("SecurityOptions") or ()),
            storage=storage(info),
            bounds_root=bounds_root(info),
            runtimes=tuple(sorted(info.get("Runtimes") or ())),
            root=info.get("DockerRootDir", ""),
        )

    def _inspect_image(self, tag: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api().inspect_image(tag)
        return found


def translated(act: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Call the SDK; turn its exceptions into ours, told apart by whether trying again can help."""
    try:
        return act(*args)
    except ImageNotFound as error:
        raise ImageMissing(str(error)) from error
    except APIError as error:
        message = f"docker engine: {error.explanation or error}"
        if error.status_code == 404 and "No such image" in message:
            raise ImageMissing(message) from error
        is_final = any(said in message for said in FINAL)
        if not is_final and (error.status_code is None or error.status_code >= 500):
            raise EngineTransient(message) from error
        raise EngineError(message) from error
    except (requests.ConnectionError, requests.Timeout, ConnectionError, DockerException) as error:
        raise EngineUnreachable(f"no docker engine answers: {error}") from error


class DockerChannel:
    """An attached stream: Docker's 8-byte headers come off, stdout's bytes come out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, raw: socket.socket) -> DockerChannel:
        """Hand the attached socket to asyncio."""
        raw.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=raw, limit=1024 * 1024)
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        """Write to the container's stdin."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, OSError) as error:
            raise EngineTransient(f"the container's stream is gone: {error}") from error

    async def receive(self) -> bytes:
        """The next bytes of stdout; b"" at the end."""
        try:
            while True:
                stream, size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                data = await self._reader.readexactly(size)
                if stream == STDOUT and data:
                    return data
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            return b""

    def close(self) -> None:
        """Let go of the stream."""
        self._writer.close()
