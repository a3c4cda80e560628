"""Images from a registry: pulled when they should be, with the right credentials, if they are allowed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest

from executor.errors import Reason
from executor.script import Failed, Returned
from tests.foreign.conftest import Bench
from tests.foreign.hub import PASSWORD, Hub, registry_config
from tests.foreign.workshop import Workshop

pytestmark = [pytest.mark.engine, pytest.mark.anyio]


@pytest.fixture(scope="module")
def hub(workshop: Workshop) -> Iterator[Hub]:
    """One registry for all tests here."""
    made = Hub(workshop)
    yield made
    made.close()


def says(workshop: Workshop, word: str) -> str:
    """An image whose program prints the word."""
    return workshop.from_busybox(f"says-{word}", f'CMD ["/bin/busybox", "echo", "{word}"]')


@pytest.fixture
def signed_in(bench: Bench, hub: Hub) -> Bench:
    """A bench that has the registry's password."""
    bench.set(registry_config=registry_config(bench.folder / "config.json", hub.address))
    return bench


async def test_a_private_image_is_pulled_with_the_file_s_credentials(
    signed_in: Bench, hub: Hub, workshop: Workshop
) -> None:
    """The log has one line of it; what is there is not pulled again."""
    bench, name = signed_in, f"{hub.address}/team/one:1"
    digest = hub.push(says(workshop, "one"), "one:1")
    assert await bench.result(f"# image: {name}") == "one"
    assert bench.log == f"pulling image {name}\n"
    assert await bench.result(f"# image: {name}") == "one"
    assert bench.log == ""
    assert await bench.result(f"# image: {hub.address}/team/one@{digest}") == "one"
    assert bench.log == "", "it is here, under this digest"
    hub.forget(name)
    assert await bench.result(f"# image: {hub.address}/team/one@{digest}") == "one"
    assert bench.log == f"pulling image {hub.address}/team/one@{digest}\n"
    hub.forget(f"{hub.address}/team/one@{digest}")


@pytest.mark.parametrize(
    ("password", "user", "why"),
    [
        (None, "ada", "no basic auth credentials"),
        ("wrong", "ada", "unauthorized"),
        (PASSWORD, "eve", "unauthorized"),
    ],
)
async def test_without_the_right_credentials_there_is_no_image(
    bench: Bench, hub: Hub, workshop: Workshop, password: str | None, user: str, why: str
) -> None:
    """Nobody learns what the credentials were."""
    hub.push(says(workshop, "secret"), "secret:1")
    address = hub.address if password else "registry.example.com"
    bench.set(
        registry_config=registry_config(
            bench.folder / "config.json", address, password or "none-at-all", user
        )
    )
    failed = await bench.failure(f"# image: {hub.address}/team/secret:1")
    assert failed.reason is Reason.IMAGE_NOT_FOUND
    assert failed.message.startswith(f"image {hub.address}/team/secret:1: it cannot be pulled: ")
    assert why in failed.message
    for secret in (password, "none-at-all", PASSWORD):
        assert secret is None or secret == "wrong" or secret not in failed.message + bench.log
    assert json.loads(failed.as_json())["error"]["name"] == "ExecutionErr"


async def test_a_file_that_cannot_be_read_is_not_quoted(bench: Bench, hub: Hub) -> None:
    path = bench.folder / "config.json"
    bench.set(registry_config=registry_config(path, hub.address))
    for text in (
        f'{{"auths": {{"{hub.address}": {{"auth": "{PASSWORD}"}}}}}}',
        f"auths: {PASSWORD}",
        '{"auths": 3}',
    ):
        path.write_text(text, "utf-8")
        failed = await bench.failure(f"# image: {hub.address}/team/any:1")
        assert failed.reason is Reason.IMAGE_NOT_FOUND
        assert PASSWORD not in failed.message


@pytest.mark.parametrize(
    ("name", "why"),
    [("team/none:1", "not found"), ("../none", None), ("nowhere.invalid/a", "no such host")],
)
async def test_what_no_registry_has_is_not_found(
    signed_in: Bench, hub: Hub, name: str, why: str | None
) -> None:
    """The engine's own words say why."""
    whole = name if name.startswith("nowhere") else f"{hub.address}/{name}"
    failed = await signed_in.failure(f"# image: {whole}")
    if why is None:
        assert failed.reason is Reason.BAD_INPUT
        return
    assert failed.reason is Reason.IMAGE_NOT_FOUND
    assert why in failed.message, failed.message


async def test_jobs_at_the_same_time_share_one_pull(signed_in: Bench, hub: Hub, workshop: Workshop) -> None:
    hub.push(says(workshop, "shared"), "shared:1")
    before = hub.requests().count("GET /v2/team/shared/blobs/")
    outcomes = await asyncio.gather(
        *(signed_in.run(f"# image: {hub.address}/team/shared:1") for _ in range(5))
    )
    assert [o.value for o in outcomes if isinstance(o, Returned)] == [b'"shared"'] * 5
    # What is in the image is here in other images already; its configuration is asked for once.
    assert hub.requests().count("GET /v2/team/shared/blobs/") - before <= 2
    hub.forget(f"{hub.address}/team/shared:1")


