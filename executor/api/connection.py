"""A client's connection: how many there may be, how long they may keep us waiting, how refusals look.

uvicorn bounds neither: who sends one byte a second, or reads one, would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from executor import telemetry
from executor.api.body import BYTES_PER_S_MIN
from executor.api.problems import problem
from executor.settings import Settings

HEAD_END = re.compile(rb"\n\r?\n")
AMBIGUOUS = {
    "a line that ends in LF alone": re.compile(rb"(?<!\r)\n"),
    "a header that goes on in the next line": re.compile(rb"\n[ \t]"),
    "Content-Length more than once": re.compile(
        rb"\ncontent-length[ \t]*:(?:[^\n]*,|[\s\S]*\ncontent-length[ \t]*:)", re.IGNORECASE
    ),
}
"""What RFC 9112 (2.2, 5.2, 6.3) lets a server take, and a proxy before it may have read in another way."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What bounds connections. Times in seconds."""

    count: int
    read_s: float
    header_kb: int

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        """As set; never more connections than half of the files that this process may open."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = settings.connections_max
        if files != resource.RLIM_INFINITY and count > files // 2:
            count = files // 2
            telemetry.log.warning("fewer connections than EXECUTOR_CONNECTIONS_MAX: ulimit -n", most=count)
        return cls(count, settings.read_s, settings.header_kb)


def protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """uvicorn's protocol, bounded by `limits`."""
    return type("BoundedConnection", (Connection,), {"limits": limits})


class OneReading(h11.Connection):
    """h11's parser, which here refuses heads that another reader may have read in another way."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's; raises RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            come = self.trailing_data[0]
            end = HEAD_END.search(come)
            head = come if end is None else come[: end.end()]
            for what, pattern in AMBIGUOUS.items():
                if pattern.search(head):
                    raise h11.RemoteProtocolError(what)
        return super().next_event()


class Connection(H11Protocol):
    """One connection over HTTP/1.1."""

    limits: ConnectionLimits
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.conn = OneReading(h11.SERVER, max_incomplete_event_size=self.limits.header_kb * 1024)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, unless there are too many; the first request has to come soon."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.count:
            telemetry.requests_refused.labels("connections").inc()
            detail = f"there are {self.limits.count} connections"
            self._refuse(503, detail, "wait, or raise EXECUTOR_CONNECTIONS_MAX")
            return
        self._late = self.loop.call_later(self.limits.read_s, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The timers end with it."""
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, and see whether more has to come soon."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        """A body that nobody read may still be coming."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client reads slower than we write: look now and then whether it reads at all."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; called by uvicorn where it has caught h11's complaint."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if status == 431:
            detail = f"headers: over {self.limits.header_kb} KiB"
            self._refuse(431, detail, "send fewer or shorter ones, or raise EXECUTOR_HEADER_KB")
        else:
            self._refuse(400, f"not HTTP/1.1: {error or msg}", "send a well-formed request")

    def _watch(self) -> None:
        """Start the clock while a request's head, or a body that nobody waits for, has begun and not ended."""
        has_begun = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        is_left_over = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if self.transport.is_closing() or not (has_begun or is_left_over):
            if self._late is not None:
                self._late.cancel()
                self._late = None
        elif self._late is None:
            self._late = self.loop.call_later(self.limits.read_s, self._too_late)

    def _too_late(self) -> None:
        self._late = None
        telemetry.requests_refused.labels("slow").inc()
        detail = f"request: it did not come within {self.limits.read_s:g} s"
        self._refuse(408, detail, "send it faster, or raise EXECUTOR_READ_S")

    def _watch_reader(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        most = waiting - self.limits.read_s * BYTES_PER_S_MIN
        self._unread = self.loop.call_later(self.limits.read_s, self._look_at_reader, most)

    def _look_at_reader(self, most: float) -> None:
        if self.transport.get_write_buffer_size() <= most:
            return self._watch_reader()
        telemetry.requests_refused.labels("slow").inc()
        self._unread = None
        self.transport.abort()  # closing would wait for the client to read

    def _refuse(self, status: int, detail: str, remedy: str) -> None:
        """Say why, where an answer can still be given, and hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever answers it still must not write on this connection
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = problem(status, detail, {"Connection": "close"}, remedy=remedy)
            head = h11.Response(status_code=status, headers=answer.raw_headers)
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _stop_timers(self) -> None:
        for timer in (self._late, self._unread):
            if timer is not None:
                timer.cancel()
        self._late = self._unread = None
