"""The data directory: who uses it, the instance's identity, the generated token and key."""

from __future__ import annotations

import fcntl
import os
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from executor.errors import ConfigurationError
from executor.settings import Settings


def prepare(settings: Settings) -> None:
    """Make the data directory, for its owner only; raises ConfigurationError if that cannot be."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        containers(settings).mkdir(mode=0o711, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"EXECUTOR_DATA_DIR: {settings.data_dir}: {error.strerror}") from error


def containers(settings: Settings) -> Path:
    """Where containers' own directories are."""
    return settings.data_dir / "containers"


def programs(settings: Settings) -> Path:
    """Where compiled programs are kept, each workspace's apart."""
    return settings.data_dir / "programs"


def shared(settings: Settings) -> Path:
    """Where runs' shared directories are."""
    return settings.data_dir / "shared"


def slots(settings: Settings) -> Path:
    """Where waiting containers' places for shared directories are."""
    return settings.data_dir / "slots"


def tools(settings: Settings) -> Path:
    """Where jobinit and the languages' runners are kept for images that are not ours."""
    return settings.data_dir / "tools"


def roots(settings: Settings) -> Path:
    """Where images are unpacked for the oci engine, if Docker's layers cannot be mounted."""
    return settings.data_dir / "roots"


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the directory for one service; raises ConfigurationError if another one has it."""
    with (settings.data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"EXECUTOR_DATA_DIR: {settings.data_dir} is in use by another service; stop it, or use another one"
            ) from None
        yield


def instance(settings: Settings) -> str:
    """The instance's id: made once, it labels every container."""
    return once(settings.data_dir / "instance", lambda: str(uuid.uuid4()))


def admin_token(settings: Settings) -> tuple[str, bool]:
    """EXECUTOR_TOKEN, else the generated one; and whether it was generated just now."""
    if settings.token is not None:
        if not settings.token.strip():
            raise ConfigurationError("EXECUTOR_TOKEN is empty; unset it or give it a value")
        return settings.token.strip(), False
    path = settings.data_dir / "token"
    is_new = not path.exists()
    return once(path, lambda: secrets.token_urlsafe(32)), is_new


def secrets_key_file(settings: Settings) -> Path:
    """Where the key is that secrets are encrypted with."""
    return settings.data_dir / "secrets.key"


def once(path: Path, make: Callable[[], str]) -> str:
    """The file's text, written (mode 0600) by the first who asks; raises ConfigurationError if it is empty."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(descriptor)  # what a key has encrypted may be in the database in a moment
    text = path.read_text("utf-8").strip()
    if not text:
        raise ConfigurationError(f"{path} is empty; delete it, and a new one is made")
    return text
