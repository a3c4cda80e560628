"""What a job's log says of what its network refused."""

from __future__ import annotations

import pytest

from executor.reach import EgressLimits
from executor.sandbox.refusals import KNOWN_MAX, TARGETS_MAX, Refusal, Refusals

LIMITS = EgressLimits(3, 4, 5)


def refusal(line: str) -> Refusal:
    return Refusal.read(line.split())


class Log:
    """A job's log, and its refusals."""

    def __init__(self) -> None:
        self.text = ""
        self.refusals = Refusals(self._write)

    def _write(self, text: str) -> None:
        self.text += text

    def take(self, line: str, *, is_alone: bool = True) -> None:
        self.refusals.take(refusal(line), "why", is_alone=is_alone)


@pytest.mark.parametrize(
    ("line", "is_never", "target", "text"),
    [
        ("policy tcp 10.0.0.5 80", False, "tcp 10.0.0.5:80", "the workspace's policy does not allow it"),
        ("policy tcp fd00::5 80", False, "tcp [fd00::5]:80", "the workspace's policy does not allow it"),
        ("policy tcp 169.254.169.254 80", True, "tcp 169.254.169.254:80", "no policy opens it"),
        ("policy udp 10.0.0.5 53", False, "udp 10.0.0.5:53", "names are asked of the configured resolvers only"),
        ("policy udp 10.0.0.5 123", False, "udp 10.0.0.5:123", "a policy opens TCP only"),
        ("policy icmpv6 fd00::5 -", False, "icmpv6 fd00::5", "a policy opens TCP only"),
        ("connections tcp 10.0.0.5 80", False, "tcp 10.0.0.5:80", "the workspace has 3 connections open already"),
        ("rate tcp 10.0.0.5 80", False, "tcp 10.0.0.5:80", "more than 4 new connections of the workspace in a second"),
        ("lookups udp 10.0.0.5 53", False, "udp 10.0.0.5:53", "more than 5 questions of the workspace to resolvers in a second"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_and_why(line: str, is_never: bool, target: str, text: str) -> None:
    found = refusal(line)
    assert (found.target, found.text(LIMITS, is_never)) == (target, text)


@pytest.mark.parametrize(
    "line", ["policy tcp 10.0.0.5", "policy tcp 10.0.0.5 x", "magic tcp 10.0.0.5 80", ""]
)
def test_what_is_no_refusal_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal|valid Why"):
        refusal(line)


def test_each_target_is_told_once_and_with_others_there_as_anybody_s() -> None:
    log = Log()
    for _ in range(3):
        log.take("policy tcp 10.0.0.5 80")
    log.take("policy tcp 10.0.0.6 80", is_alone=False)
    log.refusals.close()
    assert log.text == (
        "[executor] refused: tcp 10.0.0.5:80 (why)\n"
        "[executor] a job of this workspace was refused: tcp 10.0.0.6:80 (why)\n"
    )


def test_a_limit_is_told_once_whatever_the_target() -> None:
    log = Log()
    for port in range(1, 50):
        log.take(f"rate tcp 10.0.0.5 {port}")
    log.refusals.close()
    assert log.text == "[executor] refused: tcp 10.0.0.5:1 (why)\n"


def test_many_targets_are_counted() -> None:
    for count, said in (
        (TARGETS_MAX + 2, "2 more"),
        (KNOWN_MAX + 7, f"at least {KNOWN_MAX - TARGETS_MAX} more"),
    ):
        log = Log()
        for port in range(count):
            log.take(f"policy tcp 10.0.0.5 {port}")
        log.refusals.close()
        lines = log.text.splitlines()
        assert (len(lines), lines[-1]) == (TARGETS_MAX + 1, f"[executor] refused: {said}")


def test_a_line_of_the_script_is_never_split() -> None:
    """Or a secret in it would not be known for one; the end of the job ends its line."""
    log = Log()
    log.refusals.log("sec")
    log.take("policy tcp 10.0.0.5 80")
    log.refusals.log("ret\n")
    log.refusals.log("end")
    log.take("policy tcp 10.0.0.6 80")
    log.refusals.close()
    assert log.text == (
        "secret\n[executor] refused: tcp 10.0.0.5:80 (why)\nend\n[executor] refused: tcp 10.0.0.6:80 (why)\n"
    )
