"""A fake engine for tests without containers: it speaks the frames, and checks that we do.

A script steers it. Its content is a JSON array of steps, done in order:

    {"log": TEXT}  {"stream": TEXT}  {"sleep": SECONDS}  {"result": VALUE}  {"error": {…}}
    {"exit": CODE}  {"stopped": WHY}  {"oom": true}  {"vanish": true}  {"garbage": TEXT}

`{"echo": true}` gives the arguments back as result. `{"call": NAME}` gives what the function of this name
in `functions` makes of the arguments; if that raises, the script fails as a Python one does. Without an `exit`, `stopped` or `vanish` step the
script ends with exit code 0. Content that is no such array fails as a script does: exit code 1 and
a line in the log. `failures` are raised by the next calls of `start`, one each; `missing_images` are
those the engine does not have; that many next runs as `losses` says end without a word. `images`
are other images that it has, by completed name, `registry` those that can be pulled. `refused_rules`
is what holders answer instead of `ok`, also to rules with one of `unknown_words`; `packets` is what
they say was refused, at the end of the next job.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tarfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from executor.errors import EngineError, EngineTransient, ImageMissing, PullFailed
from executor.sandbox.engine import LABEL, LABEL_ROLE, LABEL_WORKER, Bridge, Ended, EngineInfo, Maker, Seen
from executor.sandbox.frames import RESULT_PREFIX, RESULT_SUFFIX
from executor.sandbox.references import Reference
from executor.sandbox.spec import ContainerSpec, Hardening, ImageSeen


@dataclass
class FakeContainer:
    """A container that exists in this process only."""

    spec: ContainerSpec
    inbox: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    outbox: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None
    oom_killed: bool = False
    signals: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def say(self, **frame: Any) -> None:
        """Send a frame."""
        self.outbox.put_nowait(json.dumps(frame).encode() + b"\n")

    def end(self) -> None:
        """End the stream."""
        self.outbox.put_nowait(b"")


class FakeChannel:
    """The two queues of a fake container as a channel."""

    def __init__(self, container: FakeContainer) -> None:
        self._container = container

    async def send(self, data: bytes) -> None:
        """Give the container a frame."""
        if not data.endswith(b"\n") or data.count(b"\n") != 1:
            raise AssertionError(f"BUG: a frame is exactly one line, not {data[:80]!r}")
        self._container.inbox.put_nowait(data)

    async def receive(self) -> bytes:
        """The container's next bytes."""
        return await self._container.outbox.get()

    def close(self) -> None:
        """Nothing to let go of."""


