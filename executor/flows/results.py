"""Results by step id, and who sees whose (docs/openflow.md section 2.4).

Each root has a map of its own: the run, an inner flow, an iteration of a parallel loop. Branches and
sequential iterations share the map around them. A miss climbs to the parent's map.
"""

from __future__ import annotations

from collections.abc import Iterator

from executor.flows.values import Value


class Results:
    """The results one root's steps have given so far."""

    def __init__(self, parent: Results | None = None) -> None:
        self._parent = parent
        self._own: dict[str, Value] = {}

    def put(self, step_id: str, value: Value) -> None:
        """The step has ended so; an earlier value of the same id is forgotten."""
        self._own[step_id] = value

    def get(self, step_id: str) -> Value | None:
        """What the id stands for here; None for one that has not run or is unknown."""
        scope: Results | None = self
        while scope is not None:
            if (found := scope._own.get(step_id)) is not None:
                return found
            scope = scope._parent
        return None

    def ids(self) -> list[str]:
        """Every id that has a value here."""
        return list(dict.fromkeys(self._all_ids()))

    def _all_ids(self) -> Iterator[str]:
        scope: Results | None = self
        while scope is not None:
            yield from scope._own
            scope = scope._parent
