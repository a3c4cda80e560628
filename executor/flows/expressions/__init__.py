"""Placeholder until the branch with the engine is merged."""


class ExpressionFailed(Exception):
    """x"""

    def __init__(self, message: str, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out
