"""From frames to an outcome: the texts and reasons of docs/openflow.md section 3.2, to the letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import Reason
from executor.runtimes import scan
from executor.sandbox.frames import Exit, Frame, Log, Ready, Result, ScriptError, Stream
from executor.sandbox.verdict import LOG_SLACK_BYTES, Account, judge, tail
from executor.script import Failed, Limits, Returned, Usage, resolve_limits
from executor.settings import LimitBounds

RUNTIMES = scan()
LIMITS = resolve_limits({"log_bytes": 1000, "result_bytes": 2000, "memory_mb": 99}, LimitBounds())
FINE = Exit(0, None, None, 5, 6, 7, 0)
KILLED = replace(FINE, code=None, signal="SIGKILL")
BOOM = ScriptError("ValueError", "boom", "Traceback", {"a": 1}, None)
ONE = Result(b"1")
TIMED_OUT = (
    "execution error:\njob process terminated due to timeout after exceeding job-specific duration limit"
)


def account(*frames: Frame, language: str = "bash", limits: Limits = LIMITS, **more: Any) -> Account:
    """An account of these frames."""
    made = Account(RUNTIMES.by_name[language], limits, **more)
    for frame in frames:
        made.take(frame)
    return made


def failure(made: Account) -> Failed:
    outcome = judge(made)
    assert isinstance(outcome, Failed), outcome
    return outcome


def exits(code: int) -> Exit:
    return replace(FINE, code=code)


def test_a_result_with_a_clean_end_is_returned_with_its_usage_and_stream() -> None:
    """Bytes as they came; stream pieces joined; log and frames before it do not matter."""
    outcome = judge(account(Ready(), Log("x"), Stream("a"), Stream("b"), Result(b'{"a": 1}'), FINE))
    assert outcome == Returned(b'{"a": 1}', Usage(5, 6, 7), "ab")


@pytest.mark.parametrize("label", [("bash", "bash run"), ("python3", "python run"), ("deno", "deno run")])
def test_a_non_zero_exit_has_the_label_the_code_and_the_last_log_lines(label: tuple[str, str]) -> None:
    """`exit code for "bash run": 3, last log lines:\\n…`, with the code also as a number."""
    found = failure(account(Log("one\n"), Log("two\n"), exits(3), language=label[0]))
    assert found.message == f'exit code for "{label[1]}": 3, last log lines:\none\ntwo'
    assert (found.name, found.reason, found.exit_code) == ("ExecutionErr", Reason.SCRIPT_ERROR, 3)
    assert found.usage == Usage(5, 6, 7)


def test_a_result_does_not_make_up_for_a_non_zero_exit() -> None:
    """A process that says it failed has failed, whatever it wrote before."""
    assert failure(account(ONE, exits(3))).reason is Reason.SCRIPT_ERROR


def test_death_by_a_signal_names_the_signal() -> None:
    """The message says that the process was terminated by that signal."""
    found = failure(account(Log("x\n"), replace(FINE, code=None, signal="SIGSEGV")))
    assert found.message == '"bash run" was terminated by signal SIGSEGV, last log lines:\nx'
    assert (found.reason, found.exit_code) == (Reason.SCRIPT_ERROR, None)


def test_an_exit_with_code_0_but_no_result_is_a_failure() -> None:
    """No result is never an empty success."""
    found = failure(account(FINE))
    assert found.reason is Reason.SCRIPT_ERROR
    assert "without a result" in found.message


def test_an_exception_keeps_name_message_stack_and_extra() -> None:
    """The script's own error is handed on as the language gave it."""
    found = failure(account(BOOM, exits(1), language="python3"))
    assert (found.name, found.message, found.stack, found.extra) == (
        "ValueError",
        "boom",
        "Traceback",
        {"a": 1},
    )
    assert found.reason is Reason.SCRIPT_ERROR


@pytest.mark.parametrize("reason", list(Reason))
def test_a_script_gives_only_reasons_that_are_its_own(reason: Reason) -> None:
    """What only we can know (time, memory, cancellation, our own trouble) cannot be claimed."""
    own = {Reason.SCRIPT_ERROR, Reason.DEPENDENCY_ERROR, Reason.BAD_INPUT, Reason.RESULT_NOT_JSON}
    found = failure(account(replace(BOOM, reason=reason.value), exits(1)))
    assert found.reason is (reason if reason in own else Reason.SCRIPT_ERROR)


@pytest.mark.parametrize("made", [account(replace(KILLED, stopped="timeout")), account(overran=True)])
def test_a_timeout_has_its_message(made: Account) -> None:
    """Whether jobinit or we ended it."""
    found = failure(made)
    assert (found.name, found.reason, found.message) == ("ExecutionErr", Reason.TIMEOUT, TIMED_OUT)


def test_a_limit_that_was_exceeded_is_named_with_its_value() -> None:
    """The message says what was exceeded, and how much is allowed."""
    log = failure(account(replace(KILLED, stopped="output_limit")))
    assert (log.name, log.reason) == ("ExecutionErr", Reason.OUTPUT_LIMIT)
    assert "log_bytes" in log.message
    assert "1000 " in log.message
    result = failure(account(replace(KILLED, stopped="result_too_large")))
    assert (result.name, result.reason) == ("ExecutionErr", Reason.RESULT_TOO_LARGE)
    assert "result_bytes" in result.message
    assert "2000 " in result.message


