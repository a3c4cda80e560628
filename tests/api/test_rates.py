"""How often one may ask: by user, and by address for whoever has no right token."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from executor.api.rates import KEYS_MAX, Buckets, Rates, address_of
from executor.settings import Settings
from executor.workspace.tokens import Right, Token
from tests.api.served import served
from tests.service import TOKEN, LocalService, local_service

pytestmark = pytest.mark.anyio
LIST = "/api/w/main/jobs/list"


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def client(service: LocalService, address: str, token: str | None) -> httpx.AsyncClient:
    """Somebody who calls from an address."""
    transport = httpx.ASGITransport(service.app, client=(address, 1), raise_app_exceptions=False)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Whatever happened before: at most burst + rate * time."""
    clock = Clock()
    buckets = Buckets(rate=10, burst_s=2, clock=clock)
    assert [buckets.use("a") for _ in range(20)] == [0] * 20
    assert buckets.use("a") == pytest.approx(0.1)
    assert buckets.use("b") == 0  # each has its own
    clock.now += 0.1
    assert [buckets.use("a"), buckets.use("a")] == pytest.approx([0, 0.1])
    clock.now += 1000
    assert [buckets.use("a") for _ in range(21)][-2:] == [0, pytest.approx(0.1)]


async def test_a_bucket_slower_than_its_burst_still_gives_one() -> None:
    """One request in ten seconds is one, not none."""
    clock = Clock()
    buckets = Buckets(rate=0.1, burst_s=1, clock=clock)
    assert [buckets.use("a"), buckets.use("a")] == pytest.approx([0, 10])
    clock.now += 10
    assert buckets.use("a") == 0


async def test_as_many_names_as_somebody_likes_take_bounded_memory() -> None:
    """Full buckets are forgotten first, then the fullest."""
    clock = Clock()
    buckets = Buckets(rate=1, burst_s=5, clock=clock)
    for _ in range(5):
        buckets.use("busy")
    for number in range(3 * KEYS_MAX):
        buckets.use(str(number))
    assert len(buckets._full_at) <= KEYS_MAX
    assert buckets.use("busy") > 0


async def test_counting_a_request_takes_microseconds() -> None:
    """Some ten of them, of the milliseconds that a request takes."""
    rates = Rates(Settings(requests_per_s=1e9))
    token = Token("prefix", "ada", Right.RUN)
    begun = time.process_time()
    for _ in range(20_000):
        rates.leave(rates.enter(token, "127.0.0.1"))
    assert (time.process_time() - begun) / 20_000 < 50e-6


async def test_an_ipv6_address_counts_by_its_network() -> None:
    """Who has one has 2^64."""
    assert address_of("2001:db8::1") == address_of("2001:db8:0:0:ffff::2") == "2001:0db8:0000:0000"
    assert address_of("2001:db8:0:1::1") != address_of("2001:db8::1")
    assert [address_of(text) for text in ("192.0.2.1", "", "fe80::1%eth0", "a:b")] == [
        "192.0.2.1",
        "",
        "fe80:0000:0000:0000",
        "a:b",
    ]


