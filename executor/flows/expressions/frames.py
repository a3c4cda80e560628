"""What travels between the service and a child: one kind byte, a length, that many bytes.

The child speaks only when it is asked, and waits for the answer to each of its own questions, so
neither side ever writes while the other one does.
"""

from __future__ import annotations

import struct

HEAD = struct.Struct(">cI")

# service → child
EVALUATE = b"E"  # a request, as JSON
VALUE = b"V"  # the answer to a question: JSON text
UNKNOWN = b"N"  # the answer to a question: there is no such value
REFUSED = b"X"  # the answer to a question: it failed, with this message

# child → service
READY = b"Y"  # booted and confined
ASK = b"A"  # a question, as JSON: [what, key]
RESULT = b"R"  # the value as JSON text
FAILED = b"F"  # the expression failed, with this detail

QUESTION_BYTES = 64 * 1024
"""A longer question is none that an honest expression asks."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(kind, len(payload)) + payload
