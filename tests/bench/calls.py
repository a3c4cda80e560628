"""A client as lean as can be, so that what is measured is the service: one kept-alive connection each."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.acceptance.service import TOKEN

SCRIPT = "jobs/run_wait_result/preview"
FLOW = "jobs/run_wait_result/preview_flow"
AWAKE_S = 30.0
"""A connection without a request for so long may soon be closed by the service."""


class Caller:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self._connection.connect()  # asyncio sets TCP_NODELAY on its side
        self._used = time.monotonic()

    def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The answer's status and body, whatever they are."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self._connection.request("POST", f"/api/w/main/{path}", body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        self._used = time.monotonic()
        return response.status, answer

    def post(self, path: str, body: bytes) -> bytes:
        """The answer's body; raises AssertionError unless it is a success."""
        status, answer = self.ask(path, body)
        assert status in (200, 201), answer[:500]
        return answer

    def run(self, body: bytes) -> float:
        """Seconds of one script, from request to result."""
        self.wake()
        began = time.perf_counter()
        self.post(SCRIPT, body)
        return time.perf_counter() - began

    def flow(self, value: dict[str, Any]) -> float:
        """Seconds of one flow."""
        body = flow(value)
        self.wake()
        began = time.perf_counter()
        self.post(FLOW, body)
        return time.perf_counter() - began

    def wake(self) -> None:
        """Connect anew, outside of what is timed, where the service may have hung up on an idle connection."""
        if time.monotonic() - self._used > AWAKE_S:
            self._connection.close()
            self._connection.connect()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def script(language: str, content: str, **more: Any) -> bytes:
    """A request's body."""
    return json.dumps({"language": language, "content": content, "args": {}, **more}).encode()


def flow(value: dict[str, Any]) -> bytes:
    """A request's body."""
    return json.dumps({"value": value}).encode()


def at_once(port: int, clients: int, act: Callable[[Caller], None]) -> float:
    """Seconds until that many clients have each done it."""
    callers = [Caller(port) for _ in range(clients)]
    failed: list[BaseException] = []

    def one(caller: Caller) -> None:
        try:
            act(caller)
        except BaseException as error:  # noqa: BLE001 - told where it is waited for
            failed.append(error)

    threads = [threading.Thread(target=one, args=(caller,)) for caller in callers]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    for caller in callers:
        caller.close()
    if failed:
        raise failed[0]
    return spent


def sustained(port: int, clients: int, body: bytes, seconds: float) -> tuple[float, list[float]]:
    """Jobs a second of so many clients that each send the next when the last has ended; and their times."""
    times: list[float] = []
    deadline = time.perf_counter() + seconds

    def act(caller: Caller) -> None:
        while time.perf_counter() < deadline:
            times.append(caller.run(body))

    spent = at_once(port, clients, act)
    return len(times) / spent, times
