"""Directories that the steps of a run share, on real file systems and in real containers."""
