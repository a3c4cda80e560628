"""How big, how slow and how many requests may be: over a real socket, as the service is served."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.api.served import served
from tests.service import TOKEN

SETTINGS: dict[str, Any] = {
    "request_mb": 1,
    "header_kb": 8,
    "read_s": 0.4,
    "connections_max": 12,
    "requests_open": 3,
    "wait_s": 1,
}
PREVIEW = "/api/w/main/jobs/run/preview"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with served(tmp_path_factory.mktemp("data"), **SETTINGS) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


def head(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The answer's status, headers and body; it must come, and end, within five seconds."""
    sock.settimeout(5)
    whole = b""
    while b"\r\n\r\n" not in whole:
        piece = sock.recv(65536)
        assert piece, whole
        whole += piece
    start, _, body = whole.partition(b"\r\n\r\n")
    first, *rest = start.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    while len(body) < int(headers["content-length"]):
        body += sock.recv(65536)
    return int(first.split()[1]), headers, body


def refused(sock: socket.socket) -> tuple[int, str]:
    """Status and remedy of a problem document."""
    status, headers, body = answer(sock)
    assert headers["content-type"] == "application/problem+json"
    assert headers.get("connection") == "close" or status == 413  # its sender may still be sending
    return status, json.loads(body)["remedy"]


def is_hung_up(sock: socket.socket, within_s: float = 5) -> bool:
    sock.settimeout(within_s)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_body_over_the_limit_with_and_without_a_length(address: tuple[str, int]) -> None:
    """A length is believed at once; chunks are counted as they come."""
    with socket.create_connection(address) as sock:
        sock.sendall(head("POST", PREVIEW, f"Content-Length: {2**40}"))
        assert refused(sock) == (413, "send less, or raise EXECUTOR_REQUEST_MB")
    with socket.create_connection(address) as sock:
        sock.sendall(head("POST", PREVIEW, "Transfer-Encoding: chunked"))
        for _ in range(17):
            sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert refused(sock) == (413, "send less, or raise EXECUTOR_REQUEST_MB")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_over_the_limit(address: tuple[str, int], at_once: bool) -> None:
    """In one piece, and in pieces that never end."""
    with socket.create_connection(address) as sock:
        if at_once:
            sock.sendall(head("GET", "/api/version", "X-Big: " + "x" * 9000))
        else:
            sock.sendall(b"GET /api/version HTTP/1.1\r\n")
            for number in range(9):
                sock.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())
                time.sleep(0.01)
        assert refused(sock) == (431, "send fewer or shorter ones, or raise EXECUTOR_HEADER_KB")


def test_a_long_path_and_many_parameters(address: tuple[str, int]) -> None:
    """The path counts as the headers do; parameters are counted too."""
    with socket.create_connection(address) as sock:
        sock.sendall(head("GET", "/api/w/main/scripts/get/p/" + "x" * 9000))
        assert refused(sock)[0] == 431
    with socket.create_connection(address) as sock:
        sock.sendall(head("GET", "/api/version?" + "&".join(["a"] * 300)))
        assert refused(sock) == (400, "send arguments in the body")


def test_a_connection_that_says_nothing_or_drips_its_head(address: tuple[str, int]) -> None:
    """It ends after `read_s`, whatever came of it."""
    with socket.create_connection(address) as sock:
        assert refused(sock)[0] == 408
        assert is_hung_up(sock)
    with socket.create_connection(address) as sock:
        begun = time.monotonic()
        for byte in b"GET /api/ver":
            sock.sendall(bytes([byte]))
            time.sleep(0.02)
        assert refused(sock) == (408, "send it faster, or raise EXECUTOR_READ_S")
        assert time.monotonic() - begun < 10


def test_a_connection_in_use_may_drip_only_so_long(address: tuple[str, int]) -> None:
    """The clock starts anew with each request's first byte."""
    with socket.create_connection(address) as sock:
        for _ in range(3):
            sock.sendall(head("GET", "/api/version"))
            assert answer(sock)[0] == 200
            time.sleep(0.5)  # idle between requests it may be, for longer than `read_s`
        sock.sendall(b"GET /api")
        assert refused(sock)[0] == 408


def test_a_body_that_drips_is_given_up(address: tuple[str, int]) -> None:
    """One byte now and then holds a request no longer than `read_s`."""
    with socket.create_connection(address) as sock:
        sock.sendall(head("POST", PREVIEW, "Content-Length: 1000"))
        begun = time.monotonic()
        for _ in range(6):
            sock.sendall(b" ")
            time.sleep(0.05)
        assert refused(sock) == (408, "send it faster, or raise EXECUTOR_READ_S")
        assert time.monotonic() - begun < 10
        assert is_hung_up(sock)


def test_a_body_that_comes_fast_may_take_longer(address: tuple[str, int]) -> None:
    """Each 16 KiB are worth a second."""
    body = b" " * 32_000 + b'{"language": "bash", "content": "[]"}'
    with socket.create_connection(address) as sock:
        sock.sendall(head("POST", PREVIEW, f"Content-Length: {len(body)}") + body[:-10])
        time.sleep(0.8)
        sock.sendall(body[-10:])
        assert answer(sock)[0] == 201


