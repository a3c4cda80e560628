"""The service on a real socket, as it is served, in a thread of this process, on the fake engine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from executor.wiring import http_config
from tests.service import local_service


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[str]:
    """Serve on a free port of loopback; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server: list[uvicorn.Server] = []
        ready = threading.Event()

        async def serve() -> None:
            async with local_service(folder, **settings) as service:
                config = http_config(service.app, service.context.settings)
                server.append(uvicorn.Server(config))
                ready.set()
                await server[0].serve(sockets=[listening])

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        try:
            assert ready.wait(10), "the service did not start"
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            for running in server:
                running.should_exit = True
            thread.join(20)
