"""YAML to JSON values, by the core schema of YAML 1.2: what the tools write that save flows as YAML.

PyYAML's own loaders follow YAML 1.1, where `no`, `12:30` and `2024-01-31` are no texts. They also build
deep and repeated structures before anybody can look. So only PyYAML's parser is used here: its events
come one by one and have line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from executor.errors import BadInput
from executor.flows.plain import DEPTH_MAX, VALUES_MAX, shown

TAG = "tag:yaml.org,2002:"
NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
KINDS: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}
"""What a scalar with a tag may turn out to be."""
DIGITS_MAX = 4000

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C library's, some ten times faster, where PyYAML was built with it."""


def from_yaml(text: str, name: str) -> Any:
    """The value of the one document in `text`, which is called `name` in complaints.

    An alias gives the very object of its anchor. Raises BadInput with the line: a syntax error, a key
    that is no text or comes twice, a tag that JSON has no type for, an alias without anchor or inside
    its own, or more depth or values than JSON may have here.
    """
    try:
        return _Builder(name).build(yaml.parse(text, Loader=Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "wrong"
        raise _bad(name, mark, f"not YAML: {problem}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise BadInput(f"{name}: not YAML: {error}", field=name, remedy="mend it there") from None


def _bad(name: str, mark: Any, detail: str) -> BadInput:
    place = f"{name}: line {mark.line + 1}, column {mark.column + 1}" if mark else name
    return BadInput(f"{place}: {detail}", field=name, remedy="mend it there")


class _Holder:
    """An object or array that is being filled."""

    def __init__(self, value: Any, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None

    def expects_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    def add(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        else:
            self.value[self.key] = value
            self.key = None


class _Builder:
    """Puts the values of one document together; no recursion, so depth costs nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.holders = [_Holder([], None)]  # the outermost takes the document itself
        self.anchors: dict[str, Any] = {}

    def build(self, events: Iterator[yaml.Event]) -> Any:
        documents = 0
        for count, event in enumerate(events):
            if count > 2 * VALUES_MAX:
                raise self.bad(event, f"over {VALUES_MAX} values")
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise self.bad(event, "a second document begins here")
                case yaml.ScalarEvent():
                    self.scalar(event)
                case yaml.AliasEvent():
                    self.alias(event)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self.begin(event)
                case yaml.CollectionEndEvent():
                    self.end(event)
                case _:
                    pass  # the bounds of stream and document
        top = self.holders[0].value
        return top[0] if top else None

    def bad(self, event: yaml.Event, detail: str) -> BadInput:
        return _bad(self.name, event.start_mark, detail)

    def scalar(self, event: yaml.ScalarEvent) -> None:
        holder = self.holders[-1]
        value = self.resolved(event)
        if not holder.expects_key():
            holder.add(value)
        elif not isinstance(value, str):
            raise self.bad(event, f"the key {shown(value)} is not a text; put it in quotes")
        elif value in holder.value:
            raise self.bad(event, f"the key {shown(value)} comes twice")
        else:
            holder.key = value
        if event.anchor is not None:
            self.anchors[event.anchor] = value

    def alias(self, event: yaml.AliasEvent) -> None:
        holder = self.holders[-1]
        if event.anchor not in self.anchors:
            raise self.bad(event, f"the alias *{event.anchor} has no anchor before it, or is inside its own")
        if holder.expects_key():
            raise self.bad(event, "an alias cannot be a key")
        holder.add(self.anchors[event.anchor])

    def begin(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        if self.holders[-1].expects_key():
            raise self.bad(event, "a key must be a text")
        if event.tag not in (None, "!", TAG + ("seq" if is_list else "map")):
            raise self.bad(event, f"the tag {shown(event.tag)} has no meaning in JSON")
        if len(self.holders) > DEPTH_MAX:
            raise self.bad(event, f"over {DEPTH_MAX} levels deep")
        self.holders.append(_Holder([] if is_list else {}, event.anchor))

    def end(self, event: yaml.Event) -> None:
        done = self.holders.pop()
        self.holders[-1].add(done.value)
        if done.anchor is not None:
            self.anchors[done.anchor] = done.value

    def resolved(self, event: yaml.ScalarEvent) -> Any:
        """The scalar's value: quoted is text, plain by its form, tagged by its tag."""
        text = event.value
        if event.tag in ("!", TAG + "str"):
            return text
        if event.tag is None:
            return self.plain(event, text) if event.implicit[0] else text
        value = self.plain(event, text)
        if type(value) not in KINDS.get(event.tag.removeprefix(TAG), ()):
            raise self.bad(event, f"the tag {shown(event.tag)} does not fit {shown(text)}")
        return value

    def plain(self, event: yaml.ScalarEvent, text: str) -> Any:
        """What the form of an unquoted text says."""
        if NULL.fullmatch(text):
            return None
        if BOOL.fullmatch(text):
            return text[0] in "tT"
        if len(text) > DIGITS_MAX and FLOAT.fullmatch(text):
            raise self.bad(event, "a number has too many digits")
        if INT.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return int(text[2:], base) if base != 10 else int(text)
        if FLOAT.fullmatch(text):
            return float(text)
        if INFINITE.fullmatch(text):
            raise self.bad(event, f"{text} is not a number that JSON has; put it in quotes if it is a text")
        return text
