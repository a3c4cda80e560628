"""The engines that tests of containers run on."""

from __future__ import annotations

import os

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the oci engine needs root")
BOTH = ["docker", pytest.param("oci", marks=needs_root)]
"""As parameters; each as EXECUTOR_ENGINE, so that one that does not work is a failure and no fallback."""
