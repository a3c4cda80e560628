"""How much memory the container has."""

from pathlib import Path

MIB = 1024 * 1024
_FILES = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_UNKNOWN_BYTES = 256 * MIB


def limit_bytes():
    """The container's memory limit; the usual one where the kernel shows none."""
    for file in _FILES:
        try:
            value = int(file.read_text())
        except (OSError, ValueError):
            continue
        if 0 < value < 1 << 50:  # without a limit version 1 says nearly 2 ** 63
            return value
    return _UNKNOWN_BYTES
