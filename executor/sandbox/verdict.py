"""What a run amounted to: the frames of a container, weighed into an outcome.

Pure: the same frames always give the same outcome. The texts are those of docs/openflow.md
section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from executor.errors import Reason
from executor.runtimes import Runtime
from executor.sandbox.frames import Exit, Frame, Log, Ready, Result, ScriptError, Stream
from executor.script import Failed, Limits, Outcome, Returned, Usage

TAIL_CHARS = 600
OUT_OF_MEMORY_TAIL_CHARS = 8192
LOG_SLACK_BYTES = 64 * 1024
SCRIPT_REASONS = {
    r.value: r
    for r in (Reason.SCRIPT_ERROR, Reason.DEPENDENCY_ERROR, Reason.BAD_INPUT, Reason.RESULT_NOT_JSON)
}
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


@dataclass
class Account:
    """What one run has said and what we did to it."""

    runtime: Runtime
    limits: Limits
    on_log: Callable[[str], None] | None = None
    on_stream: Callable[[str], None] | None = None
    result: bytes | None = None
    error: ScriptError | None = None
    exit: Exit | None = None
    cancelled: bool = False
    overran: bool = False
    oom_killed: bool = False
    log_bytes: int = 0
    tail: str = ""
    stream: list[str] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        """Note one frame."""
        match frame:
            case Log(text):
                self._take_log(text)
            case Stream(text):
                self.log_bytes += len(text.encode())
                self.stream.append(text)
                if self.on_stream is not None:
                    self.on_stream(text)
            case Result(value):
                self.result = value
            case ScriptError():
                self.error = frame
            case Exit():
                self.exit = frame
            case Ready():
                pass

    def _take_log(self, text: str) -> None:
        self.log_bytes += len(text.encode())
        self.tail = (self.tail + text)[-OUT_OF_MEMORY_TAIL_CHARS:]
        if self.on_log is not None:
            self.on_log(text)

    @property
    def log_is_full(self) -> bool:
        """Whether more log came than jobinit should ever have let through."""
        return self.log_bytes > self.limits.log_bytes + LOG_SLACK_BYTES

    def take_limit(self, stopped: str) -> None:
        """End the account ourselves, for a limit that the container did not keep."""
        self.exit = Exit(None, "SIGKILL", stopped, 0, 0, 0, 0)

    @property
    def usage(self) -> Usage:
        """What the run used, as far as it told."""
        if self.exit is None:
            return Usage()
        return Usage(self.exit.wall_ms, self.exit.cpu_ms, self.exit.memory_peak_bytes)


def judge(account: Account) -> Outcome:
    """The outcome of a run whose stream has ended."""
    stopped = account.exit.stopped if account.exit else None
    if account.cancelled:
        return _failed(account, Reason.CANCELLED, "the job was cancelled")
    if account.overran or stopped == "timeout":
        return _failed(
            account,
            Reason.TIMEOUT,
            "execution error:\njob process terminated due to timeout after exceeding job-specific duration limit",
        )
    if stopped == "output_limit":
        limit = account.limits.log_bytes
        return _failed(
            account, Reason.OUTPUT_LIMIT, f"the log exceeded its limit of {limit} bytes (log_bytes)"
        )
    if stopped == "result_too_large":
        limit = account.limits.result_bytes
        return _failed(
            account, Reason.RESULT_TOO_LARGE, f"the result exceeded its limit of {limit} bytes (result_bytes)"
        )
    if stopped == "cancelled":
        return _failed(account, Reason.CANCELLED, "the job's connection to the service was lost")
    return _own_end(account)


def _own_end(account: Account) -> Outcome:
    """The script ended by itself, or for want of memory."""
    end, error = account.exit, account.error
    if account.result is not None and error is None and end is not None and end.code == 0:
        return Returned(account.result, account.usage, "".join(account.stream))
    if out_of_memory(account):
        limit = account.limits.memory_mb
        return _failed(
            account,
            Reason.OUT_OF_MEMORY,
            f"{_death(account)}\nthe script ran out of memory (memory_mb: {limit})",
        )
    if error is not None:
        return Failed(
            reason=SCRIPT_REASONS.get(error.reason or "", Reason.SCRIPT_ERROR),
            name=error.name,
            message=error.message,
            stack=error.stack,
            extra=error.extra,
            usage=account.usage,
            stream="".join(account.stream),
        )
    return _failed(account, Reason.SCRIPT_ERROR, _death(account))


def out_of_memory(account: Account) -> bool:
    """Whether the memory limit, or the runtime's own derived from it, ended the script."""
    if account.oom_killed:
        return True
    end = account.exit
    if end is None:
        return False
    if end.oom_kills > 0 and (end.signal == "SIGKILL" or end.code):
        return True
    patterns = account.runtime.manifest.out_of_memory
    return end.code != 0 and any(re.search(pattern, account.tail) for pattern in patterns)


def _death(account: Account) -> str:
    """How the main process ended, with the end of its log."""
    label = account.runtime.manifest.label
    end = account.exit
    last = f"last log lines:\n{tail(account.tail)}"
    if end is None:
        return f'"{label}" was killed, {last}'
    if end.signal is not None:
        return f'"{label}" was terminated by signal {end.signal}, {last}'
    if end.code == 0:
        return f'"{label}" ended without a result (exit code 0), {last}'
    return f'exit code for "{label}": {end.code}, {last}'


def tail(log: str) -> str:
    """The end of a log as error messages show it: about 600 characters, no ANSI codes."""
    return ANSI.sub("", log)[-TAIL_CHARS:].strip()


def _failed(account: Account, reason: Reason, message: str) -> Failed:
    code = account.exit.code if account.exit else None
    return Failed(
        reason=reason, message=message, exit_code=code, usage=account.usage, stream="".join(account.stream)
    )
