"""Where a script runs: in its language's own image, or in the one that its first lines name."""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from executor.errors import Reason
from executor.runtimes import Runtime
from executor.sandbox.engine import Engine
from executor.sandbox.foreign import ForeignImages, Request
from executor.sandbox.hardening import SHARED, harden, widen
from executor.sandbox.header import Header, HeaderError, header_of
from executor.sandbox.order import INBOX, Order
from executor.sandbox.spec import Bind, ImageSeen, Place
from executor.sandbox.tools import IN_IMAGE, KEPT, Tools
from executor.script import Failed

VOLUMES_MAX = 16
HOME = "/tmp"


@dataclass(frozen=True)
class Places:
    """`executor.sandbox.run.Finder` over an engine's images; `image_of` names our own."""

    engine: Engine
    image_of: Callable[[Runtime], Awaitable[str]]
    foreign: ForeignImages
    tools: Tools

    async def find(self, order: Order) -> Place | Failed:
        """The place, with its image on the engine; or why the script cannot run where it wants to."""
        try:
            header = header_of(order.runtime.manifest, order.script.content)
        except HeaderError as error:
            return Failed(Reason.BAD_INPUT, str(error))
        own = await self.image_of(order.runtime)
        hardening = harden(order.runtime, order.limits, order.shared.size_bytes if order.shared else None)
        if header is None:
            return Place(own, own, tuple(order.runtime.jobinit_argv), hardening)
        request = Request(header.image, order.images, order.listener.log, order.cancellation.asked)
        image = await self.foreign.find(request)
        if isinstance(image, Failed):
            return image
        if (complaint := await self._unfit(header, image)) is not None:
            return Failed(Reason.BAD_INPUT, f"image {header.image}: {complaint}")
        tools = await self.tools.of(own, hardening)
        binds = [Bind(tools / name, f"{IN_IMAGE}/{name}") for name in KEPT if (tools / name).exists()]
        return Place(
            image=image.id,
            shown=f"{header.image} ({image.id})",
            entrypoint=tuple(entrypoint(order.runtime, header, image)),
            hardening=widen(
                hardening,
                user=(image.user or "0:0") if header.image_user else None,
                writable=header.writable,
                volumes=volumes(image, {INBOX, SHARED, *(bind.path for bind in binds)}),
            ),
            binds=tuple(binds),
            environment={"HOME": HOME},
            folder="/",
            is_foreign=True,
        )

    async def _unfit(self, header: Header, image: ImageSeen) -> str | None:
        """Why the image cannot run as the header wants it."""
        if len(image.volumes) > VOLUMES_MAX:
            return f"it has {len(image.volumes)} volumes, over {VOLUMES_MAX}"
        if not header.has_script and not program(header, image):
            return 'it has neither an entrypoint nor a command of its own; write `# command: ["PROGRAM"]`'
        if header.writable and not (info := await self.engine.info()).bounds_root:
            return (
                f"`# writable: true` cannot be had: the engine ({info.name}, {info.storage}) cannot bound a root; "
                "remove the line and write to /tmp or $HOME"
            )
        return None


def program(header: Header, image: ImageSeen) -> list[str]:
    """The program that an image runs by itself; as in Docker, a new entrypoint drops the old command."""
    start = image.entrypoint if header.entrypoint is None else header.entrypoint
    rest = image.command if header.entrypoint is None else ()
    return [*start, *(rest if header.command is None else header.command)]


def entrypoint(runtime: Runtime, header: Header, image: ImageSeen) -> list[str]:
    """jobinit's command line: with the language's runner, the script, or the image's own program."""
    if header.has_script:
        return runtime.jobinit_argv_of([*runtime.manifest.runner, *(header.command or ())])
    return runtime.jobinit_argv_of(program(header, image), folder=image.folder or "/")


def volumes(image: ImageSeen, taken: set[str]) -> list[str]:
    """The image's volumes, as paths that mounts can have, without those where something of ours is mounted.

    None may be forgotten: the engine would put a directory of the host there.
    """
    found = {posixpath.normpath(posixpath.join("/", path)) for path in image.volumes}
    return sorted(found - {"/", *taken})  # of "/" the engine itself says that it cannot be
