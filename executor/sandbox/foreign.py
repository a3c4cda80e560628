"""Images that scripts name: allowed or not, on the engine or pulled, and then known by their id.

The name is judged before anything is pulled, the image that then is there is judged again by its
digests, and a container is made from the id of that very image: what a tag points to may change
meanwhile, what runs was checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from executor import telemetry
from executor.errors import PullFailed, Reason
from executor.sandbox.engine import Engine
from executor.sandbox.onhost import is_on_host
from executor.sandbox.references import AllowList, Reference, Verdict
from executor.sandbox.spec import ImageSeen
from executor.script import Failed

PULL_S = 600.0
"""How long a pull may take, waiting for its turn included; it is not counted in the job's time."""
NAMED = "a registry on this host has to be named there, as in `*, localhost:5000/*`"
POLICY = "the workspace's policy (images)"

PullPolicy = Literal["missing", "always", "never"]


@dataclass(frozen=True)
class Request:
    """An image that a job wants; `also` is what its workspace's policy allows, None for everything."""

    reference: Reference
    also: tuple[str, ...] | None
    told: Callable[[str], None] | None
    cancelled: asyncio.Event


@dataclass
class _Pull:
    """A pull under way, and how many jobs wait for it; without any it is given up."""

    task: asyncio.Task[str | None]
    waiting: int = 0


class ForeignImages:
    """The images of `engine` for scripts that name theirs; `allowed` are EXECUTOR_IMAGES' patterns."""

    def __init__(
        self, engine: Engine, allowed: Sequence[str], pull: PullPolicy, pull_s: float = PULL_S
    ) -> None:
        self._engine = engine
        self._allowed = AllowList.of("EXECUTOR_IMAGES", allowed)
        self._policy = pull
        self._pull_s = pull_s
        self._under_way: dict[Reference, _Pull] = {}

    async def find(self, request: Request) -> ImageSeen | Failed:
        """The image, pulled if need be; a failure if it is not allowed or cannot be had."""
        reference = request.reference
        lists = [self._allowed]
        if request.also is not None:
            lists.append(AllowList.of(POLICY, request.also))
        verdicts = {allowed.source: allowed.verdict(reference) for allowed in lists}
        for source, verdict in verdicts.items():
            if verdict is Verdict.REFUSED:
                return _refused(reference, source)
        may_pull = not reference.is_id and Verdict.BY_CONTENT_HERE not in verdicts.values()
        image = await self._had(request, may_pull)
        if not isinstance(image, ImageSeen):
            return image
        for allowed in lists:
            if not allowed.allows(reference, image.id, image.digests):
                return _refused(reference, allowed.source, f" (it is {image.id})")
        return image

    async def _had(self, request: Request, may_pull: bool) -> ImageSeen | Failed:
        """The image, from the engine or from its registry."""
        reference = request.reference
        image = await self._engine.image(str(reference))
        wanted = self._policy == "always" or (self._policy == "missing" and image is None)
        if may_pull and wanted and await self._is_hidden(reference):
            return _refused(reference, f"{self._allowed.source}: {NAMED}")
        if may_pull and wanted:
            if (failed := await self._pulled(request)) is not None:
                return failed
            image = await self._engine.image(str(reference))
        if image is None:
            return _not_found(reference, _why_absent(self._policy, reference, may_pull))
        return image

    async def _is_hidden(self, reference: Reference) -> bool:
        """Whether pulling would reach a place of this host that nobody has opened to scripts."""
        if self._allowed.names_registry(reference):
            return False
        return await asyncio.to_thread(is_on_host, reference.registry)

    async def _pulled(self, request: Request) -> Failed | None:
        """Wait for the pull, started here unless it is under way; None once the image is there."""
        reference = request.reference
        if request.told is not None:
            request.told(f"pulling image {reference}\n")
        pull = self._under_way.get(reference)
        if pull is None:
            pull = self._under_way[reference] = _Pull(asyncio.create_task(self._pull(reference)))
        pull.waiting += 1
        cancelled = asyncio.create_task(request.cancelled.wait())
        try:
            await asyncio.wait({pull.task, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if cancelled.done():
                return Failed(Reason.CANCELLED, "the job was cancelled")
            why = pull.task.result()
            return None if why is None else _not_found(reference, why)
        finally:
            cancelled.cancel()
            pull.waiting -= 1
            if pull.task.done() or not pull.waiting:
                pull.task.cancel()
                if self._under_way.get(reference) is pull:
                    del self._under_way[reference]

    async def _pull(self, reference: Reference) -> str | None:
        """Pull once; why it could not be, if it could not."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._pull_s):
                await self._engine.pull(reference)
        except PullFailed as error:
            return f"it cannot be pulled: {error}"
        except TimeoutError:
            return f"it cannot be pulled within {self._pull_s:g} s"
        telemetry.pull_seconds.observe(time.monotonic() - began)
        return None


def _why_absent(policy: PullPolicy, reference: Reference, may_pull: bool) -> str:
    if reference.is_id:
        return "no image on this host has this id; name it, as NAME@sha256:…"
    if not may_pull:
        return "it is not on this host, and only its digest is allowed; name it as NAME@sha256:…"
    if policy == "never":
        return "it is not on this host, and EXECUTOR_PULL=never forbids to pull it"
    return "it was removed from this host meanwhile"


def _not_found(reference: Reference, why: str) -> Failed:
    return Failed(Reason.IMAGE_NOT_FOUND, f"image {reference}: {why}")


def _refused(reference: Reference, source: str, what: str = "") -> Failed:
    return Failed(Reason.IMAGE_NOT_ALLOWED, f"image {reference}{what} is not allowed by {source}")