def test_a_body_that_nobody_reads_holds_nothing(address: tuple[str, int]) -> None:
    """The answer was given; what still comes is awaited no longer than `read_s`."""
    with socket.create_connection(address) as sock:
        sock.sendall(head("GET", "/api/version", "Content-Length: 1000000"))
        assert answer(sock)[0] == 200
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < 20:
                sock.sendall(b"x")
                time.sleep(0.02)
        except ConnectionError:
            pass
        assert time.monotonic() - begun < 15


def test_who_does_not_read_the_answer_loses_the_connection(tmp_path: Path) -> None:
    """Else a result of megabytes would be held for as long as it pleases somebody."""
    size = 20 * 2**20  # more than the kernel's buffers take
    source = json.dumps([{"result": "x" * size}])
    body = json.dumps({"language": "bash", "content": source, "limits": {"result_bytes": 2 * size}}).encode()
    with served(tmp_path, read_s=0.4) as url, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        path = PREVIEW.replace("run/", "run_wait_result/")
        sock.sendall(head("POST", path, f"Content-Length: {len(body)}") + body)
        assert sock.recv(12) == b"HTTP/1.1 200"
        time.sleep(2)
        sock.settimeout(5)
        got = 0
        try:
            while piece := sock.recv(65536):
                got += len(piece)
        except ConnectionError:
            pass
    assert got < size


def test_connections_are_counted(address: tuple[str, int]) -> None:
    """One too many is told so at once, before it has said a word; then there is room again."""
    with ExitStack() as stack:
        for _ in range(SETTINGS["connections_max"]):
            sock = stack.enter_context(socket.create_connection(address))
            sock.sendall(head("GET", "/api/version"))
            assert answer(sock)[0] == 200
        with socket.create_connection(address) as one_more:
            assert refused(one_more) == (503, "wait, or raise EXECUTOR_CONNECTIONS_MAX")
            assert is_hung_up(one_more)
    time.sleep(0.2)
    with socket.create_connection(address) as sock:
        sock.sendall(head("GET", "/api/version"))
        assert answer(sock)[0] == 200


def test_what_one_user_has_open_is_counted(address: tuple[str, int]) -> None:
    """Waiting for results counts; an end makes room."""
    body = json.dumps({"language": "bash", "content": '[{"sleep": 30}]'}).encode()
    path = PREVIEW.replace("run/", "run_wait_result/")
    request = head("POST", path, f"Content-Length: {len(body)}") + body
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        for sock in waiting:
            sock.sendall(request)
        time.sleep(0.3)
        with socket.create_connection(address) as one_more:
            one_more.sendall(head("GET", "/api/w/main/jobs/list"))
            status, headers, text = answer(one_more)
            assert (status, headers["retry-after"]) == (429, "1")
            assert "EXECUTOR_REQUESTS_OPEN" in json.loads(text)["remedy"]
        assert [answer(sock)[0] for sock in waiting] == [504] * 3
    with socket.create_connection(address) as sock:
        sock.sendall(head("GET", "/api/w/main/jobs/list"))
        assert answer(sock)[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET  /\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /api/version HTTP/1.1\r\n\r\n",
        b"GET /api/version HTTP/1.1\nHost: x\n\n",
        b"GET /api/version HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        b"GET /api/version HTTP/1.1\r\nHost: x\r\nX: y\r\n more\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX: y\r\ncontent-length: 2\r\n\r\n{}",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_our_words(address: tuple[str, int], sent: bytes) -> None:
    """A request that two readers could read in two ways never gets to a route."""
    with socket.create_connection(address) as sock:
        sock.sendall(sent)
        assert refused(sock)[0] in (400, 501)
        assert is_hung_up(sock)


def test_lines_in_a_body_are_nobody_s_head(address: tuple[str, int]) -> None:
    """A script's text has LF, folds and whatever else; the next request on the connection is read as the first."""
    content = json.dumps([{"result": "Content-Length: 1, 2\n folded\ncontent-length: 3\n\n"}])
    body = json.dumps({"language": "bash", "content": content}, indent=1).encode()
    with socket.create_connection(address) as sock:
        for _ in range(2):
            sock.sendall(head("POST", PREVIEW, f"Content-Length: {len(body)}") + body)
            assert answer(sock)[0] == 201
        sock.sendall(b"GET /api/version HTTP/1.1\r\nHost: x\n\r\n")
        assert refused(sock)[0] == 400


def test_a_second_request_is_read_as_the_first(address: tuple[str, int]) -> None:
    """One that waits behind another in the same packet, too."""
    first = head("GET", "/api/version", "Content-Length: 2") + b"{}"
    with socket.create_connection(address) as sock:
        sock.sendall(first + b"GET /api/version HTTP/1.1\nHost: x\n\n")
        sock.settimeout(5)
        with sock.makefile("rb") as whole:
            assert re.findall(rb"HTTP/1.1 (\d+)", whole.read()) == [b"200", b"400"]


def test_two_lengths_never_make_two_requests(address: tuple[str, int]) -> None:
    """Chunks and a length at once are refused (RFC 9112, 6.3 leaves it to the server), with all that follows."""
    hidden = head("GET", "/api/version").decode()
    with socket.create_connection(address) as sock:
        sock.sendall(
            head("POST", PREVIEW, "Content-Length: 5", "Transfer-Encoding: chunked")
            + f"{len(hidden):x}\r\n{hidden}\r\n0\r\n\r\n".encode()
        )
        assert refused(sock) == (400, "send one of them")
        assert is_hung_up(sock)
