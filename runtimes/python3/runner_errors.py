"""Describes the exception that ended a script.

The trace names the script's frames only, not the runner's. message and stack are cut at 64 KiB
each: of a message the beginning is kept, of a trace the end, because the exception that ended the
script is the last one in it. `extra` holds the exception's own attributes that JSON can show.
"""

import os
import sys

import runner_args
import runner_json
import runner_result

TEXT_BYTES_MAX = 64 * 1024
STDERR_FD = 2

_HERE = os.path.dirname(os.path.abspath(__file__))
_write = os.write
_encode = runner_json.encoder()
_NO_DEPENDENCIES = (
    ": it is not in the Python image. Installing dependencies and importing other workspace "
    "scripts are not available in this version; a script can import the standard library and "
    "what the image holds"
)
_encode_strictly = runner_json.encoder(allow_nan=False)


class Failure:
    """What is said about a failed script: `text` for the service, `trace` for the log."""

    def __init__(self, text, trace):
        self.text = text
        self._trace = trace

    def log(self):
        """Write the trace on stderr, which the script may have closed."""
        data = memoryview(self._trace.encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[_write(STDERR_FD, data) :]
        except OSError:
            pass


def describe(error, source, source_name):
    """Return the Failure for an exception that the script, or the runner for it, raised."""
    name, message = type(error).__name__, _message(error)
    if isinstance(error, runner_args.BadInput):
        return _refusal("bad_input", message)
    if isinstance(error, runner_result.NotJson):
        return _refusal("result_not_json", message)
    stack = _cut(_stack(error, source, source_name), keep_end=True)
    if isinstance(error, ImportError) and _is_absent(error):
        return _refusal("dependency_error", message + _NO_DEPENDENCIES, stack)
    document = {"name": name, "message": _cut(message), "stack": stack}
    extra = _extra(error)
    if extra:
        document["extra"] = extra
    document["reason"] = "script_error"
    return Failure(_encode(document), stack)


def _refusal(reason, message, stack=""):
    """A Failure that is not an exception of the script's own."""
    message = _cut(message)
    document = {"name": "ExecutionErr", "message": message, "reason": reason}
    if stack:
        document["stack"] = stack
    return Failure(_encode(document), stack + "ExecutionErr: " + message + "\n")


def _message(error):
    try:
        return str(error)
    except BaseException:
        return "<the exception's __str__ failed>"


def _stack(error, source, source_name):
    """The trace from the first frame that is not the runner's, with the script's source lines."""
    try:
        import linecache
        import traceback

        lines = source.decode("utf-8", "replace").splitlines(True)
        linecache.cache[source_name] = (len(source), None, lines, source_name)
        first = frames = error.__traceback__
        while frames is not None:
            if os.path.dirname(frames.tb_frame.f_code.co_filename) == _HERE:
                first = frames.tb_next
            frames = frames.tb_next
        return "".join(traceback.TracebackException(type(error), error, first).format())
    except BaseException:
        return f"{type(error).__name__}: {_message(error)}\n"


def _is_absent(error):
    """Did an import fail because the image has no such module, or it is a workspace script?

    A missing part of a module that is there is the script's mistake, unless that is a package
    without a file of its own, such as f and f.folder of a workspace path.
    """
    name = error.name
    if not isinstance(name, str) or not name:
        return False
    if "." in name or not isinstance(error, ModuleNotFoundError):
        parent = name.partition(".")[0]
        spec = getattr(sys.modules.get(parent), "__spec__", None)
        return spec is None or spec.origin is None
    try:
        import importlib.util

        return importlib.util.find_spec(name) is None
    except BaseException:
        return False


def _extra(error):
    """The exception's own attributes, as many as are JSON and fit."""
    extra, room = {}, TEXT_BYTES_MAX
    try:
        for name, value in list(vars(error).items()):
            if name.startswith("__"):
                continue
            try:
                size = len(name) + len(_encode_strictly(value))
            except (TypeError, ValueError, RecursionError):
                continue
            if size <= room:
                extra[name] = value
                room -= size
    except BaseException:
        return {}
    return extra


def _cut(text, keep_end=False):
    """The text in at most TEXT_BYTES_MAX bytes, with a mark where something is left out."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= TEXT_BYTES_MAX:
        return text
    mark = f"[… cut: {len(data)} bytes in all …]"
    room = TEXT_BYTES_MAX - len(mark.encode()) - 1
    kept = data[-room:] if keep_end else data[:room]
    kept = kept.decode("utf-8", "ignore")
    return mark + "\n" + kept if keep_end else kept + " " + mark
