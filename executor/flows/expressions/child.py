"""The program of a child process: gives up what it may do, then evaluates what it is sent.

It ends when its stdin does, so that it never outlives the service; while it computes, its own alarm and
the kernel see to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, BinaryIO, NoReturn

from executor.flows.expressions import frames, paths
from executor.flows.expressions.evaluation import OUT_OF_MEMORY, Evaluation, Failure, Refused

NOBODY = 65532
"""User and group of a child of a service that runs as root, as in the scripts' containers."""
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
ADDRESS_SPACE = 512 << 20
"""Bytes a child may map besides the engine's memory and a copy of it: Python, JSON text on its way."""
GRACE_S = 0.5
"""How long after the time limit a child ends itself, if the service has not done it."""


def main(limits_json: str) -> None:
    """Serve evaluations on stdin and stdout until stdin ends."""
    limits = json.loads(limits_json)
    source, sink = os.fdopen(0, "rb"), os.fdopen(1, "wb", buffering=0)
    _warm_up()
    _confine(limits["memory_mb"])
    service = Service(source, sink)
    service.send(frames.READY)
    evaluation = Evaluation(limits["memory_mb"])
    while True:
        request = service.request()
        # Its default action ends the process, wherever it is: in the engine no Python handler would run.
        signal.setitimer(signal.ITIMER_REAL, limits["timeout_s"] + GRACE_S)
        _evaluate(request, evaluation, service)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if evaluation.spent:
            evaluation = Evaluation(limits["memory_mb"])


class Service:
    """The other side of the pipes. Where it is gone, the process ends."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Write one frame."""
        rest = memoryview(frames.frame(kind, payload))
        while rest:
            rest = rest[self._sink.write(rest) :]

    def request(self) -> dict[str, Any]:
        """Wait for the next evaluation."""
        kind, payload = self._frame()
        assert kind == frames.EVALUATE, f"BUG: a frame {kind!r} where a request should be"
        request: dict[str, Any] = json.loads(payload)
        return request

    def ask(self, what: str, key: str) -> bytes | None:
        """Ask for a value; None if there is none. Raises Refused with the service's message."""
        question = json.dumps([what, key]).encode()
        if len(question) > frames.QUESTION_BYTES:
            raise Refused(f"{what}: a name of {len(key)} characters is too long")
        self.send(frames.ASK, question)
        kind, payload = self._frame()
        if kind == frames.REFUSED:
            raise Refused(payload.decode())
        return None if kind == frames.UNKNOWN else payload

    def _frame(self) -> tuple[bytes, bytes]:
        head = self._source.read(frames.HEAD.size)
        if len(head) < frames.HEAD.size:
            _leave()
        kind, length = frames.HEAD.unpack(head)
        try:
            payload = self._source.read(length)
        except MemoryError:  # what is left in the pipe would be taken for the next frame
            _leave(code=1)
        if len(payload) < length:
            _leave()
        return kind, payload


def _evaluate(request: dict[str, Any], evaluation: Evaluation, service: Service) -> None:
    """Answer one request: the plain path if it is one, else with the engine."""
    try:
        value = _by_path(request, service)
        if value is None:
            value = evaluation.run(request, service.ask)
        service.send(frames.RESULT, value)
    except Failure as failure:
        service.send(frames.FAILED, str(failure).encode("utf-8", "replace"))
    except MemoryError:
        service.send(frames.FAILED, OUT_OF_MEMORY.encode())


def _by_path(request: dict[str, Any], service: Service) -> bytes | None:
    """The answer to a plain path into a value too big for the service to look into; None: not plain after all."""
    if not request["plain"]:
        return None
    plain = paths.parse(request["expr"])
    assert plain is not None, "BUG: the service and its child disagree on what a plain path is"
    with contextlib.suppress(Refused, paths.NotPlain):
        text = service.ask(plain.kind, plain.key)
        return paths.encoded(paths.follow(plain, b"null" if text is None else text), request["boolean"])
    return None


def _warm_up() -> None:
    """Load all that is loaded late: afterwards no file can be opened any more."""
    request = {"expr": "results.a", "boolean": False, "names": {}, "result_bytes": 100}
    wants = {"result": True, "error": True, "results": True, "calls": True}
    Evaluation(memory_mb=8).run(request | wants, lambda _what, _key: b"1")
    "".encode("utf-8", "replace")


def _confine(memory_mb: int) -> None:
    """Give up privileges, files, sockets, processes; bound the memory."""
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of user, which clears it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits = {
        resource.RLIMIT_AS: ADDRESS_SPACE + 2 * (memory_mb << 20),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 3,  # stdin, stdout, stderr: neither a file nor a socket can be opened
    }
    for which, most in limits.items():
        hard = resource.getrlimit(which)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (bound, bound))


def _leave(code: int = 0) -> NoReturn:
    """The service is gone, or lost to us: end at once, whatever the engine is doing."""
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