def steps(content: str) -> list[tuple[str, Any]]:
    """The steps that a script's content asks for; content that is none asks for one nobody knows."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, list) or not all(isinstance(step, dict) and len(step) == 1 for step in said):
        return [("do", content[:80])]
    return [next(iter(step.items())) for step in said]


class FakeEngine:
    """`executor.sandbox.engine.Engine` without containers."""

    name = "fake"
    runtime = "fake"

    def __init__(self, boot_s: float = 0.0) -> None:
        self.boot_s = boot_s
        self.living: dict[str, FakeContainer] = {}
        self.started: list[ContainerSpec] = []
        self.killed: list[str] = []
        self.failures: deque[EngineError] = deque()
        self.remove_failures: deque[EngineError] = deque()
        self.missing_images: set[str] = set()
        self.losses = 0
        self.bridges: dict[str, Mapping[str, str]] = {}
        self.refused_rules: str | None = None
        self.unknown_words: set[str] = set()
        self.packets: list[str] = []
        self._removed = asyncio.Event()
        self.images: dict[str, ImageSeen] = {}
        self.registry: dict[str, ImageSeen] = {}
        self.pull_s = 0.0
        self.can_bound_root = False
        self.can_update = True
        self.stands_for = self.name
        self.updated: list[str] = []
        self.pulls: list[str] = []
        self.read: list[ContainerSpec] = []
        self.functions: dict[str, Callable[[dict[str, Any]], Any]] = {}

    async def unfit(self, runtime_class: str) -> str | None:
        """It has every runtime but runsc."""
        return "runsc is not installed" if runtime_class == "runsc" else None

    async def start(self, spec: ContainerSpec) -> FakeChannel:
        """Start a container that waits for its job."""
        if self.failures:
            raise self.failures.popleft()
        if spec.image in self.missing_images:
            raise ImageMissing(f"no such image: {spec.image}")
        if spec.name in self.living:
            raise AssertionError(f"BUG: the container name {spec.name} is in use")
        self._check_network(spec.network)
        container = self.living[spec.name] = FakeContainer(spec)
        self.started.append(spec)
        container.task = asyncio.create_task(self._live(container))
        return FakeChannel(container)

    async def _hold(self, container: FakeContainer) -> None:
        """Take rules as a holder does, but for those that should be refused."""
        await asyncio.sleep(self.boot_s)
        while True:
            verb, _, said = (await container.inbox.get()).decode().strip().partition(" ")
            if verb == "sync":
                packets = "".join(f"packet {packet}\n" for packet in self.packets)
                self.packets.clear()
                container.outbox.put_nowait(f"{packets}at {said}\n".encode())
                continue
            rules = base64.b64decode(said).decode()
            words = [word for word in self.unknown_words if word in rules]
            refused = f"refused: no {words[0]}" if words else self.refused_rules
            if refused is None and verb == "load":
                container.rules.append(rules)
            container.outbox.put_nowait(f"{refused or 'ok'}\n".encode())

    async def _live(self, container: FakeContainer) -> None:
        if container.spec.labels.get(LABEL_ROLE) == "holder":
            await self._hold(container)
        await asyncio.sleep(self.boot_s)
        container.say(type="ready")
        job = json.loads(await container.inbox.get())
        if job["type"] != "job":
            raise AssertionError(f"BUG: the first frame must be the job, not {job['type']!r}")
        listening = asyncio.create_task(self._hear(container))
        try:
            await self._act(container, job)
        finally:
            listening.cancel()
            container.end()

    async def _hear(self, container: FakeContainer) -> None:
        while True:
            frame = json.loads(await container.inbox.get())
            container.signals.append(frame["signal"])

    async def _act(self, container: FakeContainer, job: dict[str, Any]) -> None:
        if self.losses:
            self.losses -= 1
            return
        code, stopped, oom_kills = 0, None, 0
        for name, given in steps(job["script"]):
            match name, given:
                case "log", str(text):
                    container.say(type="log", stream="stdout", text=text)
                case "stream", str(text):
                    container.say(type="stream", text=text)
                case "sleep", int(seconds) | float(seconds):
                    await asyncio.sleep(seconds)
                case "result", value:
                    self._result(container, value)
                case "echo", _:
                    self._result(container, job.get("args"))
                case "call", str(name):
                    code = self._call(container, name, job.get("args") or {})
                case "error", dict(error):
                    container.say(type="error", **error)
                    code = 1
                case "exit", int(number):
                    code = number
                case "stopped", why:
                    stopped = why
                case "oom", _:
                    container.oom_killed, oom_kills = True, 1
                case "garbage", str(text):
                    container.outbox.put_nowait(text.encode() + b"\n")
                case "vanish", _:
                    return
                case _:
                    container.say(
                        type="log", stream="stderr", text=f"the fake engine cannot {name}: {given!r}\n"
                    )
                    code = 1
                    break
        container.say(
            type="exit",
            code=None if stopped else code,
            signal="SIGKILL" if stopped else None,
            stopped=stopped,
            wall_ms=1,
            cpu_ms=1,
            memory_peak_bytes=1024,
            oom_kills=oom_kills,
        )

    def _call(self, container: FakeContainer, name: str, args: dict[str, Any]) -> int:
        """Let a function be the script; the exit code."""
        try:
            self._result(container, self.functions[name](args))
        except Exception as error:  # noqa: BLE001 - whatever a script raises is its own failure
            container.say(type="error", name=type(error).__name__, message=str(error), stack="", extra={})
            return 1
        return 0

    def _result(self, container: FakeContainer, value: Any) -> None:
        text = json.dumps(value, separators=(",", ":")).encode()
        container.outbox.put_nowait(RESULT_PREFIX + text + RESULT_SUFFIX + b"\n")

    async def update(self, name: str, hardening: Hardening) -> bool:
        """Change a container's limits, unless `can_update` says otherwise."""
        container = self.living.get(name)
        if not self.can_update or container is None or container.task is None or container.task.done():
            return False
        container.spec = replace(container.spec, hardening=hardening)
        self.updated.append(name)
        return True

    async def ended(self, name: str) -> Ended:
        """What happened to the container."""
        container = self.living.get(name)
        running = container is not None and container.task is not None and not container.task.done()
        return Ended(oom_killed=container is not None and container.oom_killed, running=running)

    async def kill(self, name: str) -> None:
        """End the container's stream at once."""
        self.killed.append(name)
        container = self.living.get(name)
        if container is not None and container.task is not None and not container.task.done():
            container.task.cancel()
            container.end()

    async def remove(self, name: str) -> None:
        """Forget the container."""
        if self.remove_failures:
            raise self.remove_failures.popleft()
        await self.kill(name)
        self.living.pop(name, None)
        self._removed.set()

    def maker(self, name: str) -> Maker:
        """It makes them all itself."""
        return Maker(self.name, self.runtime)

    async def engine_for(self, spec: ContainerSpec) -> str:
        """The engine that it stands for, which a test may choose."""
        return self.stands_for

    def _check_network(self, network: str) -> None:
        joined = self.living.get(network.removeprefix("container:"))
        is_joined = joined is not None and joined.task is not None and not joined.task.done()
        if not is_joined and network not in self.bridges and network != "none":
            raise EngineError(f"cannot join {network}")

    async def make_network(self, name: str, labels: Mapping[str, str], *, ipv6: bool) -> Bridge:
        """Take note of a network."""
        if self.failures:
            raise self.failures.popleft()
        self.bridges[name] = dict(labels)
        return Bridge(("172.30.0.0/16",), ("172.30.0.1",))

    async def remove_network(self, name: str) -> None:
        """Forget the network, on which no container may be any more."""
        while any(container.spec.network == name for container in self.living.values()):
            self._removed.clear()
            await self._removed.wait()
        self.bridges.pop(name, None)

    async def networks(self, instance: str) -> list[Seen]:
        """The networks of the instance."""
        return [
            Seen(name, labels[LABEL_WORKER])
            for name, labels in self.bridges.items()
            if labels[LABEL] == instance
        ]

    async def containers(self, instance: str) -> list[Seen]:
        """The containers of the instance."""
        return [
            Seen(name, container.spec.labels[LABEL_WORKER])
            for name, container in self.living.items()
            if container.spec.labels[LABEL] == instance
        ]

    async def info(self) -> EngineInfo:
        """A fake engine is always there."""
        if self.failures:
            raise EngineTransient(str(self.failures[0]))
        return EngineInfo("fake", "0", "fake", "2", (), bounds_root=self.can_bound_root)

    async def image(self, reference: str) -> ImageSeen | None:
        """The image as the test has described it; an image of ours is there without that."""
        if reference in self.missing_images:
            return None
        if reference.startswith("image-of-"):
            return ImageSeen(f"sha256:{reference}")
        return self.images.get(reference)

    async def pull(self, reference: Reference) -> None:
        """Take the image out of the registry that the test has filled."""
        self.pulls.append(str(reference))
        await asyncio.sleep(self.pull_s)
        if str(reference) not in self.registry:
            raise PullFailed(f"manifest for {reference} not found")
        self.images[str(reference)] = self.registry[str(reference)]

    async def files(self, spec: ContainerSpec, path: str) -> bytes:
        """A tar of what is in every image of ours."""
        self.read.append(spec)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for name, text, mode in (("jobinit", b"jobinit", 0o555), ("runtime/runner.x", b"runner", 0o644)):
                entry = tarfile.TarInfo(f"{path.strip('/')}/{name}")
                entry.size, entry.mode = len(text), mode
                tar.addfile(entry, io.BytesIO(text))
        return content.getvalue()

    async def has_image(self, tag: str) -> bool:
        """It has every image but the missing ones."""
        return tag not in self.missing_images

    def close(self) -> None:
        """Nothing to give up."""
