"""The docker adapter without an engine: which failures are tried again, and how they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from executor.errors import EngineError, EngineTransient, EngineUnreachable, ImageMissing
from executor.sandbox.docker import DockerEngine, translated
from executor.sandbox.dockersaid import bounds_root, storage


def api_error(status: int, text: str = "trouble") -> APIError:
    response = Mock(status_code=status)
    return APIError(text, response=response, explanation=text)


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    made = DockerEngine(threads=1, retry_s=2)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (api_error(500), EngineTransient),
        (api_error(503), EngineTransient),
        (api_error(404, "No such image: x"), ImageMissing),
        (ImageNotFound("x"), ImageMissing),
        (api_error(400), EngineError),
        (api_error(409), EngineError),
        (requests.ConnectionError("refused"), EngineUnreachable),
        (requests.ReadTimeout("slow"), EngineUnreachable),
        (ConnectionResetError("gone"), EngineUnreachable),
        (DockerException("no socket"), EngineUnreachable),
    ],
)
def test_the_sdk_s_exceptions_become_ours(raised: Exception, told: type[Exception]) -> None:
    def act() -> None:
        raise raised

    with pytest.raises(EngineError) as caught:
        translated(act, ())
    assert type(caught.value) is told


def test_transient_failures_are_tried_again(engine: DockerEngine) -> None:
    failures: list[Any] = [api_error(500), requests.ConnectionError("refused")]

    def act(value: int) -> int:
        if failures:
            raise failures.pop()
        return value

    assert engine._insist(act, (7,), True) == 7
    assert failures == []


def test_what_will_not_pass_is_not_tried_again(engine: DockerEngine) -> None:
    calls = []

    def act() -> None:
        calls.append(1)
        raise api_error(400)

    with pytest.raises(EngineError):
        engine._insist(act, (), True)
    assert calls == [1]


def test_an_engine_that_stays_away_is_told_in_the_end() -> None:
    engine = DockerEngine(threads=1, retry_s=0.2)

    def act() -> None:
        raise requests.ConnectionError("refused")

    with pytest.raises(EngineUnreachable, match="no docker engine answers"):
        engine._insist(act, (), True)
    engine.close()


@pytest.mark.parametrize(
    "said",
    [
        "unable to find user web: no matching entries in passwd file",
        "--storage-opt is supported only for overlay over xfs",
    ],
)
def test_what_an_image_can_never_have_is_not_tried_again(said: str) -> None:
    """Although the engine calls it an error of its own."""

    def act() -> None:
        raise api_error(500, said)

    with pytest.raises(EngineError) as caught:
        translated(act, ())
    assert type(caught.value) is EngineError


@pytest.mark.parametrize(
    ("driver", "beneath", "shown", "bounds"),
    [
        ("overlay2", "extfs", "overlay2 on extfs", False),
        ("overlay2", "xfs", "overlay2 on xfs", True),
        ("btrfs", "", "btrfs", True),
        ("zfs", None, "zfs", True),
        ("vfs", None, "vfs", False),
    ],
)
def test_an_engine_s_storage_tells_whether_it_can_bound_a_root(
    driver: str, beneath: str | None, shown: str, bounds: bool
) -> None:
    status = [["Supports d_type", "true"]] + (
        [["Backing Filesystem", beneath]] if beneath is not None else []
    )
    info = {"Driver": driver, "DriverStatus": status}
    assert (storage(info), bounds_root(info)) == (shown, bounds)
    assert (storage({}), bounds_root({})) == ("unknown", False)
