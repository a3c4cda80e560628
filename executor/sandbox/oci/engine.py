"""The oci engine: a container is one call of crun or runc, its stdin and stdout are two pipes.

What it must remember of a container is a folder below /run: the labels, so that the next service
finds what this one left, and the bundle. The runtime's process ends as soon as the container runs;
from then on the container is its control group, and the end of its stdout is its end.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from executor import telemetry
from executor.errors import EngineError, EngineTransient
from executor.sandbox import kernel
from executor.sandbox.engine import LABEL, LABEL_WORKER, Ended, Seen
from executor.sandbox.oci.bundle import Surroundings, config, obstacle
from executor.sandbox.oci.cgroups import Cgroups
from executor.sandbox.oci.channel import PipeChannel
from executor.sandbox.oci.namespaces import Namespaces
from executor.sandbox.oci.roots import Roots
from executor.sandbox.oci.spawn import Called, Runtime, Spawner, Streams
from executor.sandbox.spec import ContainerSpec, Hardening

RUN = Path("/run/executor")
CONTAINERS, STATES, MOUNTS = "containers", "states", "roots"
OWNER, CONFIG, LOG = "owner.json", "config.json", "log"
CALL_S = 30.0
"""How long a runtime may take to make a container."""
END_S = 5.0
"""How long it may take to end when its container is removed before it was ready."""
STDOUT_BYTES = 1024 * 1024
"""What PID 1 may write ahead of us: with the usual 64 KiB each piece of a big result would wait for its turn."""
NOTES_OPTIONS = "mode=700,size=256m"
JOINED = "container:"
APPARMOR = "docker-default"
APPARMOR_PROFILES = Path("/sys/kernel/security/apparmor/profiles")


class OciEngine:
    """`executor.sandbox.engine.Containers` with an OCI runtime, on images that `roots` provides."""

    name = "oci"

    def __init__(self, roots: Roots, namespaces: Namespaces, run: Path = RUN) -> None:
        self._roots = roots
        self._namespaces = namespaces
        self._run = run
        self._cgroups = Cgroups.of()
        self._spawner = Spawner()
        self._making: dict[str, asyncio.Task[PipeChannel]] = {}
        self._calls: dict[str, Called] = {}
        self._used: Runtime | None = None
        self._maps_users = False
        self._classes: dict[str, Runtime] = {}
        self._ran: dict[str, str] = {}
        self._apparmor: str | None = None

    def use(self, runtime: Runtime, *, maps_users: bool = False) -> None:
        """Make containers with this runtime from now on, in user namespaces if so."""
        try:
            self._run.mkdir(parents=True, exist_ok=True)
            # Whoever is root in a container, and nobody here, goes through it to the image's tree.
            self._run.chmod(0o711)
            for notes in (self._run / CONTAINERS, self._run / STATES):
                keep_in_memory(notes)
        except OSError as error:
            telemetry.log.info("what is noted of containers stays on the disk", error=str(error))
        self._used = runtime
        self._maps_users = maps_users
        self._apparmor = apparmor_profile()

    @property
    def runtime(self) -> str:
        """The runtime in use."""
        return self._used.name if self._used else "none"

    @property
    def maps_users(self) -> bool:
        """Whether containers that join no network have user namespaces of their own."""
        return self._maps_users

    def offer(self, runtime_class: str, runtime: Runtime) -> None:
        """Make containers of this class with this runtime from now on."""
        self._classes[runtime_class] = runtime

    def ran(self, name: str) -> str:
        """The runtime that made the container."""
        return self._ran.get(name, self.runtime)

    @property
    def cgroups(self) -> Cgroups:
        """This host's control groups."""
        return self._cgroups

    def has(self, name: str) -> bool:
        """Whether a container of this name is here, whoever made it."""
        return self._folder(name).is_dir()

    async def start(self, spec: ContainerSpec) -> PipeChannel:
        """Make the container and start it. Raises ImageMissing, EngineTransient, EngineError."""
        if (why := obstacle(spec)) is not None:
            raise EngineError(f"the oci engine cannot make {spec.name}: {why}")
        runtime = self._used if spec.runtime_class is None else self._classes.get(spec.runtime_class)
        if runtime is None:
            raise AssertionError(f"BUG: the oci engine was told no runtime for {spec.runtime_class}")
        self._ran[spec.name] = runtime.name
        # Given up halfway, it goes on to where `remove` can end it: its pipes and its process are
        # in the hands of a thread that cannot be cancelled.
        making = self._making[spec.name] = asyncio.create_task(self._make(spec, runtime))
        making.add_done_callback(lambda _: self._making.pop(spec.name, None))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_let_go)
            raise

    async def ended(self, name: str) -> Ended:
        """What its control group tells of the container, until it is removed."""
        return Ended(self._cgroups.oom_kills(name) > 0, self._cgroups.is_alive(name))

    async def kill(self, name: str) -> None:
        """End every process of the container at once."""
        await self._settled(name)
        await asyncio.to_thread(self._cgroups.kill, name)

    async def remove(self, name: str) -> None:
        """End the container if need be; delete its groups, its bundle, the runtime's note of it."""
        await self._settled(name)
        try:
            await asyncio.to_thread(self._remove, name)
        except OSError as error:
            raise EngineTransient(f"the container {name} does not go: {error}") from error
        self._ran.pop(name, None)

    async def update(self, name: str, hardening: Hardening) -> bool:
        """Other limits for a running container; False if the kernel does not take them all."""
        try:
            self._cgroups.limit(name, hardening)
        except OSError as error:
            telemetry.log.info("limits could not be changed", container=name, error=str(error))
            return False
        return True

    async def containers(self, instance: str) -> list[Seen]:
        """Every container of the instance, dead or alive, also those of services that were killed."""
        return left_by(instance, self._run)

    def close(self) -> None:
        """Give up the thread; containers are not touched."""
        self._spawner.close()

    # ------------------------------------------------------------ one container

    async def _make(self, spec: ContainerSpec, runtime: Runtime) -> PipeChannel:
        root = await self._roots.of(spec.image)
        joined = spec.network.removeprefix(JOINED) if spec.network.startswith(JOINED) else None
        network = None if joined is None else await self._namespaces.of(joined)
        around = Surroundings(
            self._cgroups.path(spec.name),
            self._cgroups.names,
            self._cgroups.limits_swap,
            None if network is None else str(network.path),
            self._apparmor,
            self._maps_users,
        )
        try:
            self._write_bundle(spec, config(spec, root.image, root.path, around))
            channel = await self._call(runtime, spec.name)
            self._cgroups.bound_sockets(spec.name, spec.hardening.tcp_bytes)
        except OSError as error:
            raise EngineTransient(f"the container {spec.name} cannot be started: {error}") from error
        finally:
            self._calls.pop(spec.name, None)
        if joined is not None and network is not None and not network.is_alive:
            channel.close()  # what it joined had nothing left to reach
            await self._namespaces.gone(joined)
        return channel

    def _folder(self, name: str) -> Path:
        return self._run / CONTAINERS / name

    def _write_bundle(self, spec: ContainerSpec, configuration: object) -> None:
        folder = self._folder(spec.name)
        folder.mkdir(mode=0o700, parents=True)
        (folder / OWNER).write_text(json.dumps(dict(spec.labels)), "utf-8")
        (folder / CONFIG).write_text(json.dumps(configuration), "utf-8")

    async def _call(self, runtime: Runtime, name: str) -> PipeChannel:
        """Call the runtime and wait until the container runs."""
        folder, state = self._folder(name), self._run / STATES / runtime.name
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        arguments = (
            *("--root", str(state), "--log", str(folder / LOG), "--log-format", "json"),
            *("run", "--detach", "--bundle", str(folder), name),
        )
        theirs, ours = _pipes()
        try:
            called = self._calls[name] = await self._spawner.call(runtime, arguments, theirs)
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(theirs)
        channel = PipeChannel(*ours)
        try:
            await self._made(called, folder, runtime.name)
        except BaseException:
            channel.close()
            raise
        return channel

    async def _made(self, called: Called, folder: Path, runtime: str) -> None:
        try:
            async with asyncio.timeout(CALL_S):
                code = await called.code()
        except TimeoutError:
            called.kill()
            raise EngineTransient(f"{runtime} did not make the container within {CALL_S:g} s") from None
        if code != 0:
            raise EngineTransient(f"{runtime} failed ({code}): {_last_words(folder / LOG)}")

    async def _settled(self, name: str) -> None:
        """Wait while the container is being made: until then there may be more to end than we see."""
        if (making := self._making.get(name)) is None:
            return
        await asyncio.wait({making}, timeout=END_S)
        if (called := self._calls.get(name)) is not None:
            called.kill()
        await asyncio.wait({making})

    def _remove(self, name: str) -> None:
        self._cgroups.remove(name)
        with suppress(FileNotFoundError):
            for runtime in os.listdir(self._run / STATES):  # it need not be the one that is used today
                shutil.rmtree(self._run / STATES / runtime / name, ignore_errors=True)
        shutil.rmtree(self._folder(name), ignore_errors=True)