@pytest.mark.parametrize(
    "made",
    [
        account(replace(KILLED, oom_kills=1)),
        account(replace(exits(137), oom_kills=2)),
        account(oom_killed=True),
        account(BOOM, replace(exits(1), oom_kills=1)),
        account(Log("x\n# Fatal JavaScript out of memory: heap\n"), exits(133), language="deno"),
        account(
            Log("Fatal JavaScript out of memory"), replace(FINE, code=None, signal="SIGTRAP"), language="deno"
        ),
    ],
)
def test_want_of_memory_is_told_from_other_deaths(made: Account) -> None:
    """The kernel's kill, the container's end without a word, or the language's own heap limit."""
    found = failure(made)
    assert (found.name, found.reason) == ("ExecutionErr", Reason.OUT_OF_MEMORY)
    assert "memory_mb: 99" in found.message


@pytest.mark.parametrize(
    "made",
    [
        account(Log("Fatal JavaScript out of memory"), exits(1), language="bash"),
        account(KILLED),
        account(exits(137)),
    ],
)
def test_a_kill_of_the_script_s_own_is_not_taken_for_want_of_memory(made: Account) -> None:
    """Words in a log or a bare exit code 137 prove nothing."""
    assert failure(made).reason is Reason.SCRIPT_ERROR


def test_a_script_that_prints_the_words_and_returns_has_succeeded() -> None:
    """A pattern only explains a failure, it does not make one."""
    made = account(Log("Fatal JavaScript out of memory"), ONE, FINE, language="deno")
    assert isinstance(judge(made), Returned)


STOPS = [
    ("cancelled", {"cancelled": True}, None, Reason.CANCELLED),
    ("overran", {"overran": True}, None, Reason.TIMEOUT),
    ("timeout", {}, "timeout", Reason.TIMEOUT),
    ("output", {}, "output_limit", Reason.OUTPUT_LIMIT),
    ("result", {}, "result_too_large", Reason.RESULT_TOO_LARGE),
    ("left", {}, "cancelled", Reason.CANCELLED),
]


@pytest.mark.parametrize(("more", "stopped", "reason"), [s[1:] for s in STOPS], ids=[s[0] for s in STOPS])
def test_what_ended_a_script_from_outside_outranks_all_it_said(
    more: dict[str, Any], stopped: str | None, reason: Reason
) -> None:
    """Neither a result, nor an error, nor want of memory hides who ended it."""
    end = replace(KILLED, stopped=stopped, oom_kills=1)
    assert failure(account(ONE, BOOM, end, oom_killed=True, **more)).reason is reason


@pytest.mark.parametrize("stopped", [None, "timeout", "output_limit", "result_too_large", "cancelled"])
def test_a_cancellation_outranks_every_other_end(stopped: str | None) -> None:
    """Who asked for the end gets the answer that it was cancelled."""
    end = replace(KILLED, stopped=stopped, oom_kills=1)
    assert failure(account(ONE, end, cancelled=True, overran=True)).reason is Reason.CANCELLED


def test_an_error_outranks_a_result() -> None:
    """Both at once is no success."""
    assert failure(account(ONE, BOOM, FINE)).message == "boom"


def test_a_failure_keeps_what_was_streamed() -> None:
    """The stream went out already; the record agrees with it."""
    assert failure(account(Stream("ab"), exits(1))).stream == "ab"


def test_the_tail_is_the_last_600_characters_without_ansi_codes() -> None:
    """Codes are no characters of the log: 600 are left after they went."""
    assert tail("a" * 10_000) == "a" * 600
    assert tail("x\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\") == "xred link"
    assert tail("\n\n  hi \n") == "hi"
    coloured = "".join(f"\x1b[3{n % 8}m{n % 10}\x1b[0m" for n in range(700))
    assert tail(coloured) == "".join(str(n % 10) for n in range(100, 700))
    found = failure(account(Log(coloured), exits(1)))
    assert found.message.endswith("last log lines:\n" + tail(coloured))


@given(st.lists(st.text(max_size=40), max_size=30))
def test_the_tail_does_not_depend_on_how_the_log_was_cut(pieces: list[str]) -> None:
    """A log frame is no unit of meaning."""
    whole = "".join(pieces)
    assert account(*(Log(piece) for piece in pieces)).tail == account(Log(whole)).tail


def test_a_container_that_floods_us_is_ended_for_its_output() -> None:
    """jobinit keeps the log within log_bytes; one that does not is not believed for long."""
    made = account(Log("x" * (1000 + LOG_SLACK_BYTES)))
    assert not made.log_is_full
    made.take(Stream("yy"))
    assert made.log_is_full, "the stream counts too"
    made.take_limit("output_limit")
    assert failure(made).reason is Reason.OUTPUT_LIMIT


def test_output_is_told_as_it_comes() -> None:
    """Listeners hear every piece, in order, each on its own channel."""
    log: list[str] = []
    stream: list[str] = []
    account(Log("a"), Stream("s"), Log("b"), on_log=log.append, on_stream=stream.append)
    assert (log, stream) == (["a", "b"], ["s"])
