"""Flow files: JSON or YAML 1.2, an export or the bare value, and mistakes by their line."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import BadInput
from executor.flows.files import FlowFile, parse_flow, read_flow_file
from executor.flows.yaml12 import from_yaml
from tests.flows.documents import IDENTITY, flow, module, read

VALUE = flow(module(IDENTITY))
YAML = """
summary: Greets
value:
  modules:
    - id: a
      value: {type: rawscript, language: bash, input_transforms: {}, content: |
        echo hi
        }
"""


def complaint(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        from_yaml(text, "f.yaml")
    assert caught.value.field == "f.yaml"
    assert len(caught.value.detail) < 300
    return caught.value.detail


def test_an_export_and_a_bare_value_are_both_flows(tmp_path: Path) -> None:
    """In JSON and in YAML; the schema and the summary come along."""
    export = {"summary": "s", "description": "d", "value": VALUE, "schema": {"properties": {}}}
    for name in ("a.json", "b.yaml", "c.YML", "d"):  # JSON is YAML too
        file = tmp_path / name
        file.write_text(json.dumps(export))
        assert read_flow_file(file) == FlowFile(VALUE, {"properties": {}}, "s")
        file.write_text(json.dumps(VALUE))
        assert read_flow_file(file) == FlowFile(VALUE)


def test_a_flow_in_yaml() -> None:
    """Blocks of text keep their lines."""
    text = YAML.replace(
        "{type: rawscript, language: bash, input_transforms: {}, content: |", "\n        type: rawscript"
    )
    text = text.replace(
        "        echo hi\n        }",
        "        language: bash\n        content: |\n          echo hi\n          exit",
    )
    found = parse_flow(text, "f.yaml", is_json=False)
    assert found.summary == "Greets"
    assert found.value["modules"][0]["value"]["content"] == "echo hi\nexit\n"
    assert read(found.value).modules[0].id == "a"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("12:30", "12:30"),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("<<", "<<"),
        ("=", "="),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("-12", -12),
        ("12345678901234567890123", 12345678901234567890123),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e", "1e"),
        ("'1'", "1"),
        ('"null"', "null"),
        ("! 1", "1"),
        ("!!str 1", "1"),
        ("!!int '1'", 1),
        ("!!float 1", 1),
        ("'!inline a.py'", "!inline a.py"),
        ("é 😀", "é 😀"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    """What the JavaScript tools that save flows leave unquoted is text here too."""
    found = from_yaml(f"x: {text}", "f.yaml")["x"]
    assert found == value
    assert type(found) is type(value)


def test_json_is_taken_for_json_whatever_the_file_is_called() -> None:
    """YAML knows most of it, but not characters that are escaped as two surrogates."""
    found = parse_flow(json.dumps({**VALUE, "x": "😀"}), "f.yaml", is_json=False)
    assert found.value["x"] == "😀"
    assert parse_flow("{modules: [], x: y}", "f.yaml", is_json=False).value["x"] == "y"


def test_aliases_repeat_what_their_anchors_hold() -> None:
    """Scalars, objects and arrays."""
    text = "a: &a 1\nb: &b {c: *a}\nd: [*a, *b, &e [x], *e]"
    assert from_yaml(text, "f") == {"a": 1, "b": {"c": 1}, "d": [1, {"c": 1}, ["x"], ["x"]]}


def test_an_aliased_step_is_a_step_each_time() -> None:
    """Each repetition gets an id of its own."""
    found = parse_flow("modules: [&s {value: {type: identity}}, *s]", "f", is_json=False)
    assert len({m.id for m in read(found.value).modules}) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1,\n- b: ]", "line 2, column"),
        ("a: 1\nb: c: d", "line 2, column 5: not YAML"),
        ("a:\n\t- b", "line 2, column 1: not YAML"),
        ("a: 1\nb: 2\na: 3", 'line 3, column 1: the key "a" comes twice'),
        ("a: 1\n5: 2", "line 2, column 1: the key 5 is not a text"),
        ("true: 1", "the key true is not a text"),
        ("? [a]\n: 1", "a key must be a text"),
        ("a: &x 1\n*x : 1", "line 2, column 1: an alias cannot be a key"),
        ("a: *x", "line 1, column 4: the alias *x has no anchor"),
        ("a: &x [*x]", "line 1, column 8: the alias *x has no anchor before it, or is inside its own"),
        ("a: !!python/object:os.system x", "line 1, column 4: the tag"),
        ("a: !inline x.py", 'the tag "!inline" does not fit'),
        ("a: !!timestamp 2024-01-31", "the tag"),
        ("a: !!int x", "the tag"),
        ("a: !!set {b}", "has no meaning in JSON"),
        ("a: .inf", "line 1, column 4: .inf is not a number that JSON has"),
        ("a: 1\n---\nb: 1", "line 2, column 1: a second document begins here"),
        ("a: \x01", "not YAML"),
        ("9" * 10_000, "a number has too many digits"),
        ("[" * 100_000, "line 1, column 191: over 190 levels deep"),
        ("{a: " * 100_000, "over 190 levels deep"),
        ("- " * 100_000, "over 190 levels deep"),
    ],
    ids=lambda value: value[:20].replace("\n", " ").encode("ascii", "backslashreplace").decode(),
)
def test_a_mistake_is_told_by_its_line(text: str, said: str) -> None:
    """And nothing of what was written runs, or takes long."""
    begin = time.thread_time()
    assert said in complaint(text)
    assert time.thread_time() - begin < 5


def test_billions_of_laughs_are_refused_fast() -> None:
    """Anchors of anchors: the file is small, the document would not be."""
    letters = "abcdefghijklmnop"
    lines = ["a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in itertools.pairwise(letters)]
    begin = time.thread_time()
    with pytest.raises(BadInput, match="over 1000000 values"):
        parse_flow("\n".join([*lines, "modules: []"]), "f", is_json=False)
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'{"modules": [\n  1,,\n]}', "line 2"),
        ("a.json", b'{"modules": [NaN]}', "not JSON"),
        ("a.json", b"", "not JSON"),
        ("a.json", b"modules: []", "not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b'{"modules": [1e999]}', "modules[0]: inf is not a number"),
        ("a.json", b"[]", "an object belongs here, not an array"),
        ("a.yaml", b"", "an object belongs here, not null"),
        ("a.yaml", b"value: 5", "holds no flow"),
        ("a.yaml", b"value: {x: 1}", "holds no flow"),
        ("a.yaml", b"a: 1\nb: \xff", "line 2 is not UTF-8"),
        ("a.yaml", b'modules: ["\\ud800"]', "not"),
    ],
    ids=range(12),
)
def test_a_file_that_holds_no_flow_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """With the line where there is one."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_flow_file(tmp_path / name)
    assert name in caught.value.detail
    assert said in caught.value.detail


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing one, and a folder."""
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(BadInput, match="cannot be read") as caught:
            read_flow_file(path)
        assert str(path) in caught.value.detail


def test_a_mark_of_byte_order_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Some editors write one."""
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(VALUE).encode())
    assert read_flow_file(tmp_path / "a.json").value == VALUE


@given(st.text(max_size=40) | st.text(st.sampled_from("ab:-[]{},&*!|>?'\"#\n 1~"), max_size=40))
def test_any_text_is_a_value_or_a_complaint(text: str) -> None:
    """Nothing else comes out, and values are JSON."""
    try:
        said = json.dumps(from_yaml(text, "f"))
    except BadInput as error:
        said = error.detail
    assert said


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_json_means_the_same_as_yaml(value: Any) -> None:
    """So an export may carry either ending."""
    assert from_yaml(json.dumps(value, ensure_ascii=False), "f") == value
