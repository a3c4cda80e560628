"""Images as the Docker engine has them: looked at, pulled, and what lies in them. Blocking calls."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests
from docker import auth
from docker.errors import APIError, DockerException

from executor.errors import EngineError, EngineUnreachable, PullFailed
from executor.sandbox.references import Reference
from executor.sandbox.spec import ImageSeen

CONNECT_S = 10
SILENCE_S = 120
"""How long the engine may say nothing while it pulls."""
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
    )


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
        raise PullFailed(str(error.explanation or error)) from error
    except requests.ReadTimeout:
        raise PullFailed(f"nothing came for {SILENCE_S} s") from None
    except (requests.ConnectionError, requests.Timeout, ConnectionError) as error:
        if "timed out" in str(error).lower():
            raise PullFailed(f"nothing came for {SILENCE_S} s") from None
        raise EngineUnreachable(f"no docker engine answers: {error}") from error


def _follow(events: Iterable[Mapping[str, Any]], given_up: threading.Event) -> None:
    for event in events:
        if "error" in event:
            raise PullFailed(str(event["error"]))
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
