"""executor: every script in its own fresh, hardened container, over HTTP."""

__version__ = "0.1.0"
