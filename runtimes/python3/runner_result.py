"""Makes the text of one JSON value out of what the script's function returned.

* A coroutine is awaited. A generator, plain or async, is streamed: each item becomes one line
  `WM_STREAM: …` on stdout, and the result is null.
* A pandas DataFrame is a list of its rows, a polars one too; bytes, as the result itself or as a
  value of a result that is a dict, are base64. All else goes through json.dumps(default=str).
* Afterwards NaN, Infinity and -Infinity become null. In strings a NUL character, which neither
  PostgreSQL nor a C string can hold, is replaced by the text null: Windmill does so by a textual
  substitution that also hits the words NaN and Infinity in strings; here those stay as they are.
  A line `# skip_result_postprocessing` in the script switches this off.
"""

import binascii
import os
import sys

import runner_json

STDOUT_FD = 1

_write = os.write
_encode = runner_json.encoder(default=str)
_GENERATOR = type(_ for _ in ())
_SKIP_WORD = b"skip_result_postprocessing"
_SKIP = rb"(?m)^#[ \t]*skip_result_postprocessing\b"
# A string literal, or one of the tokens that are not JSON; whatever is between them stays.
_TOKEN = r'"[^"\\]*(?:\\.[^"\\]*)*"|NaN|-?Infinity'
_TO_MEND = ("NaN", "Infinity", "\\u0000")
_ESCAPE = r"\\(u0000|.)"


class NotJson(Exception):
    """The result cannot be written as JSON."""


def deliver(value, source):
    """Return the result as JSON text, after awaiting or streaming it where that is asked for."""
    keep_raw = _SKIP_WORD in source and _is_to_skip(source)
    # Asked of the type: some objects answer every attribute.
    if hasattr(type(value), "__await__"):
        value = _complete(value)
    if isinstance(value, _GENERATOR):
        for item in value:
            _stream(item, keep_raw)
        value = None
    elif hasattr(type(value), "__aiter__") and hasattr(type(value), "asend"):
        _complete(_stream_all(value, keep_raw))
        value = None
    return to_json(value, keep_raw)


def to_json(value, keep_raw=False):
    """Return the value as JSON text; a value that has none is NotJson."""
    try:
        text = _encode(_plain(value))
    except (TypeError, ValueError, RecursionError) as error:
        if _raised_by_user_code(error):
            raise
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise NotJson(f"the result cannot be written as JSON: {reason}") from None
    # A single character is found several times as fast as a longer text.
    if not keep_raw and any(word[0] in text and word in text for word in _TO_MEND):
        text = _mended(text)
    return text


def _is_to_skip(source):
    import re

    return re.search(_SKIP, source) is not None


def _mended(text):
    """The text with null for the tokens that are not JSON, and no NUL in its strings."""
    import re

    def mend(match):
        token = match.group()
        if token[0] != '"':
            return "null"
        if "\\u0000" not in token:
            return token
        return re.sub(_ESCAPE, lambda part: "null" if part[1] == "u0000" else part[0], token)

    return re.sub(_TOKEN, mend, text)


def _plain(value):
    """The value with the few types replaced that have a JSON form of their own."""
    if isinstance(value, bytes):
        return _base64(value)
    if isinstance(value, dict):
        if any(isinstance(item, bytes) for item in value.values()):
            return {k: _base64(v) if isinstance(v, bytes) else v for k, v in value.items()}
        return value
    # Who returns a data frame has imported its library, so it is never imported here.
    for library, rows in (("pandas", _pandas_rows), ("polars", _polars_rows)):
        frame = getattr(sys.modules.get(library), "DataFrame", None)
        if isinstance(frame, type) and isinstance(value, frame):
            return rows(value)
    return value


def _base64(data):
    return binascii.b2a_base64(data, newline=False).decode()


def _pandas_rows(frame):
    return frame.values.tolist()


def _polars_rows(frame):
    return frame.rows()


def _raised_by_user_code(error):
    """Did a method of a returned object raise this (`__str__`), rather than the encoder?"""
    frames = error.__traceback__
    while frames.tb_next is not None:
        frames = frames.tb_next
    file = frames.tb_frame.f_code.co_filename
    return file != __file__ and not runner_json.is_ours(file)


def _stream(item, keep_raw):
    """Write one streamed item as a line; a newline in it is written as backslash and n."""
    text = item if isinstance(item, str) else to_json(item, keep_raw)
    line = "WM_STREAM: " + text.replace("\n", "\\n") + "\n"
    data = memoryview(line.encode("utf-8", "replace"))
    _flush_stdout()
    while data:
        data = data[_write(STDOUT_FD, data) :]


def _flush_stdout():
    """What was printed before comes first; the script may have closed or replaced stdout."""
    try:
        sys.stdout.flush()
    except BaseException:
        return


async def _stream_all(generator, keep_raw):
    async for item in generator:
        _stream(item, keep_raw)


def _complete(awaitable):
    """Run an awaitable to its end in an event loop of its own and return its value.

    asyncio.run would, after main has returned, wait for tasks and threads that main left behind.
    An interrupt cancels main, so that its clean-up runs.
    """
    import asyncio

    async def wait():
        return await awaitable

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(wait())
    try:
        return loop.run_until_complete(task)
    except KeyboardInterrupt as interrupt:
        task.cancel()
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise interrupt from None
        raise


def flush_regular_files():
    """Flush every open file object over a regular file, wherever the script keeps it."""
    import gc
    import io
    import stat

    for thing in gc.get_objects():
        if issubclass(type(thing), io.IOBase):
            try:
                if stat.S_ISREG(os.fstat(thing.fileno()).st_mode):
                    thing.flush()
            except BaseException:
                continue
