"""Whatever the parsers are given: a value, or the one complaint that they promise, soon."""
