"""Images as the Docker engine has them: looked at, pulled, and what lies in them. Blocking calls."""

from __future__ import annotations

import re
import subprocess
import threading
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from docker import auth
from docker.errors import APIError, DockerException

from executor.errors import EngineError, EngineUnreachable, PullFailed
from executor.sandbox.references import Reference
from executor.sandbox.spec import ImageSeen

BODY = re.compile(r"error parsing HTTP|no error details|invalid character|response body", re.IGNORECASE)
CONNECT_S = 10
SILENCE_S = 120
"""How long the engine may say nothing while it pulls."""
LABEL_IMAGE = "executor.image"
LABEL_PIN = "executor.root"
"""Not the label of an instance's containers: an image's root belongs to the host."""
FILES_BYTES_MAX = 64 * 1024 * 1024


def seen(image: Mapping[str, Any]) -> ImageSeen:
    """What matters of the engine's description of an image."""
    config = image.get("Config") or {}
    return ImageSeen(
        id=str(image["Id"]),
        digests=tuple(image.get("RepoDigests") or ()),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        user=str(config.get("User") or ""),
        folder=str(config.get("WorkingDir") or ""),
        volumes=tuple(sorted(config.get("Volumes") or ())),
        environment=tuple(config.get("Env") or ()),
        is_ours=LABEL_IMAGE in (config.get("Labels") or {}),
        layers=layers(image.get("GraphDriver") or {}),
    )


def layers(driver: Mapping[str, Any]) -> tuple[str, ...]:
    """An image's overlay2 layers, topmost first, by the short names that Docker has for them.

    All of them must fit into one page of mount options.
    """
    data = driver.get("Data") or {}
    if driver.get("Name") != "overlay2" or not data.get("UpperDir"):
        return ()
    folders = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
    return tuple(map(_short, map(Path, folders)))


def _short(layer: Path) -> str:
    """`l/NAME` beside the layers, if we can read what its name is."""
    try:
        name = (layer.parent / "link").read_text("ascii").strip()
    except OSError:
        return str(layer)
    return str(layer.parent.parent / "l" / name)


def pin(api: Any, image_id: str, name: str) -> None:
    """Make a container that is never started, so that the image's layers stay; it may be there already."""
    config = api.create_container_config(
        image=image_id,
        command=["true"],
        labels={LABEL_PIN: image_id},
        host_config=api.create_host_config(network_mode="none"),
    )
    try:
        api.create_container_from_config(config, name=name)
    except APIError as error:
        if error.status_code != 409:
            raise


def unpack(api: Any, image_id: str, folder: Path) -> None:
    """Write the image's tree, owners and modes included, into a folder; raises EngineError."""
    name = f"executor-unpack-{uuid.uuid4()}"
    pin(api, image_id, name)
    argv = ["tar", "--extract", "--numeric-owner", "--same-permissions", f"--directory={folder}"]
    try:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
            if tar.stdin is None or tar.stderr is None:
                raise AssertionError("BUG: tar was started with pipes")
            with suppress(BrokenPipeError):  # then it has said why
                for piece in api.export(name):
                    tar.stdin.write(piece)
                tar.stdin.close()
            said = tar.stderr.read().decode(errors="replace").strip()
        if tar.returncode != 0:
            raise EngineError(f"tar: {said[-500:] or f'exit status {tar.returncode}'}")
    except OSError as error:
        raise EngineError(f"tar cannot be run: {error}") from error
    finally:
        api.remove_container(name, force=True, v=True)


def pull(api: Any, reference: Reference, registry_config: Path | None, given_up: threading.Event) -> None:
    """Pull an image. Raises PullFailed with the engine's reason, EngineUnreachable without an engine."""
    headers = {"X-Registry-Auth": auth.encode_header(credentials(reference, registry_config))}
    params = {"fromImage": reference.name, "tag": reference.version}
    # The SDK's own call would wait for ever, and looks for credentials in one place only.
    url = api._url("/images/create")
    try:
        with api._post(
            url, params=params, headers=headers, stream=True, timeout=(CONNECT_S, SILENCE_S)
        ) as answer:
            api._raise_for_status(answer)
            _follow(api._stream_helper(answer, decode=True), given_up)
    except APIError as error:
        raise PullFailed(_told(str(error.explanation or error))) from error
    except requests.ReadTimeout:
        raise PullFailed(f"nothing came for {SILENCE_S} s") from None
    except (requests.ConnectionError, requests.Timeout, ConnectionError) as error:
        if "timed out" in str(error).lower():
            raise PullFailed(f"nothing came for {SILENCE_S} s") from None
        raise EngineUnreachable(f"no docker engine answers: {error}") from error


def _told(said: str) -> str:
    """What the engine says, without what a server has answered: whoever names a registry may name any server."""
    cut = BODY.search(said)
    return said if cut is None else f"{said[: cut.start()].rstrip(' :')}: what answers there is no registry"


def _follow(events: Iterable[Mapping[str, Any]], given_up: threading.Event) -> None:
    for event in events:
        if "error" in event:
            raise PullFailed(_told(str(event["error"])))
        if given_up.is_set():  # leaving ends the engine's work too
            raise PullFailed("nobody waits for it any more")


def credentials(reference: Reference, registry_config: Path | None) -> dict[str, Any]:
    """What the registry is to be told, read anew each time; empty if nothing is known of it."""
    try:
        known = auth.load_config(config_path=None if registry_config is None else str(registry_config))
        return dict(known.resolve_authconfig(reference.registry) or {})
    except (DockerException, ValueError, KeyError, AttributeError, TypeError):
        # Without its cause: that may quote the file.
        raise PullFailed("the registries' credentials cannot be read; see EXECUTOR_REGISTRY_CONFIG") from None


def files(api: Any, container: str, path: str) -> bytes:
    """What lies at `path` of a container that need not run, as a tar."""
    stream, _ = api.get_archive(container, path)
    content = bytearray()
    for piece in stream:
        content += piece
        if len(content) > FILES_BYTES_MAX:
            raise EngineError(f"{path} in {container} has over {FILES_BYTES_MAX} bytes")
    return bytes(content)
