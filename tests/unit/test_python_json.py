"""The Python runner's JSON against the json package, which it stands in for."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import executor

FILE = Path(executor.__file__).parent.parent / "runtimes" / "python3" / "runner_json.py"


def load(*, accelerated: bool) -> ModuleType:
    spec = importlib.util.spec_from_file_location("runner_json", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not accelerated:
        module.make_scanner = module.make_encoder = None  # type: ignore[attr-defined]
    return module


BOTH = pytest.mark.parametrize("ours", [load(accelerated=True), load(accelerated=False)], ids=["C", "json"])
numbers = st.integers() | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | numbers | st.none() | st.booleans(), inner),
    max_leaves=20,
)


def outcome(act: Callable[[Any], Any], subject: Any) -> Any:
    """What came of it: a repr, as NaN equals nothing, or the kind of error."""
    try:
        return repr(act(subject))
    except (TypeError, ValueError, RecursionError) as error:
        return type(error) if not isinstance(error, ValueError) else ValueError


@BOTH
@given(value=values)
def test_values_become_the_same_text(ours: ModuleType, value: Any) -> None:
    for allow_nan in (True, False):
        theirs = json.JSONEncoder(separators=(",", ":"), allow_nan=allow_nan)
        encode = ours.encoder(allow_nan=allow_nan)
        assert outcome(encode, value) == outcome(theirs.encode, value)


@BOTH
@given(text=values.map(json.dumps) | st.text(alphabet='[]{}",:0123456789.eE+-NaInfitysrultf \\/\n\t\x00é'))
def test_texts_become_the_same_value(ours: ModuleType, text: str) -> None:
    for padded in (text, f" \n{text}\t\r", f"{text}x"):
        data = padded.encode("utf-8", "surrogatepass")
        # Of the text: of bytes, json.loads guesses the encoding, and takes a NUL for half of UTF-16.
        assert outcome(ours.loads, data) == outcome(json.loads, padded)


@BOTH
def test_what_has_no_json(ours: ModuleType) -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    encode = ours.encoder()
    for value, kind in (
        (object(), TypeError),
        ({(1, 2): 3}, TypeError),
        (loop, ValueError),
        (deep, RecursionError),
    ):
        with pytest.raises(kind):
            encode(value)
    with pytest.raises(RecursionError):
        ours.loads(b"[" * 100_000)
    while deep:  # else its end is as deep a recursion
        deep = deep.pop()


@BOTH
def test_a_value_may_be_told_how_to_be_written(ours: ModuleType) -> None:
    assert ours.encoder(default=str)({"path": Path("/a"), "n": math.nan}) == '{"path":"/a","n":NaN}'


def test_the_package_is_not_imported_for_it() -> None:

    say = "import sys, runner_json as r; print(r.loads(b'[1]'), r.encoder()({'a': 1}), 'json' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", say], cwd=FILE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == '[1] {"a":1} False\n'
