"""Big arguments are cut out of a body undecoded: what comes of it is what decoding would give, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.api.bigargs import BIG_BYTES, PIECE_BYTES, cut_out
from executor.api.body import decode
from executor.errors import BadInput
from executor.script import compact_json

SPECIAL = ['"args":{', "}", '"}', "\\", ',"limits":{}', "$var:u/a/b", "é", "\x00", "😀"]
TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(SPECIAL))
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
MEMBERS = st.tuples(
    st.sampled_from(["language", "content", "args", "limits", "tag"]), st.one_of(VALUES, OBJECTS)
)


def written(members: list[tuple[str, Any]], spaced: bool, escaped: bool) -> bytes:
    """An object as text, also one with a member twice."""
    comma, colon = (" ,\n", " : ") if spaced else (",", ":")
    texts = (
        f'"{name}"{colon}{json.dumps(value, separators=(comma, colon), ensure_ascii=escaped)}'
        for name, value in members
    )
    return ("{" + comma.join(texts) + "}").encode()


def decoded(body: bytes) -> Any:
    """What the slow way makes of a body; None if it refuses it."""
    try:
        return decode(body)
    except BadInput:
        return None


def check(body: bytes) -> bool:
    """Hold both ways against each other; whether the arguments were cut out."""
    cut = cut_out(bytearray(body), 0)
    if cut is None:
        return False
    rest, args = cut
    whole = decoded(body)
    assert whole is not None, "a wrong body is for the slow way to refuse"
    assert {**rest, "args": decoded(args.text)} == whole
    compact_json(whole["args"])  # raises for numbers that could not be stored
    return True


@given(st.lists(MEMBERS, max_size=5), st.booleans(), st.booleans())
def test_any_body_means_the_same_both_ways(
    members: list[tuple[str, Any]], spaced: bool, escaped: bool
) -> None:
    check(written(members, spaced, escaped))


@given(st.lists(MEMBERS, min_size=1, max_size=4), st.data())
def test_a_broken_body_is_never_mended(members: list[tuple[str, Any]], data: st.DataObject) -> None:
    """With any byte lost or replaced."""
    body = bytearray(written([*members, ("args", {"x": {"y": [1, "}"]}})], False, False))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.sampled_from([b"", b'"', b"{", b"}", b"\\", b",", b"1", b"\xff", b"\n"]))
    check(bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"args":{"x":1}}',
        b'{"language":"bash","content":"}","args":{"x":{"y":{}},"z":[{}]},"limits":{"memory_mb":1}}',
        b' { "args" : { } , "limits" : { "a" : { } } , "content" : "\\"args\\":{}" } ',
        b'{"args":{"x":"\\u00e9","y":1.5e10,"z":"$3"}}',
    ],
)
def test_what_clients_send_is_cut_out(body: bytes) -> None:
    assert check(body)


@pytest.mark.parametrize(
    "args",
    [
        b'{"x":NaN}',
        b'{"x":-Infinity}',
        b'{"x":1e999}',
        b'{"x":1E+400}',
        b'{"x":1' + b"0" * 400 + b".0}",
        b'{"x":"\\u0024var:u/a/b"}',
        b'{"x":"$\\u0076ar:u/a/b"}',
        b'{"x":"\xff"}',
        b'{"x":"\\ud800"}',
        b'{"x":' + b"[" * 300 + b"]" * 300 + b"}",
        b"[]",
        b"null",
    ],
)
def test_what_decoding_would_refuse_or_bring_to_light_is_left_to_it(args: bytes) -> None:
    assert not check(b'{"content":"","args":' + args + b"}")


@pytest.mark.parametrize("number", [b"1e999", b"1" + b"0" * 350 + b".5"])
@pytest.mark.parametrize("before", range(0, 400, 7))
def test_a_number_too_large_is_found_where_two_pieces_meet(number: bytes, before: int) -> None:
    text = b"x" * (PIECE_BYTES - before)
    assert not check(b'{"args":{"x":"' + text + b'","y":' + number + b"}}")


def test_small_bodies_are_decoded() -> None:
    """So that equal arguments stay the same request however they are spaced."""
    small = b'{"args":{"x":"' + b"x" * 100 + b'"}}'
    big = b'{"args":{"x":"' + b"x" * BIG_BYTES + b'"}}'
    assert cut_out(bytearray(small)) is None
    assert cut_out(bytearray(big)) is not None
