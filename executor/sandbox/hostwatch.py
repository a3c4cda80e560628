"""Notices that this host's addresses have changed: rules that name them are then out of date.

The kernel tells of it over rtnetlink(7). Of IPv4 the routes are listened to, as /proc/net/fib_trie,
where the addresses are read, has a new one only after its address was told.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from executor.errors import EngineError

GROUPS = 0x40 | 0x100
"""RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR."""
MESSAGE_BYTES = 64 * 1024


class HostWatch:
    """Calls `changed` on the event loop whenever there may be other addresses, until `close`.

    Raises EngineError if the kernel does not say.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        except OSError as error:
            raise EngineError(f"the host's addresses cannot be watched: {error}") from error
        try:
            self._socket.bind((0, GROUPS))
        except OSError as error:
            self._socket.close()
            raise EngineError(f"the host's addresses cannot be watched: {error}") from error
        self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        """What is said does not matter, nor that some of it was lost."""
        try:
            while self._socket.recv(MESSAGE_BYTES):
                pass
        except OSError:  # nothing more for now, or too much at once
            pass
        self._changed()
