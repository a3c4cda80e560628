"""Our own trouble, as exceptions; a script that fails is not one of them.

    ExecutorError
    ├── CallerError            the request is wrong: a 4xx, nothing is stored
    │   ├── BadInput           400: a field, its value, what to write instead
    │   ├── Unauthorized       401
    │   ├── Forbidden          403: the token is known, and not for this
    │   ├── NotFound           404
    │   ├── Conflict           409
    │   ├── TooLarge           413
    │   ├── TooSlow            408
    │   ├── TooManyJobs        429: the queue is full
    │   └── TooManyRequests    429: of this token, or from this address
    ├── Unavailable            503: we are draining, or something we need is away
    │   └── NoSharedDirectory  a run's shared directory cannot be made or found
    │       ├── NoRoom         the disk has no room for one now
    │       └── SharedFull     the workspace's other runs hold as much in theirs as they may
    ├── Unreadable             what a script left in a shared directory is nothing we read
    ├── ConfigurationError     the settings or a runtime folder are wrong: the process does not start
    └── EngineError            the container engine failed
        ├── EngineTransient    the same call may work in a moment
        ├── EngineUnreachable  no engine answers at all
        ├── ImageMissing       the engine does not have the image
        └── PullFailed         no registry gave the engine the image

A failure of a script is data (`executor.script.Failure`). A broken promise of our own code is an
`AssertionError("BUG: …")`.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a job failed: the closed list of docs/openflow.md section 3.2."""

    SCRIPT_ERROR = "script_error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    RESULT_TOO_LARGE = "result_too_large"
    RESULT_NOT_JSON = "result_not_json"
    CANCELLED = "cancelled"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_NOT_ALLOWED = "image_not_allowed"
    DEPENDENCY_ERROR = "dependency_error"
    BAD_INPUT = "bad_input"
    INFRASTRUCTURE = "infrastructure"


class ExecutorError(Exception):
    """Root of everything this package raises on purpose."""


class CallerError(ExecutorError):
    """The caller can mend it. `field` names the part of the request, `remedy` says how."""

    status = 400

    def __init__(self, detail: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.remedy = remedy


class BadInput(CallerError):
    """A field of the request has a wrong value."""


class Unauthorized(CallerError):
    """No credentials, or unknown ones."""

    status = 401


class Forbidden(CallerError):
    """The credentials are known and do not allow this."""

    status = 403


class NotFound(CallerError):
    """There is no such job, workspace or path."""

    status = 404


class Conflict(CallerError):
    """The request contradicts something already stored."""

    status = 409


class TooLarge(CallerError):
    """The request's body is over the limit."""

    status = 413


class TooSlow(CallerError):
    """The request's body did not come in time."""

    status = 408


class TooManyRequests(CallerError):
    """Asked too often; `wait_s` says when asking again is right."""

    status = 429

    def __init__(self, detail: str, wait_s: float, *, remedy: str) -> None:
        super().__init__(detail, remedy=remedy)
        self.wait_s = wait_s


class TooManyJobs(CallerError):
    """The queue is full."""

    status = 429


class Unavailable(ExecutorError):
    """The service cannot take the request now; trying again later is right."""


class NoSharedDirectory(Unavailable):
    """A run's shared directory can be neither made nor found; the message says why, for each way tried."""


class NoRoom(NoSharedDirectory):
    """The disk has no room for a shared directory now."""


class SharedFull(NoSharedDirectory):
    """The shared directories of the workspace's other runs hold as much as they may together."""


class Unreadable(ExecutorError):
    """A path in a shared directory is no regular file, not there, or too big; the message says which."""


class ConfigurationError(ExecutorError):
    """A setting or a runtime folder is wrong; the message says which and what to write."""


class EngineError(ExecutorError):
    """The container engine failed."""


class EngineTransient(EngineError):
    """The engine failed in a way that often passes; the call may be repeated."""


class EngineUnreachable(EngineTransient):
    """No container engine answers."""


class ImageMissing(EngineError):
    """The engine does not have the image."""


class PullFailed(EngineError):
    """The image cannot be pulled; the message is the engine's reason, in words."""
