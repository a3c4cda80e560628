"""The frames: whatever bytes come out of a container, we get frames or a FrameError."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.sandbox.frames import (
    LINE_BYTES_MAX,
    RESULT_PREFIX,
    RESULT_SUFFIX,
    Exit,
    Frame,
    FrameError,
    FrameReader,
    Log,
    Ready,
    Result,
    ScriptError,
    Stream,
    job_line,
    parse,
    signal_line,
)

CAP = 10_000
texts = st.text(st.characters(codec="utf-8"), max_size=30)
numbers = st.integers(0, 2**40)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def result_line(value: bytes) -> bytes:
    return RESULT_PREFIX + value + RESULT_SUFFIX


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, Frame]:
    """A line as jobinit writes it, and the frame it stands for."""
    kind = draw(st.sampled_from(["ready", "log", "stream", "result", "error", "exit"]))
    said: dict[str, Any] = {"type": kind}
    frame: Frame
    match kind:
        case "ready":
            frame = Ready()
        case "log":
            frame = Log(draw(texts))
            said.update(stream="stdout", text=frame.text)
        case "stream":
            frame = Stream(draw(texts))
            said.update(text=frame.text)
        case "result":
            value = json.dumps(draw(values)).encode()
            return result_line(value), Result(value)
        case "error":
            extra = draw(st.none() | st.dictionaries(texts, values, max_size=3))
            stack = draw(st.none() | texts)
            frame = ScriptError(draw(texts), draw(texts), stack, extra, draw(st.none() | texts))
            said.update({k: v for k, v in vars(frame).items() if v is not None})
        case _:
            code, signal = draw(st.tuples(st.integers(0, 255), st.none()) | st.just((None, "SIGKILL")))
            frame = Exit(code, signal, draw(st.none() | texts), *(draw(numbers) for _ in range(4)))
            said.update(vars(frame))
    return json.dumps(said, ensure_ascii=draw(st.booleans())).encode(), frame


def read(chunks: Iterable[bytes], cap: int = CAP) -> list[Frame]:
    reader = FrameReader(cap)
    return [frame for chunk in chunks for frame in reader.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(framed(), max_size=6), st.lists(st.integers(0, 10**6), max_size=12), st.booleans())
def test_any_chunking_gives_the_same_frames(
    pairs: list[tuple[bytes, Frame]], places: list[int], blank: bool
) -> None:
    """Where the stream is cut, and blank lines between frames, do not matter."""
    data = b"".join(line + (b"\n \n" if blank else b"\n") for line, _ in pairs)
    assert read(cut(data, places)) == [frame for _, frame in pairs]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_garbage_gives_frames_or_a_frame_error(data: bytes, places: list[int]) -> None:
    """No bytes raise anything but FrameError."""
    with suppress(FrameError):
        read(cut(data + b"\n", places))


odd_values = st.one_of(
    values,
    st.sampled_from([float("nan"), float("inf"), "\ud800", -1, 2**70, True, "12", [], {}]),
)
members = st.sampled_from(
    [
        "type",
        "text",
        "name",
        "message",
        "stack",
        "extra",
        "reason",
        "code",
        "signal",
        "stopped",
        "wall_ms",
        "cpu_ms",
        "memory_peak_bytes",
    ]
)
kinds = st.sampled_from(["ready", "log", "stream", "error", "exit", "result", "job", "", 3, None])


@given(st.dictionaries(members, odd_values), kinds, st.integers(0, 5))
def test_a_frame_with_odd_members_gives_storable_values_or_a_frame_error(
    odd: dict[str, Any], kind: Any, oom_kills: int
) -> None:
    """What a frame says can be stored and sent: text is UTF-8, numbers fit 64 bits, extras are JSON."""
    whole = {"text": "", "name": "", "message": "", "code": 0, "signal": None, "stopped": None}
    whole |= {"wall_ms": 0, "cpu_ms": 0, "memory_peak_bytes": 0, "oom_kills": oom_kills, **odd, "type": kind}
    try:
        frame = parse(json.dumps(whole).encode())
    except FrameError:
        return
    for value in vars(frame).values():
        match value:
            case str():
                value.encode()
            case int():
                assert 0 <= value < 2**63
            case dict():
                json.dumps(value, allow_nan=False)
            case _:
                assert value is None or isinstance(value, bytes)


@pytest.mark.parametrize(
    "extra",
    [
        '{"n":1e999}',
        '{"n":NaN}',
        '{"n":' + "9" * 5000 + "}",
        '{"a":' * 2000 + "1" + "}" * 2000,
        '{"a":' * 500 + "1" + "}" * 500,
        '{"a":' + "[" * 5000 + "]" * 5000 + "}",
    ],
    ids=["infinity", "nan", "long number", "very deep", "deep", "deep list"],
)
def test_an_extra_that_cannot_be_stored_is_dropped_and_the_error_kept(extra: str) -> None:
    """A script chooses its error's `extra`; no choice may pass its failure off as our trouble."""
    line = f'{{"type":"error","name":"E","message":"m","extra":{extra},"reason":"script_error"}}'
    assert parse(line.encode()) == ScriptError("E", "m", None, None, "script_error")


