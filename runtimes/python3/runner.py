"""Runs one Python script: loads it, calls its main with the job's arguments, hands the result over.

The other side is jobinit, process 1 of the container. Descriptor 3 takes one newline when we have
booted and later exactly one JSON document; descriptor 4 gives the job's environment once there is
a job. By then ./main.py and ./args.json are in place.

Rules that are not obvious:
* Everything that the hand-over needs (encoders, os.write, the pid) is bound before user code runs.
* Booting imports as little as it can. While no job comes, what most scripts import is.
* The result goes out before the user's streams are touched, and the process ends at once after
  it: threads that are still running and atexit functions neither delay nor change a result. Only
  regular files left open are flushed first.
* SystemExit and KeyboardInterrupt are failures like any other exception, whatever their code:
  `sys.exit(0)` ends a script without a result, and main returns one by returning it.
* A forked child that returns from main is not the job: it just ends.

It must run in any image that has Python 3.8 or later, because a script may choose its own image.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)

import runner_args  # noqa: E402 (the folder has to be on the path first)
import runner_errors  # noqa: E402
import runner_result  # noqa: E402

# What the script sees in that place is what `python3 main.py` would show: its own directory.
sys.path[0] = os.getcwd()

RESULT_FD, JOB_FD = 3, 4
SOURCE = "main.py"
CHUNK_CHARS = 256 << 10
IDLE_S = 0.25
"""A job that is to come at once has come by then."""
PRELOADED = ("re", "json", "datetime", "typing")

_write, _read, _close, _exit, _getpid = os.write, os.read, os.close, os._exit, os.getpid
_pid = _getpid()


class Handover:
    """Descriptor 3. It takes one document; whatever would come after it is dropped."""

    def __init__(self):
        self._used = False

    def booted(self):
        _write(RESULT_FD, b"\n")

    def send(self, key, text):
        """Send {key: text} where text is JSON; the reader may be gone already."""
        if self._used or _getpid() != _pid:
            return
        # A result is ASCII, so that its pieces can be encoded one by one; whatever is not has to be
        # whole first, as half a document would be none.
        size = CHUNK_CHARS if text.isascii() else max(1, len(text))
        pieces = (text[at : at + size].encode() for at in range(0, len(text), size))
        first = next(pieces, b"")
        self._used = True
        try:
            _write_all(b'{"%s":' % key.encode() + first)
            for piece in pieces:
                _write_all(piece)
            _write_all(b"}")
        except OSError:
            pass


def _write_all(data):
    view = memoryview(data)
    while view:
        view = view[_write(RESULT_FD, view) :]


def import_while_idle():
    """Until there is a job, import what many scripts do: it costs a container that waits nothing."""
    try:
        from select import select

        for name in PRELOADED:
            if select((JOB_FD,), (), (), IDLE_S if name == PRELOADED[0] else 0)[0]:
                return
            __import__(name)
    except (ImportError, OSError):  # an image's Python may have less; the script says so if it matters
        return


def take_environment():
    """Wait for a job; its variables are what arrives on descriptor 4 until that is closed."""
    records = bytearray()
    while True:
        data = _read(JOB_FD, 65536)
        if not data:
            break
        records += data
    _close(JOB_FD)
    for record in bytes(records).split(b"\0"):
        key, equals, value = record.partition(b"=")
        if key and equals:
            os.environb[key] = value
    if "TZ" in os.environ:
        import time

        time.tzset()


def module_name(job_path):
    """The script's dotted module name: its workspace path, else its file's name.

    A path whose first part is the name of a module that Python has itself would hide that one.
    """
    parts = [part.replace("-", "_").replace(".", "_") for part in job_path.split("/") if part]
    taken = getattr(sys, "stdlib_module_names", sys.builtin_module_names)
    if not parts or parts[0] in sys.modules or parts[0] in taken:
        return "main"
    return ".".join(parts)


def load_script(source, job_path):
    """Execute the source as a module of its workspace path and return the module."""
    module_type = type(sys)
    spec_type = type(sys.__spec__)
    directory = os.getcwd()
    name = module_name(job_path)
    packages = name.split(".")[:-1]
    for end in range(1, len(packages) + 1):
        package = module_type(".".join(packages[:end]))
        package.__path__ = [os.path.join(directory, *packages[:end])]
        package.__spec__ = spec_type(package.__name__, None, is_package=True)
        package.__package__ = package.__name__
        sys.modules[package.__name__] = package
    module = module_type(name)
    module.__file__ = os.path.join(directory, SOURCE)
    module.__package__ = ".".join(packages)
    module.__spec__ = spec_type(name, None, origin=module.__file__)
    sys.modules[name] = module
    exec(compile(source, SOURCE, "exec", dont_inherit=True), module.__dict__)
    return module


def run_script(source):
    """Run the job in the current directory and return its result as JSON text."""
    args = runner_args.read("args.json")
    entry = args.pop("_ENTRYPOINT_OVERRIDE", None) or "main"
    module = load_script(source, os.environ.get("WM_JOB_PATH", ""))
    main = getattr(module, entry)
    positional, named = runner_args.bind(main, args)
    return runner_result.deliver(main(*positional, **named), source)


def flush_user_files():
    """Flush what the script has left in buffers, as an orderly end of Python would.

    Pipes and sockets are left alone: a full one would hold up a job that has its result.
    """
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:
            continue
    try:
        # One of those above 3 is the listing itself.
        if sum(int(fd) > RESULT_FD for fd in os.listdir("/proc/self/fd")) > 1:
            runner_result.flush_regular_files()
    except BaseException:
        pass


def main():
    """Boot, wait for the job, run it, and end the process."""
    sys.argv[:] = [SOURCE]
    # Live lines, at a third of what `python3 -u` costs, which writes every piece of a line alone.
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    os.set_inheritable(RESULT_FD, False)
    os.set_inheritable(JOB_FD, False)
    handover = Handover()
    handover.booted()
    import_while_idle()
    take_environment()
    source, status = b"", 1
    try:
        with open(SOURCE, "rb") as file:
            source = file.read()
        text = run_script(source)
        handover.send("result", text)
        status = 0
    except BaseException as error:
        failure = runner_errors.describe(error, source, SOURCE)
        handover.send("error", failure.text)
        failure.log()
    flush_user_files()
    _exit(status)


if __name__ == "__main__":
    main()
