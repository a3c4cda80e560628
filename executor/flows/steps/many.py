"""The results of a module that runs its body many times, as the one array they make."""

from __future__ import annotations

from executor.errors import Reason
from executor.flows.step import Step
from executor.flows.transforms import StepFailed
from executor.flows.values import End, Value, array_text, failed


class Many:
    """Results in order, bounded together as a script's result is."""

    def __init__(self, step: Step) -> None:
        self.texts: list[bytes] = []
        self._step = step
        self._left = step.world.result_bytes_max

    async def add(self, end: End) -> None:
        """The next result; raises StepFailed when all of them together are too large."""
        text = await self._step.world.text(end.value)
        self._left -= len(text) + 1
        if self._left < 0:
            most = self._step.world.result_bytes_max
            message = f"the results in the array exceed the limit of {most} bytes (result_bytes) together"
            raise StepFailed(failed(Reason.RESULT_TOO_LARGE, message))
        self.texts.append(text)

    @classmethod
    async def of(cls, step: Step, ends: list[End]) -> Many:
        """The results of bodies that ran side by side."""
        many = cls(step)
        for end in ends:
            await many.add(end)
        return many

    @property
    def value(self) -> Value:
        """The array."""
        return Value(array_text(self.texts))
