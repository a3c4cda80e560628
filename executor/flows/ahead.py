"""Which scripts a sequence of modules is about to run, as far as its document tells. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from executor.flows.document import Module


def languages(modules: Iterable[Module], times: int = 1) -> Counter[str]:
    """How many scripts of each language come before the first wait, if the sequence runs so often.

    Those inside of branches and loops are not counted: their own sequences tell of them.
    """
    found: Counter[str] = Counter()
    for module in modules:
        if module.value.type == "rawscript" and not module.mock.enabled:
            found[module.value.language] += times
        if module.sleep is not None or module.suspend.required_events:
            break
    return found
