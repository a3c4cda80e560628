"""Opens the database within the container's limits, and puts its errors into words."""

import math
import os
import re
from pathlib import Path

import duckdb
from sqlrun import memory
from sqlrun.errors import SqlError

EXTENSIONS = "/usr/lib/duckdb/extensions"
TEMPORARY = "/tmp/duckdb"
OWN_BYTES = 80 * memory.MIB
"""What Python, DuckDB's code and jobinit take, which DuckDB's own limit does not count."""
LEAST_BYTES = 32 * memory.MIB
_CPU_V2 = Path("/sys/fs/cgroup/cpu.max")
_CPU_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CPU_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
_CREDENTIALS = re.compile(r"(?i)passw|secret|://")
_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)

_ADVICE = (
    "\n\nPossible solutions",
    "\nThis limit was set by",
    "\n\nInstall it first",
    "\n\nFor more info, visit",
)
_EXTENSION = re.compile(r"(?i)extension.*not found|failed to .* extension|required extension")

# Not the container's business to allow again: where extensions come from, and what it has.
LOCKED_BUT = [
    "TimeZone",
    "Calendar",
    "default_order",
    "default_null_order",
    "null_order",
    "preserve_insertion_order",
    "search_path",
    "schema",
    "integer_division",
    "scalar_subquery_error_on_multiple_rows",
    "order_by_non_integer_literal",
    "lambda_syntax",
    "errors_as_json",
    "ieee_floating_point_ops",
    "max_expression_depth",
    "pivot_limit",
    "pivot_filter_threshold",
    "explain_output",
    "enable_profiling",
    "profiling_mode",
    "threads",
    "file_search_path",
    "default_collation",
]


def open_database():
    """A connection to a new database in memory."""
    limit = memory.limit_bytes()
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{max((limit - OWN_BYTES) * 3 // 4, LEAST_BYTES)}B",
            "threads": cores(),
            # What is written there is the container's memory, too.
            "temp_directory": TEMPORARY,
            "max_temp_directory_size": f"{min(limit // 8, _free_bytes('/tmp') // 2)}B",
            "extension_directory": EXTENSIONS,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": True,
            "allow_community_extensions": False,
            "custom_extension_repository": "/nowhere",
            "secret_directory": TEMPORARY + "/secrets",
            # A script's tables are its own, never a variable of this program.
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET allowed_configs = [{', '.join(map(repr, LOCKED_BUT))}]")
    connection.execute("SET lock_configuration = true")
    return connection


def cores():
    """The cores that the container may use, rounded up."""
    try:
        quota, period = _CPU_V2.read_text().split()
    except OSError:
        try:
            quota, period = _CPU_V1.read_text(), _CPU_V1_PERIOD.read_text()
        except OSError:
            quota, period = "max", "1"
    if quota == "max" or int(quota) <= 0:
        return len(os.sched_getaffinity(0))
    return max(1, math.ceil(int(quota) / int(period)))


def _free_bytes(path):
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def is_query(text, connection):
    """Whether the statement just executed has rows of its own, rather than a count or nothing."""
    kinds = duckdb.extract_statements(text)[-1].expected_result_type
    if duckdb.ExpectedResultType.QUERY_RESULT not in kinds:
        return False
    shape = [(column[0], str(column[1])) for column in connection.description]
    return not (duckdb.ExpectedResultType.CHANGED_ROWS in kinds and shape == [("Count", "BIGINT")])


def refusal(error, statement):
    """The error in the engine's words; with the line in the statement, where it says one."""
    text = str(error)
    for advice in _ADVICE:  # not to be followed here
        text = text.partition(advice)[0]
    if _EXTENSION.search(text):
        text += "\nno extensions are installed at run time; this image has postgres, json, parquet and icu"
    line = _LINE.search(text)
    if line and _CREDENTIALS.search(statement):
        # The engine cuts its excerpt of the statement anywhere, in the middle of a password too.
        text = text[: line.start()].rstrip()
    return SqlError(text, line_in_statement=int(line[1]) if line else 1)


def interruption(error):
    """What the engine makes of a signal that strikes it in the middle of a query."""
    return KeyboardInterrupt() if "interrupted" in str(error) else error