def left_by(instance: str, run: Path = RUN) -> list[Seen]:
    """The containers that the folders below `run` tell of."""
    found = []
    for owner in (run / CONTAINERS).glob(f"*/{OWNER}"):
        with suppress(OSError, ValueError):  # it is being made, or goes, right now
            labels = json.loads(owner.read_bytes())
            if labels.get(LABEL) == instance:
                found.append(Seen(owner.parent.name, labels.get(LABEL_WORKER, "")))
    return found


def apparmor_profile(profiles: Path = APPARMOR_PROFILES) -> str | None:
    """The profile that Docker loads for its containers, where the kernel has it."""
    try:
        loaded = profiles.read_text("utf-8").splitlines()
    except OSError:
        return None
    return APPARMOR if any(line.split(" (")[0] == APPARMOR for line in loaded) else None


def keep_in_memory(folder: Path, disk: Path = Path("/")) -> None:
    """Where /run is on the same disk as `disk`, mount memory on a folder without files: each container has a dozen.

    Like the images' trees it belongs to the host and stays. Raises OSError.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # services start side by side
        on_disk = folder.stat().st_dev == disk.stat().st_dev
        if on_disk and not any(path.is_file() for path in folder.rglob("*")):
            kernel.mount("executor", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, NOTES_OPTIONS)
    finally:
        os.close(descriptor)


def _let_go(making: asyncio.Task[PipeChannel]) -> None:
    """Close what nobody waits for any more."""
    if not making.cancelled() and making.exception() is None:
        making.result().close()


def _pipes() -> tuple[Streams, Streams]:
    """The container's stdin, stdout and stderr, and our ends of the three."""
    opened: list[int] = []
    try:
        for _ in range(3):
            opened += os.pipe()
    except OSError:
        _close(opened)
        raise
    their_in, our_in, our_out, their_out, our_err, their_err = opened
    with suppress(OSError):  # the host may allow less
        fcntl.fcntl(our_out, fcntl.F_SETPIPE_SZ, STDOUT_BYTES)
    return (their_in, their_out, their_err), (our_in, our_out, our_err)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _last_words(log: Path) -> str:
    """The runtime's last complaint."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
        return str(json.loads(lines[-1])["msg"]) if lines else "it said nothing"
    except (OSError, ValueError, KeyError, TypeError):
        return "its log cannot be read"
