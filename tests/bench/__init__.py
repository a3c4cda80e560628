"""Measurements that a person reads; no test depends on a time."""