@pytest.mark.parametrize("excess", [0, 1])
def test_a_result_may_have_result_bytes_and_no_more(excess: int) -> None:
    """The cap is on the value's bytes, to the byte, however it arrives."""
    line = result_line(b'"' + b"x" * (CAP - 2 + excess) + b'"') + b"\n"
    for chunks in ([line], [line[:-1], line[-1:]], [line[i : i + 7] for i in range(0, len(line), 7)]):
        if excess:
            with pytest.raises(FrameError, match="bytes"):
                read(chunks)
        else:
            assert len(read(chunks)) == 1


def test_a_result_may_be_bigger_than_any_other_frame() -> None:
    """Only results are as big as `result_bytes` allows."""
    value = b'"' + b"x" * LINE_BYTES_MAX + b'"'
    assert read([result_line(value) + b"\n"], cap=2 * LINE_BYTES_MAX) == [Result(value)]


def test_an_endless_line_is_refused_before_it_ends() -> None:
    """A container cannot fill our memory by never ending a line."""
    reader = FrameReader(2**40)
    chunk = b"x" * 65536
    with pytest.raises(FrameError, match="bytes"):
        for _ in range(LINE_BYTES_MAX // len(chunk) + 1):
            list(reader.feed(chunk))


def test_frames_before_a_broken_one_are_still_given() -> None:
    """What was said before the protocol was broken counts."""
    seen = []
    with pytest.raises(FrameError):
        for frame in FrameReader(CAP).feed(b'{"type":"ready"}\nnonsense\n'):
            seen.append(frame)  # noqa: PERF402 - extend() would say nothing of what came before the error
    assert seen == [Ready()]


@pytest.mark.parametrize(
    "line",
    [
        result_line(b'"\xff"'),
        b'{"type":"log","text":"\xff"}',
        result_line(b""),
        RESULT_PREFIX + b"1",
        b'{"type":"result"}',
        b"[]",
        b"1",
        b"null",
        b"{}",
        b"[" * 100_000,
    ],
)
def test_a_broken_frame_is_refused(line: bytes) -> None:
    """Not UTF-8, cut short, of another shape: nothing of it is believed."""
    with pytest.raises(FrameError):
        parse(line)


def test_a_result_stays_the_bytes_it_came_as() -> None:
    """Results are not decoded on the way: numbers keep their digits, keys their order."""
    value = b'{"b": 1.10, "a": 12345678901234567890123, "a": "\\ud800"}'
    assert read([result_line(value) + b"\n"]) == [Result(value)]


whitespace = st.text(" \t\n\r", max_size=3)


@given(
    st.dictionaries(texts, values, max_size=4), whitespace, texts, st.dictionaries(texts, texts, max_size=2)
)
def test_a_job_line_is_one_line_that_means_what_it_was_given(
    args: dict[str, Any], white: str, script: str, env: dict[str, str]
) -> None:
    """Arguments keep their meaning even with raw newlines between their tokens."""
    text = json.dumps(args, separators=("," + white, ":" + white), ensure_ascii=False)
    body = (white + text + white).encode()
    line = job_line(script=script, args=body, args_file=None, env=env, limits={"timeout_s": 1.5})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    said = json.loads(line)
    assert said["args"] == args
    assert (said["type"], said["script"], said["env"]) == ("job", script, env)
    assert said["limits"] == {"timeout_s": 1.5}
    assert said["attached"] is True


def test_arguments_given_as_a_file_are_only_named() -> None:
    """Big arguments do not travel in the frame."""
    said = json.loads(job_line(script="s", args=b'{"a":1}', args_file='a"b.json', env={}, limits={}))
    assert said["args_file"] == 'a"b.json'
    assert "args" not in said


def test_a_signal_line_names_the_signal() -> None:
    """A cancellation's first step."""
    assert json.loads(signal_line("SIGINT")) == {"type": "signal", "signal": "SIGINT"}
