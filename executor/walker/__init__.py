"""Walks flow runs in this process: takes a run's lease, walks it until it ends or only waits."""

from executor.walker.runner import Walker

__all__ = ["Walker"]
