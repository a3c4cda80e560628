"""Flows: the OpenFlow document as types. Knows no HTTP, no SQL and no container."""
