"""Everything at once for minutes, at saturation: `make soak` (`python -m tests.soak --help`)."""