async def test_a_user_over_the_rate_is_told_when_to_come_again(tmp_path: Path) -> None:
    """More tokens are no more requests. Others are not concerned, and nobody needs a token to see whether the service lives."""
    async with local_service(tmp_path, requests_per_s=5) as service:
        more, other = [
            (await service.http.post("/api/users/tokens/create", json=asked)).text
            for asked in ({}, {"user": "bo"})
        ]
        answers = [await service.http.get(LIST) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = answers[-1]
        assert refused.headers["retry-after"] == "1"
        assert "EXECUTOR_REQUESTS_PER_S" in refused.json()["remedy"]
        for token, expected in ((more, 429), (other, 200)):
            async with client(service, "127.0.0.1", token) as another:
                assert (await another.get(LIST)).status_code == expected
        for path in ("/health", "/ready", "/metrics", "/api/version"):
            assert [(await service.http.get(path)).status_code for _ in range(20)] == [200] * 20
        metrics = (await service.http.get("/metrics")).text
        assert 'executor_requests_refused_total{why="rate"}' in metrics


async def test_one_client_at_saturation_does_not_meet_the_limit(tmp_path: Path) -> None:
    """By default."""
    async with local_service(tmp_path) as service:
        answers = [(await service.http.get(LIST)).status_code for _ in range(600)]
        assert set(answers) == {200}


@pytest.mark.parametrize("given", [None, "wrong", "job-W10.00"])
async def test_tokens_are_not_guessed_at_speed(tmp_path: Path, given: str | None) -> None:
    """After a few a right one is refused too, else guessing would go on; but not one known from there."""
    async with local_service(tmp_path, wrong_tokens_per_s=2.5) as service:
        known, unknown = [
            (await service.http.post("/api/users/tokens/create", json={"label": label})).text
            for label in ("known", "unknown")
        ]
        async with client(service, "192.0.2.7", known) as friend:
            assert (await friend.get(LIST)).status_code == 200
        async with client(service, "192.0.2.7", given) as guesser:
            answers = [await guesser.get(LIST) for _ in range(15)]
            assert [answer.status_code for answer in answers[:10]] == [401] * 10
            assert answers[-1].status_code == 429
            assert int(answers[-1].headers["retry-after"]) >= 1
            assert "EXECUTOR_WRONG_TOKENS_PER_S" in answers[-1].json()["remedy"]
        for token, address, expected in (
            (unknown, "192.0.2.7", 429),
            (TOKEN, "192.0.2.7", 429),
            (known, "192.0.2.7", 200),
            (unknown, "192.0.2.8", 200),
        ):
            async with client(service, address, token) as caller:
                assert (await caller.get(LIST)).status_code == expected


async def test_signatures_are_not_guessed_at_speed(tmp_path: Path) -> None:
    """Neither on the routes nor on the page; they count as wrong tokens do."""
    job = uuid.uuid4()
    async with local_service(tmp_path, wrong_tokens_per_s=1) as service:
        paths = [f"/api/w/main/jobs_u/{verb}/{job}/0/{'0' * 64}" for verb in ("resume", "cancel", "get_flow")]
        paths.append(f"/approve/main/{job}/0/{'0' * 64}")
        for path in paths:
            async with client(service, f"client of {path}", None) as guesser:
                answers = [(await guesser.get(path)).status_code for _ in range(6)]
                assert answers == [403 if "approve" in path else 401] * 4 + [429] * 2
                assert (await guesser.get(LIST)).status_code == 429


@pytest.mark.parametrize(
    ("proxies", "who"),
    [
        (None, "proxy"),
        ("127.0.0.1", "client"),
        ("192.0.2.0/24 127.0.0.0/8", "client"),
        ("192.0.2.0/24", "proxy"),
    ],
)
def test_who_calls_is_not_for_a_header_to_say(tmp_path: Path, proxies: str | None, who: str) -> None:
    """X-Forwarded-For counts from the proxies that the operator has named, and of it what they have added."""
    with served(tmp_path, wrong_tokens_per_s=1, proxies=proxies) as url, httpx.Client(base_url=url) as caller:
        answers = [
            caller.get(LIST, headers={"X-Forwarded-For": f"10.0.0.{number}"}).status_code
            for number in range(6)
        ]
        assert answers == ([401] * 6 if who == "client" else [401] * 4 + [429] * 2)
        forged = [
            caller.get(LIST, headers={"X-Forwarded-For": f"10.0.1.{number}, 10.0.2.1"}).status_code
            for number in range(6)
        ]
        assert forged == ([401] * 4 + [429] * 2 if who == "client" else [429] * 6)


async def test_refusals_for_their_number_leave_no_rows(tmp_path: Path) -> None:
    """A flood must not fill the audit log."""
    async with local_service(tmp_path, requests_per_s=2) as service:
        for _ in range(10):
            await service.http.post("/api/workspaces/create", json={"id": "!"})
        await service.context.audit.close()  # writes what waits
        assert len(await service.context.audit.list(None, None, None, None, 100)) <= 3
