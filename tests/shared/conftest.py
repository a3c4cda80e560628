"""Tests that mount."""

from tests.mounted import nothing_stays_mounted

__all__ = ["nothing_stays_mounted"]
