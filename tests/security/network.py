"""Hosts, listeners and languages for tests of what jobs reach."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker

from executor.runtimes import Runtimes, scan
from executor.sandbox.images import HOLDER, Images
from executor.settings import Settings

CONNECT = """
import socket, time

def connect(host, port):
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            said = connection.recv(100).decode()
    except OSError as error:
        assert time.monotonic() - began < 4, f"{host} {port} took too long: {error!r}"
        said = "errno %d" % error.errno
    return said

def main(targets, pause_s=0):
    found = [connect(host, port) for host, port in targets]
    time.sleep(pause_s)
    return found
"""
"""A script that says what it was told at each target, or by which error it did not get there."""

REFUSED = "errno 111"
SIOCGIFADDR = 0x8915
TURN_S = 60


def languages_with_egress(folder: Path) -> Runtimes:
    """Python as a language with network, in a folder of its own, with its images and the holder's built."""
    target = folder / "python3"
    target.mkdir(parents=True)
    for path in scan().by_name["python3"].folder.iterdir():
        if path.is_file():
            said = path.read_text("utf-8").replace('network = "none"', 'network = "egress"')
            (target / path.name).write_text(said)
    runtimes = scan(str(folder))
    assert runtimes.by_name["python3"].manifest.network == "egress"
    with closing(Images(Settings().base_image, runtimes)) as images:
        images.build(None, lambda _: None)
    return runtimes


def image_tags(runtimes: Runtimes) -> tuple[str, str]:
    """Python's and the holder's."""
    with closing(Images(Settings().base_image, runtimes)) as images:
        return images.tag_for("python3"), images.tag_for(HOLDER)


def host_addresses() -> list[str]:
    """The host's IPv4 addresses, of which there are at least one to the world and one on a bridge.

    Not those on networks of an engine's users: tests that run meanwhile make and remove some.
    """
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                told = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if not name.startswith(("br-", "lo")):
                    found.append(socket.inet_ntoa(told[20:24]))
    return found


@contextmanager
def listener(address: str, said: str = "hello", port: int = 0) -> Iterator[int]:
    """Greet everybody who connects to `address`; gives the port. One that somebody else has is waited for."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(server, address, port)
        server.listen(50)

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(said.encode())
                connection.close()

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _bind(server: socket.socket, address: str, port: int) -> None:
    deadline = time.monotonic() + TURN_S
    while True:
        try:
            return server.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


@contextmanager
def listener_that_stays(address: str) -> Iterator[int]:
    """Accept one connection and read on; gives the port."""
    with socket.create_server((address, 0)) as server:

        def read() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while connection.recv(100):
                    pass

        threading.Thread(target=read, daemon=True).start()
        yield server.getsockname()[1]


@contextmanager
def resolver(address: str, answer: str) -> Iterator[list[str]]:
    """A DNS server that gives this IPv4 address for every name; gives the names asked for."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        _bind(server, address, 53)

        def serve() -> None:
            while True:
                try:
                    query, client = server.recvfrom(512)
                except OSError:
                    return
                if not query:  # it was shut down
                    return
                name, kind, end = _question(query)
                asked.append(name)
                found = kind == 1
                header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(found), 0, 0)
                record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(answer)
                server.sendto(header + query[12:end] + (record if found else b""), client)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield asked
        finally:  # else the thread, which waits in the kernel, would keep the port after the close
            with suppress(OSError):  # it wakes the thread, and complains that it was not connected
                server.shutdown(socket.SHUT_RDWR)
            serving.join()


def _question(query: bytes) -> tuple[str, int, int]:
    """Name, record type and end of a query's one question."""
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels), struct.unpack(">H", query[at + 1 : at + 3])[0], at + 5


@contextmanager
def engine() -> Iterator[Any]:
    """The Docker SDK's client."""
    client = docker.from_env()
    try:
        yield client
    finally:
        client.close()


def fresh_name() -> str:
    """A name for a container or network of a test's own."""
    return f"executor-test-{uuid.uuid4()}"


def ruleset(client: Any, holder: str) -> str:
    """A holder's rules as the kernel has them."""
    found: bytes = client.containers.get(holder).exec_run(["nft", "list", "table", "inet", "executor"]).output
    return found.decode()


@contextmanager
def listener_that_holds(address: str) -> Iterator[int]:
    """Accept every connection, greet, and keep it until the other side closes it; gives the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, backlog=500) as server:

        def hold(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.sendall(b"hello")
                while connection.recv(100):
                    pass

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=hold, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def is_bindable(address: str) -> bool:
    """Whether a server may listen there: of an IPv6 address the kernel says no while it looks for another owner."""
    try:
        socket.create_server((address, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