async def test_a_pull_that_is_cancelled_ends_the_job_at_once(bench: Bench, workshop: Workshop) -> None:
    """Also when the registry never answers."""

    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes connections, nobody answers
        asyncio.get_running_loop().call_later(0.5, bench.cancellation.ask)
        async with asyncio.timeout(30):
            failed = await bench.failure(f"# image: 127.0.0.1:{silent.getsockname()[1]}/slow:1")
        assert failed.reason is Reason.CANCELLED


async def test_when_an_image_is_pulled_is_the_operator_s_choice(
    signed_in: Bench, hub: Hub, workshop: Workshop
) -> None:
    """missing: what is here stays; always: what the tag names now; never: nothing from outside."""
    name, config = f"{hub.address}/team/moving:1", signed_in.settings.registry_config
    content = f"# image: {name}"
    old = hub.push(says(workshop, "old"), "moving:1")
    assert await signed_in.result(content) == "old"
    workshop.api.tag(name, f"executor-test/kept-{workshop.mark}", "old")
    new = hub.push(says(workshop, "new"), "moving:1")
    workshop.api.tag(f"executor-test/kept-{workshop.mark}:old", *name.rsplit(":", 1))
    assert await signed_in.result(content) == "old"
    signed_in.set(registry_config=config, pull="never")
    assert await signed_in.result(content) == "old"
    signed_in.set(registry_config=config, pull="always")
    assert await signed_in.result(content) == "new"
    hub.forget(name)
    signed_in.set(registry_config=config, pull="never")
    failed = await signed_in.failure(content)
    assert (failed.reason, "EXECUTOR_PULL=never forbids" in failed.message) == (Reason.IMAGE_NOT_FOUND, True)
    for left in (
        f"executor-test/kept-{workshop.mark}:old",
        *(f"{hub.address}/team/moving@{d}" for d in (old, new)),
    ):
        workshop.remove(left)


async def test_only_allowed_images_run(signed_in: Bench, hub: Hub, workshop: Workshop) -> None:
    """By name or by digest, by the instance and by the workspace; nothing else is even pulled."""
    bench, config, team = signed_in, signed_in.settings.registry_config, f"{hub.address}/team"
    good, bad = hub.push(says(workshop, "good"), "good:1"), hub.push(says(workshop, "bad"), "bad:1")

    async def reason(allowed: str, name: str, *policy: str) -> Reason | None:
        bench.set(registry_config=config, images=allowed)
        bench.policy = policy or None
        outcome = await bench.run(f"# image: {name}")
        hub.forget(f"{team}/good:1")
        hub.forget(f"{team}/good@{good}")
        return outcome.reason if isinstance(outcome, Failed) else None

    refused = Reason.IMAGE_NOT_ALLOWED
    assert await reason(f"{team}/*", f"{team}/good:1") is None
    assert await reason(f"{team}/good:2, python", f"{team}/good:1") is refused
    assert await reason("", f"{team}/good:1") is refused
    assert await reason(f"{team}/*@{good}", f"{team}/good:1") is None
    assert await reason(good, f"{team}/good@{good}") is refused, "nobody has named this host's registry"
    assert await reason(f"{team}/*", f"{team}/good:1", f"{team}/good:*") is None
    assert await reason("*", f"{team}/good:1", f"{team}/bad:*") is refused
    assert await reason(good, f"{team}/good:1") is Reason.IMAGE_NOT_FOUND, "not pulled to learn its digest"
    assert "GET /v2/team/bad/" not in hub.requests()
    assert await reason(f"{team}/*@{good}", f"{team}/bad:1") is refused
    failed = await bench.failure(f"# image: {team}/bad:1")
    assert failed.message.startswith(f"image {team}/bad:1 (it is sha256:")
    assert failed.message.endswith(") is not allowed by EXECUTOR_IMAGES")
    assert bad != good
    hub.forget(f"{team}/bad:1")


async def test_an_id_is_no_way_around_the_list(bench: Bench, workshop: Workshop) -> None:
    """An image on this host by its id, whole or its beginning."""
    image_id = workshop.api.inspect_image(workshop.busybox)["Id"]
    program = '# command: ["/bin/busybox", "echo", "1"]'
    assert await bench.result(f"# image: {image_id}\n{program}") == 1
    bench.set(images="docker.io/library/*", pull="never")
    assert (await bench.failure(f"# image: {image_id}\n{program}")).reason is Reason.IMAGE_NOT_ALLOWED
    short = image_id.removeprefix("sha256:")[:12]
    assert (await bench.failure(f"# image: {short}\n{program}")).reason is Reason.IMAGE_NOT_FOUND
    bench.set(images=image_id, pull="never")
    assert await bench.result(f"# image: {workshop.busybox}\n{program}") == 1
    assert await bench.result(f"# image: {image_id}\n{program}") == 1
