"""Flows: the OpenFlow document and what is evaluated in it. Knows no HTTP, no SQL and no container."""
