"""Secrets in logs and errors: every usual form is masked, however it is written, and nothing else."""

from __future__ import annotations

import base64
import itertools
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.jobs.redaction import CHARS_MIN, MASK, Redactor, forms, is_secret

SECRET = 's3cr3t-V4lue-é"\\/+ß'
secrets = st.text(min_size=CHARS_MIN, max_size=40).filter(is_secret)


def masked(text: str, *known: str) -> str:
    redactor = Redactor(known)
    return redactor.text(text) + redactor.rest()


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps({"token": SECRET}),
        json.dumps({"token": SECRET}, ensure_ascii=False),
        f"https://example.org/?key={quote(SECRET, safe='')}&x=1",
        repr({"token": SECRET}),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"me:{SECRET}, and more".encode()).decode(),
        base64.urlsafe_b64encode(f"a:{SECRET}".encode()).decode(),
    ],
)
def test_usual_forms_are_masked(shown: str) -> None:
    found = masked(f"before {shown} after", SECRET)
    assert MASK in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    for form in forms(SECRET):
        assert form not in found


@pytest.mark.parametrize("secret", ["hunter2-" + "x9" * n + tail for n in (1, 2) for tail in ("", "a", "bc")])
def test_base64_of_the_secret_alone_is_masked_to_its_last_letter(secret: str) -> None:
    encoded = base64.b64encode(secret.encode()).decode()
    assert masked(f"key: {encoded}\n", secret) == f"key: {MASK}\n"


@given(
    secret=secrets, before=st.text(max_size=20), after=st.text(max_size=20), cuts=st.lists(st.integers(0, 80))
)
def test_a_secret_in_pieces_is_masked_as_in_one(
    secret: str, before: str, after: str, cuts: list[int]
) -> None:
    text = f"{before}{secret}{after}"
    redactor, places = Redactor([secret]), sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    shown = [redactor.text(text[a:b]) for a, b in itertools.pairwise(places)]
    whole = "".join([*shown, redactor.rest()])
    assert whole == masked(text, secret)
    assert secret not in whole.replace(MASK, "")


@given(text=st.text(alphabet="abc \n", max_size=60), secret=st.text(alphabet="abc", min_size=6, max_size=8))
def test_overlaps_and_false_beginnings(text: str, secret: str) -> None:
    """However much of a text looks like the secret: all of it comes out, but for the secret."""
    redactor = Redactor([secret])
    shown = "".join([redactor.text(char) for char in text] + [redactor.rest()])
    assert secret not in shown or not is_secret(secret)
    assert shown == (text.replace(secret, MASK) if is_secret(secret) else text)


@given(text=st.text(max_size=200))
def test_a_text_without_secrets_is_not_changed(text: str) -> None:
    assert masked(text) == text
    assert masked(text, "a secret that nobody writes by chance") == text


def test_what_cannot_be_the_beginning_of_a_secret_is_shown_at_once() -> None:
    redactor = Redactor(["secret-value"])
    assert redactor.text("progress: 10%\n") == "progress: 10%\n"
    assert redactor.text("the sec") == "the "
    assert redactor.text("ond step\n") == "second step\n"
    assert redactor.text("secret-val") == ""
    assert redactor.rest() == "secret-val"


@pytest.mark.parametrize(
    "value", ["", "1", "true", "12345", "aaaaaaaa", "password", "  x  ", "Localhost", "-----------"]
)
def test_trivial_values_blank_no_logs(value: str) -> None:
    text = f"it is {value}: true, 1, 12345"
    assert masked(text, value) == text


def test_each_line_of_a_key_is_masked() -> None:
    key = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEAz4\nq83vBcdefGHIJK\n-----END KEY-----\n"
    found = masked("key:\n  " + key.replace("\n", "\n  "), key)
    assert "MIIE" not in found
    assert "q83v" not in found
    assert masked(json.dumps(key), key) == f'"{MASK}"'


def test_of_two_secrets_the_longer_one_is_masked_whole() -> None:
    assert masked("abcdef-123456 abcdef", "abcdef", "abcdef-123456") == f"{MASK} {MASK}"
    redactor = Redactor(["abcdef", "abcdef-123456"])
    shown = [redactor.text(piece) for piece in ("abcdef", "-123", "456 abcdef", "!")]
    assert "".join([*shown, redactor.rest()]) == f"{MASK} {MASK}!"


MANY_LINES = "\n".join(f"line{number:06}xyz" for number in range(5000))


@pytest.mark.parametrize("text", ["l" * 20_000, "line00" * 4_000, "line000001xy" * 2_000])
def test_a_script_s_secret_and_text_do_not_take_the_service_s_time(text: str) -> None:
    """Both are its author's to choose; the text comes in small pieces too. It took a minute once."""
    begun = time.thread_time()
    redactor = Redactor([MANY_LINES, "l" * 14_000 + "abc"])
    shown = [redactor.text(text), *(redactor.text(letter) for letter in text[:2000]), redactor.rest()]
    assert "".join(shown)
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize("text", ["a" * 262_144, ("a" * 6 + "#") * 30_000])
def test_secrets_that_begin_with_each_other_take_no_time_either(text: str) -> None:
    """Hundreds of them, and a text that is nearly one at every place; it took seconds once."""
    begun = time.thread_time()
    redactor = Redactor("aaaaaa!" + "#" * number for number in range(1, 1000))
    shown = redactor.text(text) + redactor.rest()
    assert time.thread_time() - begun < 2
    assert shown.startswith("aaaa")
    assert shown.endswith(MASK), "what is nearly a secret at too many places is not looked at any longer"


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 45))
def test_of_secrets_that_begin_with_each_other_the_longest_is_masked(lengths: list[int], shown: int) -> None:
    """However far apart they are."""
    redactor = Redactor("secret-" + "#" * number for number in lengths)
    longest = max((number for number in lengths if number <= shown), default=None)
    expected = "secret-" + "#" * shown if longest is None else MASK + "#" * (shown - longest)
    assert redactor.whole(f"{'secret-' + '#' * shown}.") == expected + "."


def test_more_secrets_than_anybody_has_take_no_time() -> None:
    """Of those beyond a megabyte the beginning is masked."""
    begun = time.thread_time()
    redactor = Redactor(f"{number:04}-secret-" + "xyz" * 20_000 for number in range(400))
    assert redactor.whole("<0399-secret-" + "xyz" * 100 + ">").startswith(f"<{MASK}")
    assert time.thread_time() - begun < 5


def test_of_a_long_secret_every_part_is_masked() -> None:
    long = "".join(chr(ord("a") + number * number % 26) + str(number) for number in range(400))
    redactor = Redactor([long])
    shown = redactor.text(f"<{long[:700]}") + redactor.text(f"{long[700:]}>") + redactor.rest()
    assert set(shown) == set("<>*")
