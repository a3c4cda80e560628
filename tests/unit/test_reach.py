"""Address ranges with ports, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.reach import Reach, parse, parse_all

networks = st.one_of(
    st.ip_addresses(v=4).map(lambda a: f"{a}/32"),
    st.ip_addresses(v=6).map(lambda a: f"{a}/128"),
    st.sampled_from(["0.0.0.0/0", "::/0", "10.0.0.0/8", "fd00::/8"]),
)
reaches = st.builds(Reach, networks, st.lists(st.integers(1, 65535), max_size=4).map(tuple))


@pytest.mark.parametrize(
    ("text", "cidr", "ports"),
    [
        ("10.0.0.5", "10.0.0.5/32", ()),
        ("10.0.0.0/8:5432,3306", "10.0.0.0/8", (3306, 5432)),
        ("10.0.0.0/8:1,1", "10.0.0.0/8", (1,)),
        ("fd00::1", "fd00::1/128", ()),
        ("::/0", "::/0", ()),
        ("[fd00::/8]:5432", "fd00::/8", (5432,)),
        ("[fd00::/8]", "fd00::/8", ()),
    ],
)
def test_a_range_is_read_as_it_is_meant(text: str, cidr: str, ports: tuple[int, ...]) -> None:
    assert parse(text) == Reach(cidr, ports)


@pytest.mark.parametrize(
    "text",
    [
        "", "everywhere", "10.0.0.1/8", "10.0.0.5:", "10.0.0.5:,", "10.0.0.5:0", "10.0.0.5:65536",
        "10.0.0.5:-1", "10.0.0.5:http", "db.example", "[10.0.0.5", "fd00::/8:5432", "10.0.0.5 ",
        "fe80::1%eth0", "fe80::1%x } accept", "10.0.0.5:1\n", "*:80",
    ],
)  # fmt: skip
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    """Nothing but addresses, digits and marks may ever get into the rules."""
    with pytest.raises(ValueError, match="write for example"):
        parse(text)


@given(reaches)
def test_what_is_shown_can_be_read_again(reach: Reach) -> None:
    assert parse(str(reach)) == reach


def test_several_are_separated_by_white_space() -> None:
    assert parse_all(" 10.0.0.5:80\n fd00::1 ") == (Reach("10.0.0.5/32", (80,)), Reach("fd00::1/128"))
    assert parse_all("") == ()
