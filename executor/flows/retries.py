"""How often, and after which waits, a failed step is tried again (docs/openflow.md section 1.9). Pure."""

from __future__ import annotations

from executor.flows.document import Retry

WAIT_S_MAX = 6 * 3600.0


def wait_s(retry: Retry, failures: int, random: float) -> float | None:
    """Seconds to wait before the next run after `failures` earlier failures; None if there is none.

    `failures` does not count the one just seen; `random` (0 to 1) decides the jitter.
    """
    if failures < retry.constant.attempts:
        return min(float(retry.constant.seconds), WAIT_S_MAX)
    exponential = retry.exponential
    if failures - retry.constant.attempts >= exponential.attempts:
        return None
    try:
        base: float = exponential.multiplier * exponential.seconds ** (failures + 1)
    except OverflowError:
        return WAIT_S_MAX
    jitter = 1 + (2 * random - 1) * exponential.random_factor / 100
    return max(0.0, min(base * jitter, WAIT_S_MAX))
