"""A running service, as the command sees it over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from executor.cli.screen import fail
from executor.settings import Settings

TIMEOUT_S = 630


class Client:
    """Calls a service with its admin token; a refusal ends the command with the problem's text."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between us and our own service
        self._session.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def of(cls, settings: Settings) -> Client:
        """The service that these settings describe."""
        return cls(f"http://{settings.host}:{settings.port}", _token(settings))

    def call(self, method: str, path: str, body: Any = None, *, refusals: bool = True) -> requests.Response:
        """Send a request; with `refusals` false the caller looks at error statuses itself."""
        try:
            response = self._session.request(method, self._base_url + path, json=body, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            fail(f"no service answers at {self._base_url} ({error}); start one with `executor serve`", 1)
        if refusals and response.status_code >= 400:
            fail(_refusal(response), 1)
        return response


def _token(settings: Settings) -> str:
    if settings.token:
        return settings.token
    path = settings.data_dir / "token"
    if not Path(path).is_file():
        fail(
            f"no token: set EXECUTOR_TOKEN, or EXECUTOR_DATA_DIR to the service's data directory ({path})", 2
        )
    return path.read_text("utf-8").strip()


def _refusal(response: requests.Response) -> str:
    try:
        problem = response.json()
        remedy = f" ({problem['remedy']})" if problem.get("remedy") else ""
        return f"{response.status_code}: {problem['detail']}{remedy}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}: {response.text[:500]}"
