"""Logs and metrics of the service itself; never a script's output."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

registry = CollectorRegistry()

jobs_ended = Counter(
    "executor_jobs_ended_total",
    "Jobs that reached their final state.",
    ["language", "status", "reason"],
    registry=registry,
)
jobs_submitted = Counter(
    "executor_jobs_submitted_total", "Jobs accepted over HTTP.", ["language"], registry=registry
)
jobs_refused = Counter(
    "executor_jobs_refused_total", "Submissions refused because the queue was full.", registry=registry
)
requests_refused = Counter(
    "executor_requests_refused_total",
    "Requests refused for their number, size or slowness: "
    "rate, open (of a token), strangers (without one), connections, size, slow.",
    ["why"],
    registry=registry,
)
jobs_running = Gauge("executor_jobs_running", "Jobs running now.", registry=registry)
jobs_queued = Gauge("executor_jobs_queued", "Jobs waiting now.", registry=registry)
job_seconds = Histogram(
    "executor_job_seconds",
    "From a job's start to its end, in seconds.",
    ["language"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
    registry=registry,
)
start_seconds = Histogram(
    "executor_container_start_seconds",
    "From the call for a container until its language runner is ready, in seconds.",
    ["engine"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=registry,
)
pool_hits = Counter(
    "executor_pool_hits_total", "Jobs that found a container waiting.", ["language"], registry=registry
)
pool_misses = Counter(
    "executor_pool_misses_total", "Jobs for which no container waited.", ["language"], registry=registry
)
pool_waiting = Gauge(
    "executor_pool_waiting", "Containers that wait for a job.", ["language"], registry=registry
)
refill_seconds = Histogram(
    "executor_pool_refill_seconds",
    "From the call for a container of the pool until it waits, in seconds.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=registry,
)
take_seconds = Histogram(
    "executor_pool_take_seconds",
    "From a job's coming until it has its waiting container, in seconds.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1),
    registry=registry,
)
compile_seconds = Histogram(
    "executor_compile_seconds",
    "From the call for a compiler's container until the program is there, in seconds.",
    ["language"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=registry,
)
pull_seconds = Histogram(
    "executor_pull_seconds",
    "From the call for an image until it is pulled, in seconds.",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
    registry=registry,
)
programs_reused = Counter(
    "executor_programs_reused_total", "Runs whose program was there already.", ["language"], registry=registry
)
runs_walked = Gauge("executor_runs_walked", "Flow runs that are being walked.", registry=registry)
expressions_evaluated = Counter(
    "executor_expressions_total",
    "Expressions of flows evaluated, by what answered: path or engine.",
    ["by"],
    registry=registry,
)
expression_children_lost = Counter(
    "executor_expression_children_lost_total",
    "Child processes for expressions that died or were killed for their time.",
    ["why"],
    registry=registry,
)
engine_retries = Counter(
    "executor_engine_retries_total", "Engine calls that were repeated.", registry=registry
)
containers_removed = Counter("executor_containers_removed_total", "Containers removed.", registry=registry)
containers_reaped = Counter(
    "executor_containers_reaped_total",
    "Containers without a living owner that were removed.",
    registry=registry,
)


class Forgiving(io.TextIOBase):
    """A log that cannot be written, on a full disk or to a reader that is gone, must not end what it tells of."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):  # ValueError: it was closed
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            self._file.flush()


def configure(level: str) -> None:
    """Send our log to stderr: readable on a terminal, one JSON object a line elsewhere."""
    readable = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = readable if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Forgiving(sys.stderr))),
    )


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
