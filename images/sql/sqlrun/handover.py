"""The pipes to jobinit, process 1 of the container.

Descriptor 3 takes one newline when the runner has booted and later exactly one JSON document;
descriptor 4 gives the job's environment once there is a job. By then the script and ./args.json
are in place.
"""

import os

from sqlrun import memory
from sqlrun.values import compact

RESULT_FD, JOB_FD = 3, 4
CHUNK_BYTES = 1 << 20
HELD_SHARE = 4
"""A result is held back, so that an error can still take its place, up to this part of the memory."""


class Handover:
    """Descriptor 3. It takes one document."""

    def booted(self):
        """Say that a job can come."""
        os.set_inheritable(RESULT_FD, False)
        os.write(RESULT_FD, b"\n")

    def result(self):
        """Where the result's JSON text goes."""
        return Result()

    def error(self, reason, message, extra):
        """Say why there is no result. The reader may be gone already."""
        document = {"name": "ExecutionErr", "message": message, "reason": reason}
        if extra:
            document["extra"] = extra
        _send('{"error":' + compact(document) + "}")


class Result:
    """A JSON text on its way out, written in pieces.

    It is held back until `close`. Only one so big that holding it could cost the container its
    memory goes out as it comes: it is over its limit, as a rule, and jobinit ends us for that.
    """

    def __init__(self):
        self._held_max = memory.limit_bytes() // HELD_SHARE
        self._pieces = ['{"result":']
        self._waiting = self._held = 0
        self._chunks = []
        self.is_under_way = False

    def write(self, text):
        """Take the next piece."""
        self._pieces.append(text)
        self._waiting += len(text)
        if self._waiting >= CHUNK_BYTES:
            self._pack()

    def close(self):
        """Send what is still here; the document is complete."""
        self._pieces.append("}")
        self._pack()
        self._flush()

    def _pack(self):
        chunk = "".join(self._pieces).encode("utf-8", "replace")
        self._pieces, self._waiting = [], 0
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self.is_under_way or self._held > self._held_max:
            self._flush()
            self.is_under_way = True

    def _flush(self):
        self._chunks.reverse()
        while self._chunks:  # each is let go of once it is out: jobinit has it now
            _send_bytes(self._chunks.pop())


def _send(text):
    _send_bytes(text.encode("utf-8", "replace"))


def _send_bytes(data):
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(RESULT_FD, view[:CHUNK_BYTES]) :]
    except BrokenPipeError:
        pass


def take_environment():
    """Wait for a job; its variables are what arrives on descriptor 4 until that is closed."""
    records = bytearray()
    while data := os.read(JOB_FD, 65536):
        records += data
    os.close(JOB_FD)
    for record in bytes(records).split(b"\0"):
        key, equals, value = record.partition(b"=")
        if key and equals:
            os.environb[key] = value
